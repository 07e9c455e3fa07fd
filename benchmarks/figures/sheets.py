"""Figures of maps: of a few samples (5, 6, 10, 12, 13, 15), and for each class of an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.figures.plan import LackingError, Plan
from benchmarks.figures.subject import Subject
from benchmarks.figures.two_classes import LEAST, several_classes
from gae_metric import plotting
from gae_metric.plotting import Strip

#: The metric of a run by which the paper's reading is put to the test.
_SPARSITY = "quantus:Sparseness"


def ranked(plan: Plan, subjects: Sequence[Subject]) -> Figure:
    """Draw the highest and lowest GAE of the main method, and say which maps are sparser.

    That maps of high scores are sparser is the paper's reading. The Gini index of those that are
    shown is given, and, where the run has scores of ``quantus:Sparseness``, its rank correlation
    with GAE over all samples.
    """
    (subject,) = subjects
    main = subject.main
    return extremes(subject, "GAE", main, f"{subject.name}, {main}", plan.shown)


def extremes(subject: Subject, metric: str, method: str, title: str = "", shown: int = 5) -> Figure:
    """Draw the samples of a method's highest and lowest scores.

    Raises
    ------
    LackingError
        If there are fewer than two, or it explains them no more.
    """
    scores = subject.scores(metric).get(method)
    if scores is None or scores.count() < 2:
        raise LackingError(f"there are fewer than two scores of {metric} for {method}")
    scores = scores.dropna()
    top, bottom = plotting.top_and_bottom(scores, shown)
    # In ascending order equal scores rank as they do among all of the run's.
    samples = np.sort(scores.index.to_numpy(dtype=np.int64)[np.concatenate([top, bottom])])
    x = subject.images(samples)
    maps = subject.maps([method], x, subject.classes_of(samples))[method]
    if title:
        best = np.isin(samples, scores.index.to_numpy()[top])
        high, low = (np.mean([gini(one) for one in maps[some]]) for some in (best, ~best))
        title += f": highest and lowest {metric} of {len(scores)} samples; Gini index of positive "
        title += f"parts {high:.2f} and {low:.2f}"
        sparsity = subject.scores_of(scores.index.to_numpy(), [method], _SPARSITY).get(method)
        if sparsity is not None:
            correlation = scores.reset_index(drop=True).corr(pd.Series(sparsity), "spearman")
            title += f"; Sparseness over all: ρ = {correlation:.2f}"
    names = subject.class_names(samples)
    chosen = scores.loc[samples.tolist()]
    return plotting.extremes(subject.display(x), maps, chosen, shown, names, title)


def gini(relevance: NDArray[Any]) -> float:
    """Return the Gini index of a map's positive part: 0 is even, 1 all in one place.

    Examples
    --------
    >>> gini(np.ones((1, 2, 2))), gini(np.array([[[0.0, -1.0], [0.0, 3.0]]]))
    (0.0, 0.75)
    """
    values = np.sort(relevance.sum(axis=0).clip(0).ravel().astype(np.float64))
    ranks = 2 * np.arange(1, len(values) + 1) - len(values) - 1
    total = values.sum()
    return float(ranks @ values / (len(values) * total)) if total else 0.0


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
    what = ", ".join(sorted({one.what for one in images}))
    title = f"{subject.name}: a map for each class, and its probability ({what})"
    shown = np.stack([subject.display(one.x[None])[0] for one in images])
    drawn = {label: np.split(values, cuts) for label, values in found.items()}
    return plotting.class_maps(shown, names, drawn, title, columns=9)  # on a page
