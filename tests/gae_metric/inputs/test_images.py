"""Folders of images, label files, and files that cannot be used."""

import warnings

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from gae_metric.errors import InputError
from gae_metric.inputs.images import decoded, list_images, load_images
from gae_metric.inputs.labels import read_labels
from gae_metric.inputs.preprocessing import Preprocessing, eight_bit, square_crop


def prepare(image):
    """Image as (3, 4, 4)."""
    return np.asarray(image.convert("RGB").resize((4, 4)), dtype=np.float32).transpose(2, 0, 1)


def save(folder, name, value=0, mode="RGB"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 6), value if mode == "L" else (value,) * 3).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(["b.png", "a.JPG", "c.webp", "d.png"]):
        save(tmp_path, name, 10 * i)
    save(tmp_path, "below/e.png", 90)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    return tmp_path


def test_images_are_listed_in_order(folder):
    assert list_images(folder) == ["a.JPG", "b.png", "c.webp", "d.png"]
    assert list_images(folder, recursive=True) == [
        *list_images(folder)[:2],
        "below/e.png",
        "c.webp",
        "d.png",
    ]


def test_folders_that_are_none(tmp_path, folder):
    with pytest.raises(InputError, match="expected a folder, found nothing"):
        list_images(tmp_path / "none")
    with pytest.raises(InputError, match="expected a folder, found a file"):
        list_images(folder / "b.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image files .*--recursive"):
        list_images(tmp_path / "empty")


def test_inputs_of_several_shapes_are_refused_by_name(folder):
    Image.new("RGB", (9, 9)).save(folder / "c.webp")

    def as_they_are(image):
        return np.asarray(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1)

    with pytest.raises(InputError, match=r"prepare: .* \(3, 9, 9\) for 'c.webp' and \(3, 6, 8\)"):
        load_images(folder, as_they_are)


def test_all_images_are_read_in_order(folder):
    images = load_images(folder, prepare)
    assert images.files == ("a.JPG", "b.png", "c.webp", "d.png")
    assert images.x.shape == (4, 3, 4, 4)
    assert images.x.dtype == np.float32
    np.testing.assert_allclose(images.x[:, 0, 0, 0], [10, 0, 20, 30], atol=1)
    assert images.labels is None
    assert not images.skipped


def test_images_that_cannot_be_read_are_skipped_by_name(folder):
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "empty.png").write_bytes(b"")
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:600])
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    images = load_images(folder, prepare)
    assert set(images.skipped) == {"broken.jpg", "empty.png", "cut.png"}
    assert images.skipped["broken.jpg"] == "not an image"
    assert images.files == ("a.JPG", "b.png", "c.webp", "d.png")


