"""Labels of ImageNet and Pascal VOC, from the files that these data sets come with."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from gae_metric.errors import InputError, refusing
from gae_metric.inputs.files import check_file
from gae_metric.inputs.labels import class_index, read_labels, read_lines, read_table

CLASSES = 1000

LABEL_FILES = ("labels.csv", "val.txt", "LOC_val_solution.csv")
"""Label files that are looked for in an ImageNet folder, and in the one above it."""

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""Pascal VOC's classes, 0 to 19; in its masks they are 1 to 20, 0 is background, 255 border."""

#: Pixels of a side that no image has more of.
_LARGEST = 1e6


def imagenet_labels(
    folder: Path, files: Sequence[str], source: str | Path | None = None
) -> dict[str, int]:
    """Return the class index (0 to 999, by sorted WordNet ids) of each image.

    Parameters
    ----------
    folder
        The folder of images.
    files
        Images relative to it. In folders named by WordNet ids (``n01440764``) these are the
        labels.
    source
        A label file: CSV with the columns ``file,class_index`` or ``ImageId,PredictionString``
        (Kaggle's ``LOC_val_solution.csv``), or text with lines ``file class_index``. By default
        one of :data:`LABEL_FILES` in the folder or above it, for files that lie in no folders.

    Returns
    -------
    Class index by file; images without a label are missing.

    Raises
    ------
    InputError
        If no labels are found, or they are not as described.
    """
    if source is None and all("/" in file for file in files):
        return _of_folders(folder, files)
    if source is None:
        beside = [parent / name for parent in (folder, folder.parent) for name in LABEL_FILES]
        source = next((path for path in beside if path.is_file()), None)
        if source is None:
            raise InputError(
                f"data: the images in {str(folder)!r} lie in no folders by class and there is no "
                f"label file ({', '.join(LABEL_FILES)}); name one"
            )
    path = Path(source)
    if path.suffix == ".txt":
        by_name = {Path(file).name: file for file in files}
        found = _of_lines(path)
    else:
        kaggle = ("ImageId", "PredictionString")
        columns, table = read_table(path, kaggle, ("file", "class_index"))
        if columns != kaggle:
            return read_labels(path, files, CLASSES)
        by_name = {Path(file).stem: file for file in files}
        found = _of_kaggle(table, path)
    labels = {by_name[name]: index for name, index in found if name in by_name}
    if not labels:
        raise InputError(f"labels: {path.name} names none of the images, such as {files[0]!r}")
    return labels


def _wordnet_ids() -> dict[str, int]:
    from timm.data import ImageNetInfo

    return {name: index for index, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}


def _of_folders(folder: Path, files: Sequence[str]) -> dict[str, int]:
    index = _wordnet_ids()
    if unknown := sorted({file.split("/")[0] for file in files} - index.keys()):
        raise InputError(
            f"data: the folders in {str(folder)!r} must be named by ImageNet's WordNet ids, such "
            f"as n01440764, found {unknown[0]!r}; other folders by class are imagefolder:DIR"
        )
    return {file: index[file.split("/")[0]] for file in files}


def _of_lines(path: Path) -> Iterator[tuple[str, int]]:
    """Read lines ``file class_index``."""
    for number, line in read_lines(path, iter):
        parts = line.split()
        index = class_index(parts[1], CLASSES) if len(parts) == 2 else None
        if index is not None:
            yield Path(parts[0]).name, index
        elif parts:
            truth = "; ILSVRC2012_validation_ground_truth.txt counts classes in another order"
            raise InputError(
                f"labels: {path.name}, line {number}: expected a file and a class index from 0 to "
                f"{CLASSES - 1}, got {line.strip()[:60]!r}{truth if len(parts) == 1 else ''}"
            )


def _of_kaggle(table: Iterable[tuple[int, str, str]], path: Path) -> Iterator[tuple[str, int]]:
    """Read ImageId and PredictionString, whose first word is a WordNet id."""
    index = _wordnet_ids()
    for _, name, text in table:
        wordnet_id = text.split(" ")[0]
        if wordnet_id not in index:
            raise InputError(
                f"labels: {path.name}, {name}: expected a WordNet id of ImageNet, got {text!r}"
            )
        yield name, index[wordnet_id]


def voc_areas(annotation: Path) -> NDArray[np.int64]:
    """Return the area of the boxes of each of VOC's classes in an image, (20,) pixels.

    Raises
    ------
    InputError
        If the file is not a VOC annotation.
    """
    areas = np.zeros(len(VOC_CLASSES), dtype=np.int64)
    check_file(annotation, "data", 1 << 24)
    # LookupError: an encoding that there is not.
    wrong = (OSError, ValueError, LookupError, ElementTree.ParseError)
    with refusing(f"data: {annotation.name} is not a VOC annotation", *wrong):
        for item in ElementTree.parse(annotation).getroot().iter("object"):
            box = item.find("bndbox")
            name = (item.findtext("name") or "").strip()
            if box is None:
                raise ValueError("an object has no bndbox")
            sides = ("xmin", "ymin", "xmax", "ymax")
            left, top, right, bottom = (float(box.findtext(side) or "nan") for side in sides)
            if not (0 <= left <= right <= _LARGEST and 0 <= top <= bottom <= _LARGEST):
                raise ValueError(f"no box is ({left}, {top}, {right}, {bottom})")
            areas[VOC_CLASSES.index(name)] += round((right - left) * (bottom - top))
    return areas
