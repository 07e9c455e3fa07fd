"""Figures 7, 8 and 16: images of two classes, and a map for each class and method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.material import Material
from benchmarks.figures.outcome import LackingError, Outcome
from benchmarks.figures.subject import Subject
from benchmarks.figures.two_classes import LEAST, SeveralClasses
from gae_metric import plotting

#: Images of a figure.
_SHOWN = 3
#: Methods of a figure one column wide, and side by side on a page.
_FEW, _SIDE = 4, 9


def two_classes_cnn(material: Material) -> Iterator[Outcome]:
    """Draw figure 7: maps of two classes for convolutional networks."""
    return material.each("cnn", _first)


def two_classes_vit(material: Material) -> Iterator[Outcome]:
    """Draw figure 8: maps of two classes for vision transformers."""
    return material.each("vit", _first)


def further(material: Material) -> Iterator[Outcome]:
    """Draw figure 16: further images of two classes, and every method's maps."""
    return material.each(None, _further)


def _first(subject: Subject) -> Figure:
    return _draw(subject, _seen(subject)[:_SHOWN], subject.best(_FEW))


def _further(subject: Subject) -> Figure:
    images = _seen(subject)[_SHOWN : 2 * _SHOWN]
    if not images:
        raise LackingError(
            f"figures 7 and 8 show all images of the run ({len(subject.several)}) in which it sees "
            "two classes; a run with more --samples has further ones"
        )
    return _draw(subject, images, subject.methods)


def _seen(subject: Subject) -> list[SeveralClasses]:
    if not subject.several:
        raise LackingError(
            "it sees two classes in no image of the run; a run with more --samples, or with --data "
            "digits or voc:DIR, has some"
        )
    return subject.several


def _draw(subject: Subject, images: Sequence[SeveralClasses], methods: Sequence[str]) -> Figure:
    # Every image once for each of its classes, so that a method is called once.
    x = np.stack([one.x for one in images for _ in one.classes])
    maps = subject.maps(methods, x, [index for one in images for index in one.classes])
    cuts = np.cumsum([len(one.classes) for one in images])[:-1]
    names = [
        [
            f"{subject.class_name(index)}\n{chance:{'.2f' if chance >= LEAST else '.1g'}}"
            for index, chance in zip(one.classes, one.probabilities, strict=True)
        ]
        for one in images
    ]
    return plotting.class_maps(
        np.stack([subject.display(one.x[None])[0] for one in images]),
        names,
        {label: np.split(values, cuts) for label, values in maps.items()},
        f"{subject.name}: a map for each class, and the class's probability",
        columns=_SIDE,
    )
