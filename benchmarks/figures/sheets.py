"""Figures of maps: of a few samples (5, 6, 10, 12, 13, 15), and for each class of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.figures.outcome import LackingError
from benchmarks.figures.plan import Plan
from benchmarks.figures.subject import Subject
from benchmarks.figures.two_classes import LEAST, several_classes
from gae_metric import plotting
from gae_metric.plotting import Strip

#: Methods side by side on a page.
_SIDE = 9


def maps(plan: Plan, subjects: Sequence[Subject]) -> Figure:
    """Draw a strip of images, with maps below, for each model or data set."""
    chosen = [subject.scored_targets["target"] for subject in subjects]
    if len(plan.models) > 1:  # of one run: the same images, of one class to all as far as may be
        common = chosen[0].loc[chosen[0].index.intersection(chosen[1].index)]
        alike = common[common == chosen[1].loc[common.index]]
        chosen = [alike if len(alike) else common] * len(subjects)
    count = min(plan.shown, *map(len, chosen))
    strips = []
    for subject, table in zip(subjects, chosen, strict=True):
        shown = spread(table.index.to_numpy(dtype=np.int64), table.to_numpy(), count)
        name = subject.run.data.name.partition(":")[0] if len(plan.data) > 1 else subject.name
        grid = f", {subject.grid[0]}×{subject.grid[1]} tokens" if subject.grid else ""
        strips.append(strip(subject, shown, plan, f"{name}{grid}" if len(subjects) > 1 else ""))
    names = " and ".join(dict.fromkeys(subject.name for subject in subjects))
    below = ", GAE below" if any(one.scores for one in strips) else ""
    return plotting.strips(strips, f"{names}: maps of the explained class{below}")


def strip(subject: Subject, samples: Sequence[int], plan: Plan, name: str) -> Strip:
    """Explain samples by a figure's methods."""
    x = subject.images(samples)
    found = subject.maps(subject.methods_of(plan), x, subject.classes_of(samples))
    scores = subject.scores_of(samples, found)
    return Strip(subject.display(x), found, name, subject.class_names(samples), scores)


def spread(samples: NDArray[np.int64], classes: NDArray[np.int64], count: int) -> list[int]:
    """Choose samples at even distances, of different classes as far as there are any.

    Parameters
    ----------
    samples, classes
        The samples, in order, and the class of each.
    count
        How many; all where there are fewer.

    Examples
    --------
    >>> spread(np.arange(10), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2]), 3)
    [0, 3, 6]
    >>> spread(np.arange(4), np.zeros(4, dtype=int), 3)
    [0, 1, 2]
    """
    n = len(samples)
    chosen: list[int] = []
    for start in range(min(count, n)):
        first = start * n // min(count, n)
        order = [(first + i) % n for i in range(n)]
        left = [place for place in order if place not in chosen]
        seen = {int(classes[place]) for place in chosen}
        chosen.append(next((p for p in left if int(classes[p]) not in seen), left[0]))
    return [int(samples[place]) for place in sorted(chosen)]


def classes(plan: Plan, subjects: Sequence[Subject]) -> Figure:
    """Draw images that show several classes, and a map for each class and method."""
    (subject,) = subjects
    images = several_classes(subject)[: plan.shown]
    if not images:
        raise LackingError(
            "it sees several classes in no image of the run; a run with more --samples may have "
            "some, and --image names one"
        )
    # Every image once for each of its classes, so that a method is called once.
    x = np.stack([one.x for one in images for _ in one.classes])
    targets = [index for one in images for index in one.classes]
    found = subject.maps(subject.methods_of(plan), x, targets)
    cuts = np.cumsum([len(one.classes) for one in images])[:-1]
    names = [
        [
            f"{subject.class_name(index)}\n{chance:{'.2f' if chance >= LEAST else '.1g'}}"
            for index, chance in zip(one.classes, one.probabilities, strict=True)
        ]
        for one in images
    ]
    what = {one.what for one in images}
    return plotting.class_maps(
        np.stack([subject.display(one.x[None])[0] for one in images]),
        names,
        {label: np.split(values, cuts) for label, values in found.items()},
        f"{subject.name}: a map for each class, and its probability ({', '.join(sorted(what))})",
        columns=_SIDE,
    )
