"""Classes by name and by kind: of two breeds of dog in one picture the maps are one.

>>> kind = kinds(1000)
>>> bool(kind[207] == kind[243]), bool(kind[207] == kind[281])  # two dogs; a dog and a cat
(True, False)
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.data.labels import CLASSES, VOC_CLASSES

_TABLE = pd.read_csv(Path(__file__).with_suffix(".csv"), keep_default_na=False)
#: ImageNet's class indices that are one kind of thing, as ranges; by VOC's name where it has one.
_KINDS: dict[str, str] = dict(zip(_TABLE["kind"], _TABLE["classes"], strict=True))
#: Kinds that pass for another in a photograph, though VOC tells some of them apart.
_PASSES_FOR = dict(zip(_TABLE["kind"], _TABLE["passes_for"], strict=True))


def _indices(ranges: str) -> list[int]:
    found: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def kinds(classes: int) -> NDArray[np.int64]:
    """Return a number for the kind of each class; equal ones are one kind of thing.

    Classes of anything but ImageNet, which has 1000, are each their own kind, as are the classes of
    ImageNet that the table does not name.

    Examples
    --------
    >>> kinds(3)
    array([0, 1, 2])
    """
    found = np.arange(classes, dtype=np.int64)
    if classes == CLASSES:
        for kind, ranges in _KINDS.items():
            found[_indices(ranges)] = CLASSES + list(_KINDS).index(_PASSES_FOR[kind] or kind)
    return found


def classes_of_voc(index: int, classes: int) -> list[int]:
    """Return a model's classes that are a class of Pascal VOC; none of a person in ImageNet.

    Examples
    --------
    >>> classes_of_voc(VOC_CLASSES.index("cat"), 1000), classes_of_voc(7, 20)
    ([281, 282, 283, 284, 285], [7])
    """
    if classes == len(VOC_CLASSES):
        return [index]
    if classes == CLASSES:
        return _indices(_KINDS.get(VOC_CLASSES[index], ""))
    return []


def class_name(index: int, classes: int) -> str:
    """Return the name of one of a model's classes: ImageNet's and VOC's by their number.

    Examples
    --------
    >>> class_name(207, 1000), class_name(11, 20), class_name(3, 10)
    ('golden retriever', 'dog', 'class 3')
    """
    if classes == len(VOC_CLASSES):
        return VOC_CLASSES[index]
    return _imagenet()[index] if classes == CLASSES else f"class {index}"


@functools.cache
def _imagenet() -> list[str]:
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(i).split(",")[0] for i in range(CLASSES)]
