"""The paper's figures, by its captions: what each shows, and what comes of drawing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from gae_metric.errors import InputError


class LackingError(Exception):
    """A run lacks what a figure shows; the message says what, and what run has it."""


Kind: TypeAlias = Literal["curves", "impact", "mosaic", "maps", "classes", "ranked"]


class Plan(NamedTuple):
    """A figure of the paper.

    Attributes
    ----------
    kind
        What it shows: one sample's curves, impact maps or mosaic, maps of a few samples, a map for
        each class of an image, or the samples of the highest and lowest scores.
    models
        The networks, as :data:`benchmarks.models.PAPER` calls them; a strip of maps for each.
    data
        The kinds of data, likewise.
    methods
        The methods, in order.
    positive
        Whether only what is positive of a map is shown.
    shown
        Images; of the ranked ones, as many of either end.
    samples
        Samples that are ranked.
    """

    kind: Kind
    models: tuple[str, ...]
    data: tuple[str, ...] = ("imagenet",)
    methods: tuple[str, ...] = ("absLRP",)
    positive: bool = False
    shown: int = 5
    samples: int = 0


_VGG, _RESNET, _VIT = ("vgg16",), ("resnet50",), ("vit_base_patch16_224",)
_VOC, _BOTH = ("voc",), ("imagenet", "voc")
_GRIDS = ("vit_base_patch16_384", "vit_base_patch32_224")
_ALPHA2 = ("absLRP", "LRP-alpha2beta1")
_SEVEN = (*_ALPHA2, "LRP-epsilon", "GradCAM", "cRAP", "cLRP", "GuidedGradCAM")
_OF_VIT = ("absLRP", "Rollout", "TIBAV", "GradCAM", "HiResCAM")
_OF_RESNET = ("absLRP", "GradCAM", "GradCAM++", "GuidedGradCAM", "cLRP")

FIGURES: dict[int, Plan] = {
    2: Plan("curves", _VGG),
    3: Plan("impact", _VGG),
    4: Plan("mosaic", _VGG, methods=_ALPHA2, positive=True),
    5: Plan("maps", _VGG),
    6: Plan("maps", _VIT, _VOC),
    7: Plan("classes", _VGG, methods=_SEVEN, shown=2),
    8: Plan("classes", _VIT, methods=_OF_VIT, shown=3),
    10: Plan("maps", _GRIDS, methods=("absLRP", "HiResCAM"), shown=4),
    11: Plan("ranked", _VGG, samples=1024),
    12: Plan("maps", _VGG, _VOC),
    13: Plan("maps", _VIT),
    14: Plan("ranked", _VIT, samples=1024),
    15: Plan("maps", _RESNET, _BOTH),
    16: Plan("classes", _RESNET, methods=_OF_RESNET, shown=3),
}
"""By number. Figure 1 is `tests/abslrp/test_figure1.py`, 9 ``benchmarks.studies.reviews``."""


def check_numbers(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return figures in ascending order, each once; all of them where none is named.

    Raises
    ------
    InputError
        If there is no such figure; the message gives the nearest.

    Examples
    --------
    >>> check_numbers([16, 2, 2])
    (2, 16)
    >>> check_numbers([9])
    Traceback (most recent call last):
        ...
    gae_metric.errors.InputError: figure: expected one of 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, \
15, 16, got 9; the nearest is 8 or 10
    """
    for number in numbers:
        if number not in FIGURES:
            distance = min(abs(number - known) for known in FIGURES)
            near = [str(known) for known in FIGURES if abs(number - known) == distance]
            raise InputError(
                f"figure: expected one of {', '.join(map(str, FIGURES))}, got {number}; the "
                f"nearest is {' or '.join(near)}"
            )
    return tuple(sorted(set(numbers or FIGURES)))
