"""Figures 7, 8 and 16: images of two classes, and a map for each class and method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.outcome import LackingError
from benchmarks.figures.subject import Subject
from benchmarks.figures.two_classes import LEAST, SeveralClasses, several_classes
from gae_metric import plotting

#: Images of a figure.
_SHOWN = 3
#: Methods of a figure one column wide, and side by side on a page.
_FEW, _SIDE = 4, 9


def first(subject: Subject) -> Figure:
    """Draw figures 7 and 8: maps of two classes."""
    return _draw(subject, _seen(subject)[:_SHOWN], subject.best(_FEW))


def further(subject: Subject) -> Figure:
    """Draw figure 16: further images of two classes, and every method's maps."""
    seen = _seen(subject)
    images = seen[_SHOWN : 2 * _SHOWN]
    if not images:
        raise LackingError(
            f"figures 7 and 8 show all images of the run ({len(seen)}) in which it sees two "
            "classes; a run with more --samples has further ones"
        )
    return _draw(subject, images, subject.methods)


def _seen(subject: Subject) -> list[SeveralClasses]:
    found = several_classes(subject)
    if not found:
        raise LackingError(
            "it sees two classes in no image of the run; a run with more --samples, or with --data "
            "digits or voc:DIR, has some"
        )
    return found


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
