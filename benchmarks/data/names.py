"""Data sets by name: files and labels first, pixels when they are asked for.

=================== ============================================================================
name                data set
=================== ============================================================================
``imagenet:DIR``    ImageNet's validation images in folders by WordNet id, or flat with a label file
``voc:DIR``         Pascal VOC 2012 as torchvision reads it (``DIR/VOCdevkit/VOC2012``), its labels
                    and, with ``masks``, its segmentation masks
``imagefolder:DIR`` a folder for each class, in sorted order, as torchvision's ``ImageFolder``
``digits``          the held-out digits that :mod:`gae_metric.demo` ships
=================== ============================================================================

>>> from gae_metric.inputs.models import load_model
>>> digits = open_data("digits").sample(20, seed=0)
>>> images = digits.load(load_model("digits:vgg").preprocessing)
>>> images.x.shape, len(images.files)
((20, 3, 48, 48), 20)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.data.dataset import Data
from benchmarks.data.labels import imagenet_labels, voc_areas
from gae_metric.errors import InputError, lookup, refusing
from gae_metric.inputs.images import list_images
from gae_metric.inputs.labels import read_labels


def check_data(spec: str) -> str:
    """Return a data set's name if there is such a kind of data; its files are not looked for.

    Raises
    ------
    InputError
        If there is none; the message gives the nearest name.

    Examples
    --------
    >>> check_data("VOC:/data"), check_data("digits")
    ('voc:/data', 'digits')
    """
    kind, _, folder = spec.partition(":")
    name, _ = lookup("data", kind, _SOURCES)
    if (name == "digits") == bool(folder):
        wanted = "digits" if name == "digits" else f"{name}:DIR"
        raise InputError(f"data: expected {wanted}, got {spec!r}")
    return f"{name}:{folder}" if folder else name


def open_data(
    spec: str, *, labels: str | Path | None = None, split: str = "val", masks: bool = False
) -> Data:
    """List the images and labels of a data set.

    Parameters
    ----------
    spec
        See the module's table.
    labels
        Label file of ``imagenet``, see :func:`benchmarks.data.labels.imagenet_labels`.
    split
        Image set of ``voc``: ``"train"``, ``"trainval"`` or ``"val"``.
    masks
        Whether only VOC's images with segmentation masks are wanted, with their masks.

    Raises
    ------
    InputError
        If there is no such data set (the message gives the nearest name), or it is not as it
        should be.

    Examples
    --------
    >>> len(open_data("digits"))
    450
    """
    name, _, folder = check_data(spec).partition(":")
    if labels is not None and name != "imagenet":
        raise InputError(f"labels: {name!r} takes no label file")
    if masks and name != "voc":
        raise InputError(f"masks: {name!r} has none")
    return replace(_SOURCES[name](Path(folder), labels, split, masks), name=spec)


def _with_labels(root: Path, files: Sequence[str], labels: Mapping[str, int]) -> Data:
    """Leave out the files that have no label."""
    kept = [file for file in files if file in labels]
    skipped = {file: "no label" for file in files if file not in labels}
    values = np.array([labels[file] for file in kept], dtype=np.int64)
    return Data("", root, tuple(kept), values, skipped=skipped)


def _imagenet(root: Path, labels: str | Path | None, split: str, masks: bool) -> Data:
    files = list_images(root, recursive=True, argument="data")
    return _with_labels(root, files, imagenet_labels(root, files, labels))


def _imagefolder(root: Path, labels: str | Path | None, split: str, masks: bool) -> Data:
    files = list_images(root, recursive=True, argument="data")
    return _with_labels(root, files, read_labels("folders", files))


def _digits(root: Path, labels: str | Path | None, split: str, masks: bool) -> Data:
    from gae_metric.demo import digits

    x, y = digits.load("test")
    return Data("", root, tuple(f"digit {i}" for i in range(len(x))), y, arrays=x)


def _voc(root: Path, labels: str | Path | None, split: str, masks: bool) -> Data:
    from torchvision.datasets import VOCDetection, VOCSegmentation

    what = f"data: {str(root)!r} is not VOC2012 as torchvision reads it"
    with refusing(what, RuntimeError, OSError, ValueError):
        found = (VOCSegmentation if masks else VOCDetection)(root, year="2012", image_set=split)
    if not found.images:
        raise InputError(f"data: the image set {split!r} of {str(root)!r} names no image")
    inside = root / "VOCdevkit" / "VOC2012" / "JPEGImages"
    for one in map(Path, found.images):
        if one.parent != inside:
            raise InputError(
                f"data: the image set {split!r} of {str(root)!r} leads out of its folder: "
                f"{one.stem!r}"
            )
    files = [Path(one).relative_to(root).as_posix() for one in found.images]
    folder = Path(found.images[0]).parent.parent / "Annotations"
    classes = []
    for file in files:
        areas = voc_areas(folder / f"{Path(file).stem}.xml")
        present = np.flatnonzero(areas)
        classes.append(tuple(int(c) for c in present[np.argsort(-areas[present], kind="stable")]))
    values = np.array([some[0] if some else -1 for some in classes], dtype=np.int64)
    beside = found.masks if masks else ()
    seen = tuple(Path(one).relative_to(root).as_posix() for one in beside)
    none = {file: "no object" for file, some in zip(files, classes, strict=True) if not some}
    every = Data("", root, tuple(files), values, tuple(classes), seen or None, none)
    return every.part(np.flatnonzero(values >= 0))


_SOURCES: dict[str, Callable[[Path, str | Path | None, str, bool], Data]] = {
    "imagenet": _imagenet,
    "voc": _voc,
    "imagefolder": _imagefolder,
    "digits": _digits,
}
