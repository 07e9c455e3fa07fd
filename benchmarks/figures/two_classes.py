"""Images that show several classes: those that people have named, or two images side by side."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data import RealLabelsImagenet
from torch.nn.functional import interpolate

from benchmarks.data.dataset import read_image
from benchmarks.data.labels import CLASSES
from benchmarks.figures.kinds import classes_of_voc, kinds
from benchmarks.figures.subject import Subject
from gae_metric.errors import InputError

LEAST = 0.01
"""Probability below which a class counts as not seen, though it is known to be there."""

#: Images that are looked at, and classes of one that are shown.
_IMAGES, _CLASSES = 64, 3


class SeveralClasses(NamedTuple):
    """An image that shows several classes.

    Attributes
    ----------
    x
        The model's input (C, H, W).
    what
        How it is known that they are there.
    classes, probabilities
        The classes, and what the model gives them.
    """

    x: NDArray[np.float32]
    what: str
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


@functools.cache
def several_classes(subject: Subject) -> list[SeveralClasses]:
    """Return images that show several classes, those first whose second is seen most clearly.

    Classes are there because ``--image`` names them, or by annotation: VOC's, or, for ImageNet's
    validation images, the labels of Beyer et al. (2020). A model's likeliest class of each
    annotated thing is taken. Where nothing is annotated, two of the run's images are put side by
    side. No map has a say in it.
    """
    if subject.named:
        return [named_image(subject, spec) for spec in subject.named]
    found = list(_annotated(subject)) or list(_beside(subject))
    return sorted(found, key=lambda one: -sorted(one.probabilities)[-2])


def _annotated(subject: Subject) -> Iterator[SeveralClasses]:
    """Look for images in which people have named several kinds of thing."""
    number = subject.classes
    things: list[list[list[int]]] = []
    if subject.part.classes is not None:
        things = [[classes_of_voc(i, number) for i in some] for some in subject.part.classes]
        what = "by VOC's annotations"
    elif number == CLASSES and subject.run.data.name.startswith("imagenet:"):
        names = [Path(file).name for file in subject.part.files]
        labels, kind = RealLabelsImagenet(range(50_000)).real_labels, kinds(number)
        for some in (labels.get(name, []) for name in names):
            things.append([[i for i in some if kind[i] == one] for one in {*kind[some]}])
        what = "by the labels of Beyer et al."
    places = [place for place, some in enumerate(things) if sum(map(bool, some)) > 1]
    for place in places[:_IMAGES]:
        x = subject.images([int(subject.targets.index[place])])[0]
        chances = subject.probabilities(x[None])[0]
        best = [max(own, key=lambda i: chances[i]) for own in things[place] if own]
        seen = sorted((i for i in best if chances[i] >= LEAST), key=lambda i: -chances[i])
        if len(seen) > 1:
            shown = tuple(seen[:_CLASSES])
            yield SeveralClasses(x, what, shown, tuple(float(chances[i]) for i in shown))


def _beside(subject: Subject) -> Iterator[SeveralClasses]:
    """Put neighbours among the run's images side by side, at half their size."""
    kind = kinds(subject.classes)
    targets = subject.targets["target"].to_numpy(dtype=np.int64)
    places = np.arange(len(targets) // 2 * 2).reshape(-1, 2)
    pairs = places[kind[targets[places[:, 0]]] != kind[targets[places[:, 1]]]][:_IMAGES]
    if not len(pairs):
        return
    inputs = subject.images(subject.targets.index.to_numpy()[pairs.ravel()])
    x = side_by_side(inputs[::2], inputs[1::2])
    for one, chances, pair in zip(x, subject.probabilities(x), targets[pairs], strict=True):
        seen = (float(chances[pair[0]]), float(chances[pair[1]]))
        if min(seen) >= LEAST:
            yield SeveralClasses(one, "two images side by side", tuple(map(int, pair)), seen)


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


def named_image(subject: Subject, spec: str) -> SeveralClasses:
    """Read an image that is named with its classes, ``both.png:243,281``.

    Raises
    ------
    InputError
        If it cannot be read, or two or more classes of the model are not named.
    """
    file, _, text = spec.rpartition(":")
    wanted = text.split(",")
    known = all(one.strip().isdecimal() and int(one) < subject.classes for one in wanted)
    if len(wanted) < 2 or not known:
        raise InputError(
            f"image: expected FILE:CLASS,CLASS with classes from 0 to {subject.classes - 1}, got "
            f"{spec!r}"
        )
    reading = read_image(Path(file), subject.loaded.preprocessing)
    if reading.image is None:
        raise InputError(f"image: cannot read {file!r}: {reading.problem}")
    chances = subject.probabilities(reading.image[None])[0]
    indices = tuple(map(int, wanted))
    seen = tuple(float(chances[i]) for i in indices)
    return SeveralClasses(reading.image, "as named", indices, seen)
