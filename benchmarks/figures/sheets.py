"""Figures 5, 6, 12 and 13: a few images, with the main method's maps or with every method's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.figures.subject import Subject
from gae_metric import plotting
from gae_metric.plotting import Strip

#: Images beside one another, and below one another.
_WIDE, _HIGH = 5, 4
#: Methods beside one another: with their images, the width of a page.
_METHODS = 8


def main(subject: Subject) -> Figure:
    """Draw figures 5 and 6: the main method's maps."""
    drawn = strip(subject, _samples(subject, _WIDE), [subject.main])
    below = ", GAE below" if drawn.scores else ""
    return plotting.strips([drawn], f"{subject.name}: maps of the explained class{below}")


def every(subject: Subject) -> Figure:
    """Draw figures 12 and 13: every method's maps."""
    # A second band of methods takes the room of as many images again.
    bands = -(-len(subject.methods) // _METHODS)
    drawn = strip(subject, _samples(subject, max(2, _HIGH - bands + 1)), subject.methods)
    return plotting.maps(
        drawn.images,
        drawn.attributions,
        drawn.labels,
        f"{subject.name}: maps of the explained class{', GAE below' if drawn.scores else ''}",
        drawn.scores,
        columns=_METHODS,
    )


def strip(
    subject: Subject, samples: Sequence[int], methods: Sequence[str], row: str = "", name: str = ""
) -> Strip:
    """Explain samples by methods, whose rows are named by them, or by one name."""
    x = subject.images(samples)
    maps = subject.maps(methods, x, subject.classes_of(samples))
    scores = subject.scores_of(samples, maps)
    return Strip(
        subject.display(x),
        {row or method: values for method, values in maps.items()},
        name,
        subject.class_names(samples),
        {row or method: values for method, values in scores.items()},
    )


def _samples(subject: Subject, count: int) -> list[int]:
    table = subject.scored_targets
    samples = table.index.to_numpy(dtype=np.int64)
    return spread(samples, table["target"].to_numpy(), count)


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
