"""Whether scores fall as maps become worse: statistics on scores that are there already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gae_metric.comparison.pairs import signed_rank

ALPHA = 0.05
"""Level of the paired tests."""

#: A mean that is this much higher, or less, has not risen: float32's rounding.
_ROUNDING = 1e-4


def against(scores: ArrayLike, reference: ArrayLike) -> tuple[float, float]:
    """Mean change from reference scores of the same samples, and p of the signed-rank test.

    Examples
    --------
    >>> change, p = against([0.1, 0.1, 0.2, 0.1, 0.2, 0.1], [0.5, 0.6, 0.7, 0.4, 0.8, 0.9])
    >>> round(change, 2), round(p, 3)
    (-0.52, 0.031)
    """
    test = signed_rank(scores, reference)
    return test["mean_difference"], test["p"]


def rises(means: Sequence[float]) -> list[int]:
    """Places of the means that are above the one before.

    Examples
    --------
    >>> rises([0.5, 0.3, 0.4, 0.4, 0.1])
    [2]
    """
    return [i for i in range(1, len(means)) if means[i] > means[i - 1] + _ROUNDING]


def rank_correlation(strengths: Sequence[float], means: Sequence[float]) -> float:
    """Spearman's correlation of strength and mean score: -1 where scores fall at every step.

    NaN where all means are equal.

    Examples
    --------
    >>> round(rank_correlation([0, 1, 2], [0.5, 0.3, 0.1]), 6)
    -1.0
    """
    values: NDArray[np.float64] = np.asarray(means, dtype=np.float64)
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return float("nan")
    return float(stats.spearmanr(np.asarray(strengths, dtype=np.float64), values).statistic)


def verdict(scores: Sequence[ArrayLike]) -> str:
    """Say in words whether the mean falls from each set of paired scores to the next.

    Parameters
    ----------
    scores
        (N,) scores of the same samples at growing strength, the unspoilt ones first.

    Returns
    -------
    ``"falls at every step"``; ``"never rises"`` where it stays at times; ``"rises at 2 of 5 steps,
    significantly at 1"``; ``"unchanged"`` where no score differs.

    Examples
    --------
    >>> verdict([[0.5, 0.6], [0.3, 0.2], [0.1, 0.0]])
    'falls at every step'
    """
    values = [np.asarray(each, dtype=np.float64) for each in scores]
    averages = [float(np.nanmean(each)) for each in values]
    steps = len(values) - 1
    if all(np.allclose(each, values[0], rtol=0, atol=_ROUNDING, equal_nan=True) for each in values):
        return "unchanged"
    risen = rises(averages)
    if not risen:
        falls = [averages[i] < averages[i - 1] - _ROUNDING for i in range(1, len(averages))]
        return "falls at every step" if all(falls) else "never rises"
    clear = [i for i in risen if against(values[i], values[i - 1])[1] < ALPHA]
    return f"rises at {len(risen)} of {steps} steps, significantly at {len(clear)}"
