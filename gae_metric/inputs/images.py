"""A folder of images, with labels or without, as a model's input."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gae_metric.errors import InputError, check_integer
from gae_metric.inputs.files import EXTENSIONS, list_images
from gae_metric.inputs.preprocessing import eight_bit

__all__ = ["EXTENSIONS", "ImageSet", "decoded", "list_images", "load_images"]

#: Longest side over shortest. Narrower images cannot be cropped to a square that shows anything,
#: and would first be enlarged to billions of pixels.
_NARROWEST = 100

#: What those files may hold, whatever they are called. Pillow knows other formats, among them
#: PostScript, which it would give to Ghostscript to run.
_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class ImageSet:
    """Images that could be read, prepared for a model, from :func:`load_images`.

    Attributes
    ----------
    x
        float32 inputs (N, 3, H, W).
    files
        File of each, relative to the folder, with forward slashes.
    labels
        int64 class indices (N,), or None if no labels were given.
    skipped
        By file, why it was left out.
    """

    x: NDArray[np.float32]
    files: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)


def decoded(file: str | Path) -> Image.Image:
    """Read an image, and turn it upright; more than 8 bits become 8 (:func:`eight_bit`).

    Parameters
    ----------
    file
        One of the formats that :data:`EXTENSIONS` stand for, told by its content.

    Returns
    -------
    PIL.Image.Image
        Of the file's own mode and size.

    Raises
    ------
    OSError
        If it is none, damaged, very narrow, or holds floats outside [0, 1]; the message says so in
        a few words.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (60, 48), 255).save(f"{folder}/white.png")
    ...     decoded(f"{folder}/white.png").size
    (60, 48)
    """
    try:
        str(file).encode()
    except UnicodeEncodeError as error:  # no table or JSON file could name it
        raise OSError("its name is not UTF-8") from error
    try:
        with Image.open(file, formats=_FORMATS) as image:
            image.load()
            upright = eight_bit(ImageOps.exif_transpose(image), getattr(image, "tag_v2", {}))
    except UnidentifiedImageError as error:
        raise OSError("not an image") from error
    except Exception as error:
        # Pillow's readers end in nearly any error at damaged files, not only in OSError.
        raise OSError(str(error) or type(error).__name__) from error
    if max(upright.size) > _NARROWEST * min(upright.size):
        width, height = upright.size
        raise OSError(f"too narrow: {width} x {height} pixels")
    return upright


def load_images(
    folder: str | Path,
    prepare: Callable[[Image.Image], NDArray[np.float32]],
    *,
    files: Sequence[str] | None = None,
    labels: Mapping[str, int] | None = None,
    samples: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Read images, leaving out, by name, those that cannot be used.

    Parameters
    ----------
    folder
        The folder.
    prepare
        From an image to the model's input (3, H, W), such as a
        :class:`gae_metric.inputs.preprocessing.Preprocessing`. Images have the mode of their file:
        ``image.convert("RGB")`` makes colours of gray ones.
    files
        Images relative to the folder; default :func:`list_images`.
    labels
        Class index by file. Images without one are left out.
    samples
        Number of images to draw, by default all. The draw depends on the sorted list of files and
        the seed alone; an image that cannot be read gives its place to the next one drawn, and the
        draw for a smaller number is part of that for a larger.
    seed
        Non-negative seed of the draw.
    progress
        Called with the number of images read and wanted.

    Returns
    -------
    ImageSet
        In sorted order of the files.

    Raises
    ------
    InputError
        If ``samples`` is not positive, a label is no class, no image could be read, or ``prepare``
        gives inputs of several shapes.

    Examples
    --------
    >>> import tempfile
    >>> from gae_metric.inputs.preprocessing import Preprocessing, square_crop
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (60, 48), 255).save(f"{folder}/white.png")
    ...     Path(folder, "broken.png").write_bytes(b"")
    ...     images = load_images(folder, Preprocessing(square_crop, 32))
    0
    >>> images.files, images.x.shape, dict(images.skipped)
    (('white.png',), (1, 3, 32, 32), {'broken.png': 'not an image'})
    """
    if samples is not None and samples < 1:
        raise InputError(f"samples: expected a positive number, got {samples}")
    for file, label in dict(labels or {}).items():
        number = int(label) if isinstance(label, float) and label % 1 == 0 else label
        check_integer(f"labels: {file!r}", number, 0)
    listed = sorted(list_images(folder) if files is None else files)
    wanted = min(len(listed), samples or len(listed))
    order = np.random.default_rng(seed).permutation(len(listed))
    read: dict[str, NDArray[np.float32]] = {}
    skipped: dict[str, str] = {}
    for file in (listed[i] for i in order):
        if len(read) == wanted:
            break
        if labels is not None and file not in labels:
            skipped[file] = "no label"
            continue
        try:
            with warnings.catch_warnings():
                # Of metadata that are damaged, of palettes and of large images, which are read.
                warnings.filterwarnings("ignore", module="PIL")
                read[file] = prepare(decoded(Path(folder, file)))
        except (OSError, ValueError, RuntimeError) as error:  # the last of torchvision's transforms
            skipped[file] = str(error) or type(error).__name__
        if progress is not None:
            progress(len(read), wanted)
    if not read:
        first = "".join(f" ({file}: {reason})" for file, reason in [*skipped.items()][:1])
        raise InputError(
            f"images: none of the {len(listed)} images in {str(folder)!r} could be used{first}"
        )
    kept = sorted(read)
    for file in kept:
        shapes = [np.shape(read[one]) for one in (file, kept[0])]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"prepare: expected inputs of one shape, got {shapes[0]} for {file!r} and "
                f"{shapes[1]} for {kept[0]!r}; have it resize or crop images to one size"
            )
    x = np.stack([read[file] for file in kept])
    known = None if labels is None else np.array([labels[f] for f in kept], dtype=np.int64)
    return ImageSet(x, tuple(kept), known, dict(sorted(skipped.items())))
