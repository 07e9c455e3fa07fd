"""Classes by name and by kind: of two breeds of dog in one picture the maps are one.

>>> kind = kinds(1000)
>>> bool(kind[207] == kind[243]), bool(kind[207] == kind[281])  # two dogs; a dog and a cat
(True, False)
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.labels import CLASSES, VOC_CLASSES

#: ImageNet's class indices that are one kind of thing, as ranges; by VOC's name where it has one.
_KINDS = {
    "fish": "0-6 389-397",
    "bird": "7-24 80-100 127-146",
    "salamander": "25-29",
    "frog": "30-32",
    "turtle": "33-37",
    "lizard": "38-48",
    "crocodile": "49-50",
    "snake": "52-68",
    "spider": "70 72-78",
    "slug": "112-115",
    "crab": "118-121 125",
    "lobster": "122-124",
    "whale": "147-150",
    "dog": "151-275",
    "fox": "277-280",
    "cat": "281-285",
    "big cat": "286-293",
    "bear": "294-297",
    "mongoose": "298-299",
    "beetle": "300-307",
    "insect": "308-320",
    "butterfly": "321-326",
    "rabbit": "330-332",
    "horse": "339",
    "pig": "341-343",
    "cow": "345-347",
    "sheep": "348-350",
    "antelope": "351-353",
    "weasel": "356-360",
    "monkey": "365-384",
    "elephant": "101 385-386",
    "aeroplane": "404 895 908",
    "bicycle": "444 671",
    "boat": "403 472 484 510 554 576 625 628 694 780 814 871 914",
    "bottle": "440 720 737 898-899 901 907",
    "bus": "654 779 874",
    "car": "407 436 468 479 511 581 609 627 656 661 717 734 751 817",
    "truck": "555 569 660 675 757 864 867",
    "chair": "423 559 765 857",
    "diningtable": "532",
    "motorbike": "665 670",
    "pottedplant": "738",
    "sofa": "831",
    "train": "466 547 565 705 820 829",
    "tvmonitor": "527 598 664 782 851",
    "laptop": "620 681",
    "keyboard": "508 810 878",
    "clock": "409 530-531 826 892",
    "guitar": "402 546",
    "piano": "579 881",
    "flute": "558 683",
    "cup": "504 550 967-968",
    "hat": "515 808",
    "shoe": "502 514 630 770 774",
    "swimsuit": "445 459 638-639",
    "dress": "578 601 655 689",
    "suit": "834 906 457",
    "sunglasses": "836-837",
    "lamp": "619 818 846",
    "rifle": "413 763-764",
    "telephone": "487 528 707",
    "bridge": "821 839 888",
    "ball": "429-430 574 722 768 805 852 890",
    "pan": "521 544 567 909",
    "squash": "939-942",
    "citrus": "950-951",
    "corn": "987 998",
    "mushroom": "947 991-997",
    "shore": "973 975-978",
    "mountain": "970 979-980",
    "building": "497 663 668 698",
    "shop": "415 424 454 467 509 582 788 860 865",
}

#: Kinds that pass for one another in a photograph, though VOC tells some of them apart.
_ALIKE = (
    ("bus", "car", "truck", "train"),
    ("tvmonitor", "laptop", "keyboard"),
    ("chair", "sofa"),
    ("cat", "big cat"),
    ("beetle", "insect"),
    ("salamander", "lizard"),
    ("crab", "lobster"),
    ("shore", "mountain"),
)


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
        for place, ranges in enumerate(_KINDS.values()):
            found[_indices(ranges)] = CLASSES + place
        for first, *others in _ALIKE:
            for other in others:
                found[_indices(_KINDS[other])] = found[_indices(_KINDS[first])[0]]
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
