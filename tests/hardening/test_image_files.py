"""Folders of images whose files are anything: left out by name, with the reason; nothing is run."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from benchmarks.data.dataset import Reading, read_image, read_mask
from gae_metric.errors import InputError
from gae_metric.inputs.images import EXTENSIONS, decoded, list_images, load_images
from gae_metric.inputs.preprocessing import Preprocessing, square_crop
from tests.hardening.fuzz import damaged, fuzzing, nothing_runs, refusable

PREPARE = Preprocessing(square_crop, 8)
FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP",
    ".ppm": "PPM",
}  # fmt: skip


def picture(format: str, mode: str = "RGB", size: tuple[int, int] = (9, 7), **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode)
    if mode == "F":  # floats are taken in [0, 1] alone
        image = image.point(lambda value: value * (1 / 255))
    image.save(stream, format, **options)
    return stream.getvalue()


def exif(orientation: int = 6) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


GOOD = {suffix: picture(name) for suffix, name in FORMATS.items()} | {
    ".jpeg": picture("JPEG", exif=exif()),
    ".tiff": picture("TIFF", compression="tiff_lzw"),
}


def test_every_ending_is_fuzzed():
    assert set(GOOD) == set(EXTENSIONS)


@fuzzing
@given(data=st.data())
@pytest.mark.parametrize("suffix", sorted(GOOD))
def test_any_damage_is_a_reason_or_an_image(tmp_path_factory, suffix, data):
    good = GOOD[suffix]
    part = data.draw(st.sampled_from([64, len(good)]))
    file = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    file.write_bytes(data.draw(damaged(good[:part])) + good[part:])
    with nothing_runs():
        with refusable(InputError) as outcome:
            images = load_images(file.parent, PREPARE, files=[file.name])
            assert images.x.shape == (1, 3, 8, 8)
            assert np.isfinite(images.x).all()
        assert outcome.message is None or file.name in outcome.message
        reading = read_image(file, PREPARE)
        assert (reading.problem is None) == (reading.image is not None)
        masked = read_mask(file, PREPARE, reading)
        assert masked.mask is None or masked.mask.shape == (8, 8)


@pytest.mark.parametrize("suffix", sorted(GOOD))
def test_what_is_damaged_above_is_good(tmp_path, suffix):
    """Or else everything would be refused for another reason."""
    (tmp_path / f"good{suffix}").write_bytes(GOOD[suffix])
    assert load_images(tmp_path, PREPARE).x.std() > 0
    mask = decoded(tmp_path / f"good{suffix}").convert("L")
    mask.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", PREPARE, Reading()).mask is not None


@fuzzing
@given(content=st.binary(max_size=200), suffix=st.sampled_from(sorted(EXTENSIONS)))
def test_any_bytes(tmp_path_factory, content, suffix):
    file = tmp_path_factory.getbasetemp() / f"any{suffix}"
    file.write_bytes(content)
    with nothing_runs(), pytest.raises(InputError, match="none of the 1 images"):
        load_images(file.parent, PREPARE, files=[file.name])


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n%%EndComments\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_postscript_is_not_run(tmp_path, monkeypatch, name):
    """Pillow gives it to Ghostscript, whatever the file is called."""
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with nothing_runs(), pytest.raises(OSError, match="not an image"):
        decoded(tmp_path / name)
    with pytest.raises(BaseException), nothing_runs(), Image.open(tmp_path / name) as image:  # noqa: B017, PT011
        image.load()  # so that this test can fail: the watch sees the program, there or not


@pytest.mark.parametrize("format", ["ICO", "TGA", "PCX", "ICNS", "SGI", "DDS", "IM"])
def test_formats_that_are_not_promised_are_refused(tmp_path, format):
    size = (16, 16)
    (tmp_path / "a.png").write_bytes(picture(format, size=size))
    with pytest.raises(OSError, match="not an image"):
        decoded(tmp_path / "a.png")


def png(width: int, height: int) -> bytes:
    """A PNG of any size that holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * min(10_000_000, (1 + (width + 7) // 8) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bombs_and_slivers_are_left_out(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    (tmp_path / "sliver.png").write_bytes(png(1, 60_000))
    (tmp_path / "fine.png").write_bytes(png(30, 20))
    images = load_images(tmp_path, PREPARE)
    assert images.files == ("fine.png",)
    assert "exceeds limit" in images.skipped["bomb.png"]
    assert images.skipped["sliver.png"] == "too narrow: 1 x 60000 pixels"


@pytest.mark.parametrize("orientation", range(10))
def test_orientations_that_there_are_not(tmp_path, orientation):
    (tmp_path / "a.jpg").write_bytes(picture("JPEG", exif=exif(orientation)))
    wanted = (7, 9) if orientation in (5, 6, 7, 8) else (9, 7)
    assert decoded(tmp_path / "a.jpg").size == wanted


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LA"])
def test_images_of_every_mode(tmp_path, mode):
    format = "TIFF" if mode in ("CMYK", "F") else "PNG"
    (tmp_path / "a.png").write_bytes(picture(format, mode))
    images = load_images(tmp_path, PREPARE)
    assert images.x.shape == (1, 3, 8, 8)
    assert np.isfinite(images.x).all()


def test_colour_images_are_no_masks(tmp_path):
    (tmp_path / "a.png").write_bytes(picture("PNG"))
    image = read_image(tmp_path / "a.png", PREPARE)
    assert "one class index a pixel" in (
        read_mask(tmp_path / "a.png", PREPARE, image).problem or ""
    )


def test_what_is_no_file_is_not_opened(tmp_path):
    """A pipe would be waited for, a folder is none, a link may lead to itself."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "good.png").write_bytes(GOOD[".png"])
    assert "good.png" in list_images(tmp_path)
    assert len(list_images(tmp_path)) == 1
    assert set(list_images(tmp_path, recursive=True)) >= {"good.png"}


def test_names_of_any_letters(tmp_path):
    odd = ["a b.png", "ä.png", "a\nb.png", "[red]x.png", "-x.png", "%s.png", "a,b.png"]
    for name in [*odd, os.fsdecode(b"\xff\xfe.png")]:
        (tmp_path / name).write_bytes(GOOD[".png"])
    images = load_images(tmp_path, PREPARE)
    assert sorted(images.files) == sorted(odd)
    # Neither a CSV file nor a terminal could name it at the end of the work.
    assert list(images.skipped.values()) == ["its name is not UTF-8"]


def test_places_that_are_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "none", "a\0b", ""):
        folder = Path(path) if path != "" else tmp_path / "empty"
        folder.mkdir(exist_ok=True) if path == "" else None
        with pytest.raises(InputError, match="images: "):
            list_images(folder)