def test_a_folder_of_broken_images(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the 1 images .*x\.png"):
        load_images(tmp_path, prepare)


def test_images_that_a_transform_does_not_take_are_skipped_by_name(folder):
    """Torchvision's own do not make three channels of one."""
    Image.new("L", (60, 48)).save(folder / "gray.png")
    transform = transforms.Compose(
        [
            transforms.Resize((8, 8)),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    images = load_images(folder, transform, files=["gray.png", "b.png"])
    assert images.files == ("b.png",)
    assert "shape [1, 8, 8]" in images.skipped["gray.png"]
    with pytest.raises(InputError, match=r"none of the 1 images in .* \(gray.png: output with sha"):
        load_images(folder, transform, files=["gray.png"])


def test_no_files_are_no_images(folder):
    with pytest.raises(InputError, match=r"^images: none of the 0 images in .* could be used$"):
        load_images(folder, prepare, files=[])


def test_a_decompression_bomb_is_skipped(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    save(folder, "a.JPG", 1)
    with pytest.raises(InputError, match="bomb"):
        load_images(folder, prepare)


def test_what_pillow_warns_of_while_it_reads_is_not_said(folder, monkeypatch):
    transparent = bytes([0] + [128] * 255)
    Image.new("P", (60, 48), 7).save(folder / "p.png", transparency=transparent)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "p.png" in load_images(folder, prepare).files


def test_samples_are_drawn_by_the_seed_alone(folder):
    for i in range(20):
        save(folder, f"more{i:02}.png", i)
    some = load_images(folder, prepare, samples=8, seed=3)
    assert len(some.files) == 8
    assert list(some.files) == sorted(some.files)
    assert some.files == load_images(folder, prepare, samples=8, seed=3).files
    assert some.files != load_images(folder, prepare, samples=8, seed=4).files
    assert set(some.files) < set(load_images(folder, prepare, samples=12, seed=3).files)
    gone = some.files[0]
    (folder / gone).write_bytes(b"")
    other = load_images(folder, prepare, samples=8, seed=3)
    assert gone in other.skipped
    assert len(other.files) == 8
    assert set(some.files) - {gone} < set(other.files)
    assert len(load_images(folder, prepare, samples=99).files) == 23
    with pytest.raises(InputError, match="samples: expected a positive"):
        load_images(folder, prepare, samples=0)


def test_progress_is_told(folder):
    told = []
    load_images(folder, prepare, progress=lambda read, wanted: told.append((read, wanted)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_rotation_of_the_camera_is_undone(tmp_path):
    image = Image.new("RGB", (8, 4), (0, 0, 0))
    image.paste((250, 250, 250), (0, 0, 4, 4))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = load_images(tmp_path, prepare).x[0, 0]
    assert pixels[:, 0].max() < 50
    assert pixels[:, 3].min() > 200


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_of_a_file(folder):
    path = write(
        folder / "labels.csv", 'file,class_index,name\nb.png,3,jay\na.JPG,0,"x, y"\ngone.png,1,z\n'
    )
    files = list_images(folder)
    labels = read_labels(path, files, classes=4)
    assert labels == {"b.png": 3, "a.JPG": 0, "gone.png": 1}
    images = load_images(folder, prepare, labels=labels)
    assert images.files == ("a.JPG", "b.png")
    assert images.labels.tolist() == [0, 3]
    assert images.labels.dtype == np.int64
    assert images.skipped == {"c.webp": "no label", "d.png": "no label"}


@pytest.mark.parametrize("wrong", [1.5, -1, None, "jay", True])
def test_labels_that_are_no_class_are_refused_by_name(folder, wrong):
    with pytest.raises(InputError, match=f"labels: 'b.png': expected a non-.*, got {wrong!r}"):
        load_images(folder, prepare, labels={"a.JPG": np.int8(0), "b.png": wrong})
    floats = load_images(folder, prepare, labels={"a.JPG": 0.0, "b.png": np.float64(3)})
    assert floats.labels.tolist() == [0, 3]


def test_labels_of_no_images(folder):
    path = write(folder / "labels.csv", "file,class_index\nb.png,3\n")
    with pytest.raises(InputError, match="names none of the images"):
        read_labels(path, [])


def test_labels_name_a_file_in_either_spelling_of_unicode(tmp_path):
    short, long = "\u00e9.png", "e\u0301.png"
    for written, files in ((short, [long]), (long, [short]), (short, [short, long])):
        path = write(tmp_path / "labels.csv", f"file,class_index\n{written},1\n")
        assert read_labels(path, files, 2) == {files[0]: 1}
    path = write(tmp_path / "labels.csv", f"file,class_index\n{short},1\n{long},0\n")
    assert read_labels(path, [short, long], 2) == {short: 1, long: 0}


def test_labels_written_by_a_spreadsheet(folder):
    path = folder / "labels.csv"
    path.write_bytes("﻿file,class_index\r\nb.png, 3\r\n".encode())
    assert read_labels(path, list_images(folder), 4) == {"b.png": 3}


def test_labels_with_spaces_after_commas(folder):
    path = write(folder / "labels.csv", "file, class_index\nb.png, 3\n")
    assert read_labels(path, list_images(folder), 4) == {"b.png": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class_index\nb.png,1\n", "must have the columns file and class_index, got name"),
        ("file;class_index\nb.png;1\n", "must have the columns"),
        (
            "file,class_index\nb.png,cat\n",
            "line 2: class_index must be an integer from 0 to 3.*'cat'",
        ),
        ("file,class_index\na.JPG,1\nb.png,4\n", r"line 3: .*the model has 4 classes\), got '4'"),
        ("file,class_index\nb.png,-1\n", "'-1'"),
        ("file,class_index\nb.png,1.0\n", "'1.0'"),
        ("file,class_index\nb.png,\n", "got ''"),
        ("file,class_index\nb.png,1\nb.png,2\n", "line 3: a second class for 'b.png'"),
        ("file,class_index\nz.png,1\n", "names none of the images.*such as 'a.JPG'"),
        ("", "cannot read"),
        ('file,class_index\n"b.png,1\n', "cannot read|names none"),
    ],
)
def test_bad_label_files_are_refused(folder, text, message):
    path = write(folder / "labels.csv", text)
    with pytest.raises(InputError, match=message):
        read_labels(path, list_images(folder), classes=4)


def test_label_files_that_cannot_be_read(folder):
    with pytest.raises(InputError, match="cannot read"):
        read_labels(folder / "none.csv", ["a.JPG"], 4)
    with pytest.raises(InputError, match="cannot read"):
        read_labels(folder, ["a.JPG"], 4)
    (folder / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="labels"):
        read_labels(folder / "binary.csv", ["a.JPG"], 4)


def test_labels_of_folders(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/deep/3.png"):
        save(tmp_path, name)
    files = list_images(tmp_path, recursive=True)
    assert read_labels("folders", files, 2) == {"cat/2.png": 0, "cat/deep/3.png": 0, "dog/1.png": 1}
    with pytest.raises(InputError, match=r"one folder for each of the model's 3 classes, found 2"):
        read_labels("folders", files, 3)
    with pytest.raises(InputError, match=r"'loose\.png' does not"):
        read_labels("folders", [*files, "loose.png"], 2)


RAMP = np.tile(np.linspace(0, 255, 64).round(), (64, 1))
DEEP = (RAMP * 257).astype(np.uint16)


def _save(array, file, **options):
    if file.suffix == ".ppm":  # which Pillow 10 does not write
        height, width = array.shape
        file.write_bytes(b"P5 %d %d 65535\n" % (width, height) + array.astype(">u2").tobytes())
        return
    Image.fromarray(array).save(file, **options)


WHITE_IS_ZERO = {"tiffinfo": {262: 0}}


@pytest.mark.parametrize(
    ("name", "array", "options"),
    [
        ("a.png", DEEP, {}),
        ("a.tif", DEEP, {}),
        ("a.ppm", DEEP, {}),
        ("compressed.tif", DEEP, {"compression": "tiff_lzw"}),
        ("inverted.tif", 65535 - DEEP, WHITE_IS_ZERO),
        ("big.tif", DEEP.astype(">u2"), {}),
        ("int.tif", (RAMP / 255 * (2**32 - 1) - 2**31).astype(np.int32), {}),
        ("float.tif", (RAMP / 255).astype(np.float32), {}),
        ("inverted_float.tif", (1 - RAMP / 255).astype(np.float32), WHITE_IS_ZERO),
        ("eight.png", RAMP.astype(np.uint8), {}),
    ],
)
def test_deep_images_are_scaled_by_the_range_of_their_type(tmp_path, name, array, options):
    _save(array, tmp_path / name, **options)
    seen = decoded(tmp_path / name)
    np.testing.assert_allclose(np.asarray(seen.convert("RGB"))[..., 1], RAMP, atol=1)
    # Also where a preprocessing is given what Pillow opened, and where a camera was held upright.
    prepare = Preprocessing(square_crop, 64)
    with Image.open(tmp_path / name) as image:
        np.testing.assert_allclose(prepare(image)[0] * 255, RAMP, atol=1)


def test_deep_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    _save(DEEP[:, ::-1].copy(), tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(np.asarray(decoded(tmp_path / "a.png")), RAMP, atol=1)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("sign", [1, 2])
def test_the_range_is_that_of_the_bits_and_the_sign(bits, sign):
    low = -(2 ** (bits - 1)) if sign == 2 else 0
    values = (low + RAMP / 255 * (2**bits - 1)).astype(np.int32)
    image = eight_bit(Image.fromarray(values), {258: (bits,), 339: (sign,)})
    np.testing.assert_allclose(np.asarray(image), RAMP, atol=1)


@pytest.mark.parametrize("scale", [255, -1, np.nan, np.inf])
def test_floats_of_no_known_scale_are_left_out_with_the_reason(tmp_path, scale):
    _save((RAMP / 255).astype(np.float32), tmp_path / "a.tif")
    _save((RAMP / 255 * scale).astype(np.float32), tmp_path / "b.tif")
    images = load_images(tmp_path, Preprocessing(square_crop, 64))
    assert images.files == ("a.tif",)
    assert "float pixels from" in images.skipped["b.tif"]
    assert "expected [0, 1]" in images.skipped["b.tif"]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("b.tif", DEEP.astype(np.int32)),
        ("b.tif", -DEEP.astype(np.int32)),
        ("b.tiff", RAMP.astype(np.int32)),
    ],
)
def test_values_of_32_bits_that_would_become_one_gray_are_left_out(tmp_path, name, array):
    """Values of fewer bits than the file has: all of them are below one of 256 steps."""
    _save(DEEP, tmp_path / "a.png")
    _save(array, tmp_path / name)
    images = load_images(tmp_path, Preprocessing(square_crop, 64))
    assert images.files == ("a.png",)
    assert f"pixels from {array.min()} to {array.max()}, of which" in images.skipped[name]


def test_a_deep_image_of_one_value_is_read(tmp_path):
    _save(np.full((48, 48), 700, dtype=np.uint16), tmp_path / "a.png")
    assert np.unique(decoded(tmp_path / "a.png")).tolist() == [3]
