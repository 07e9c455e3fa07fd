"""Figures 11 and 14: the samples that the main method explains best and worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.figures.outcome import LackingError
from benchmarks.figures.plan import Plan
from benchmarks.figures.subject import Subject
from gae_metric import plotting

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
