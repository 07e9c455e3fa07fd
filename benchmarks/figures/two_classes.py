"""Images that show two classes, and the classes that a model sees in them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from benchmarks.data.labels import CLASSES, VOC_CLASSES
from benchmarks.figures.kinds import classes_of_voc, kinds
from benchmarks.figures.subject import Subject

LEAST = 0.01
"""Probability below which a class counts as not seen, though it is known to be there."""

#: Clarity below which it is not known.
_LEAST_CLEAR = 0.1
#: Images that are looked at.
_MOST = 64


@dataclass(frozen=True, eq=False)
class SeveralClasses:
    """An image that shows two classes.

    Attributes
    ----------
    x
        The model's input (C, H, W).
    what
        What it is: its file, or the digits that it is made of.
    classes, probabilities
        The two classes, and what the model gives them.
    clarity
        How sure the model is of the less clear of the two.
    """

    x: NDArray[np.float32]
    what: str
    classes: tuple[int, int]
    probabilities: tuple[float, float]
    clarity: float


@functools.cache
def several_classes(subject: Subject) -> list[SeveralClasses]:
    """Return images that show two classes, the clearest first.

    At most 64 images are looked at: of photographs, those whose explained class has a probability
    nearest to a half, which leaves most room for a second. No map has a say in it.
    """
    found = _of_digits(subject) if subject.part.arrays is not None else _of_photographs(subject)
    return sorted(found, key=lambda one: -one.clarity)


def _of_digits(subject: Subject) -> Iterable[SeveralClasses]:
    """Put two neighbours among the run's digits side by side, at half their size."""
    targets = subject.targets["target"].to_numpy()
    places = np.arange(len(targets) // 2 * 2).reshape(-1, 2)
    pairs = places[targets[places[:, 0]] != targets[places[:, 1]]][:_MOST]
    if not len(pairs):
        return
    samples = subject.targets.index.to_numpy()
    inputs = subject.images(samples[pairs.ravel()])
    x = side_by_side(inputs[::2], inputs[1::2])
    probabilities = subject.probabilities(x)
    for row, pair in enumerate(pairs):
        one, other = (int(targets[place]) for place in pair)
        files = subject.targets["file"].to_numpy()[pair]
        chances = (float(probabilities[row, one]), float(probabilities[row, other]))
        if min(chances) >= LEAST:
            yield SeveralClasses(x[row], " and ".join(files), (one, other), chances, min(chances))


def side_by_side(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrink images (N, C, H, W) to half their size and put two on one canvas of zeros.

    Examples
    --------
    >>> side_by_side(np.ones((1, 1, 4, 4), np.float32), np.full((1, 1, 4, 4), 2, np.float32))[0, 0]
    array([[0., 0., 0., 0.],
           [1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [0., 0., 0., 0.]], dtype=float32)
    """
    height, width = left.shape[2] // 2, left.shape[3] // 2
    top = (left.shape[2] - height) // 2
    canvas = np.zeros_like(left)
    for place, images in ((slice(0, width), left), (slice(width, 2 * width), right)):
        half = interpolate(torch.from_numpy(images), size=(height, width), mode="area")
        canvas[:, :, top : top + height, place] = half.numpy()
    return canvas


def _of_photographs(subject: Subject) -> Iterable[SeveralClasses]:
    """Look for two things in two halves, or for the classes that annotations name."""
    # Annotations name VOC's classes, which are found among VOC's own and among ImageNet's.
    known = subject.classes in (len(VOC_CLASSES), CLASSES)
    annotated = subject.part.classes if known else None
    chances = subject.targets["probability"].to_numpy(dtype=float)
    places = np.argsort(np.abs(chances - 0.5), kind="stable")
    if annotated is not None:
        places = np.array([p for p in places if len(annotated[p]) > 1], dtype=np.int64)
    kind = kinds(subject.classes)
    for place in places[:_MOST]:
        x = subject.images([int(subject.targets.index[place])])[0]
        if annotated is None:
            probabilities = subject.probabilities(halves(x))
            pair, clarity = pair_of(probabilities, kind)
        else:
            probabilities = subject.probabilities(x[None])
            pair, clarity = annotated_pair(probabilities[0], annotated[place])
        if pair is not None:
            one, other = sorted(pair, key=lambda index: -probabilities[0, index])
            both = (float(probabilities[0, one]), float(probabilities[0, other]))
            file = str(subject.targets["file"].iloc[place])
            yield SeveralClasses(x, file, (one, other), both, clarity)


def halves(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an input (C, H, W), and its left, right, upper and lower half with zeros beside it.

    Examples
    --------
    >>> halves(np.ones((1, 2, 2), np.float32))[1, 0]
    array([[1., 0.],
           [1., 0.]], dtype=float32)
    """
    height, width = x.shape[1] // 2, x.shape[2] // 2
    found = np.tile(x, (5, 1, 1, 1))
    found[1, :, :, width:] = 0
    found[2, :, :, :width] = 0
    found[3, :, height:] = 0
    found[4, :, :height] = 0
    return found


def pair_of(
    probabilities: NDArray[np.float64], kind: NDArray[np.int64]
) -> tuple[tuple[int, int] | None, float]:
    """Find two kinds of thing that lie in two halves.

    Parameters
    ----------
    probabilities
        (5, classes), of what :func:`halves` returns.
    kind
        (classes,) the kind of each class.

    Returns
    -------
    The class of either kind that is likeliest in the whole image, or None where the model sees no
    two kinds; and the geometric mean of the less likely kind's probability in its half and in the
    whole image: half an image may be taken for anything.

    Examples
    --------
    >>> alone = np.array([[0.6, 0.3, 0.1], [0.9, 0.1, 0], [0.1, 0.5, 0.4], [1, 0, 0], [1, 0, 0]])
    >>> pair, clarity = pair_of(alone, np.array([0, 1, 1]))
    >>> pair, round(clarity, 3)
    ((0, 1), 0.6)
    """
    names, place = np.unique(kind, return_inverse=True)
    of_kinds = np.zeros((len(names), len(probabilities)))
    np.add.at(of_kinds, place, probabilities.T)
    whole = np.minimum.outer(of_kinds[:, 0], of_kinds[:, 0])
    best: tuple[tuple[int, int] | None, float] = (None, 0.0)
    for first, second in ((1, 2), (3, 4)):
        both = np.sqrt(np.minimum.outer(of_kinds[:, first], of_kinds[:, second]) * whole)
        np.fill_diagonal(both, 0)
        one, other = np.unravel_index(int(both.argmax()), both.shape)
        clarity = float(both[one, other])
        if clarity > best[1] and clarity >= _LEAST_CLEAR:
            chosen = (np.where(place == k, probabilities[0], -1).argmax() for k in (one, other))
            best = ((int(next(chosen)), int(next(chosen))), clarity)
    return best


def annotated_pair(
    probabilities: NDArray[np.float64], named: Sequence[int]
) -> tuple[tuple[int, int] | None, float]:
    """Return the two likeliest classes of two annotated things: that these are there is known."""
    own = [classes_of_voc(index, len(probabilities)) for index in named]
    best = [max(some, key=lambda i: probabilities[i]) for some in own if some]
    ranked = sorted(best, key=lambda i: -probabilities[i])
    if len(ranked) < 2 or probabilities[ranked[1]] < LEAST:
        return None, 0.0
    return (ranked[0], ranked[1]), float(probabilities[ranked[1]])
