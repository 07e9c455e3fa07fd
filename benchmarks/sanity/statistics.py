"""Statistics on scores that are there already.

Whether scores fall as maps become worse, and the meta-evaluation of metrics after MetaQuantus: a
metric should give the same scores after a minor perturbation of the images or the network (noise
resilience), and others, worse ones, after a disruptive one (reactivity to adversary). Two
properties are measured under each, four numbers in [0, 1], 1 being best:

- intra-consistency: for one method, p of Wilcoxon's signed-rank test between the scores before and
  after, two-sided, zeros split; under a disruptive perturbation 1 - p;
- inter-consistency: under a minor perturbation, the share of samples and methods whose rank among
  the methods stays; under a disruptive one, the share whose score becomes worse.

Only samples count whose predicted class stays under a minor perturbation, or changes under a
disruptive one. The mean of the four is the meta-consistency.

Source: Hedström, Bommer, Wickstrøm, Samek, Lapuschkin, Höhne, "The Meta-Evaluation Problem in
Explainable AI: Identifying Reliable Estimators with MetaQuantus", TMLR 2023.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gae_metric.comparison.pairs import signed_rank
from gae_metric.comparison.results import Better

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
    if all(np.allclose(each, values[0], rtol=0, atol=_ROUNDING, equal_nan=True) for each in values):
        return "unchanged"
    risen = rises(averages)
    if not risen:
        return "falls at every step" if (np.diff(averages) < -_ROUNDING).all() else "never rises"
    clear = [i for i in risen if against(values[i], values[i - 1])[1] < ALPHA]
    return f"rises at {len(risen)} of {len(values) - 1} steps, significantly at {len(clear)}"


Kind = Literal["resilience", "reactivity"]


def intra_consistency(before: ArrayLike, after: ArrayLike, usable: ArrayLike, kind: Kind) -> float:
    """Intra-consistency of one method's scores.

    Parameters
    ----------
    before, after
        (N,) scores of the same samples; pairs with one that is not finite do not count.
    usable
        (N,) which samples count.
    kind
        ``"resilience"`` for a minor perturbation: p; ``"reactivity"`` for a disruptive one: 1 - p.

    Returns
    -------
    float
        In [0, 1]; NaN without a pair. p is 1 where no score has changed.

    Examples
    --------
    >>> same, usable = [0.1, 0.2, 0.3], [True, True, True]
    >>> [intra_consistency(same, same, usable, kind) for kind in ("resilience", "reactivity")]
    [1.0, 0.0]
    """
    q, perturbed = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    kept = np.asarray(usable, dtype=bool) & np.isfinite(q) & np.isfinite(perturbed)
    if not kept.any():
        return float("nan")
    difference = perturbed[kept] - q[kept]
    p = float(stats.wilcoxon(difference, zero_method="zsplit").pvalue) if difference.any() else 1.0
    return p if kind == "resilience" else 1 - p


def inter_consistency(
    before: ArrayLike, after: ArrayLike, usable: ArrayLike, kind: Kind, better: Better
) -> float:
    """Inter-consistency of the scores of several methods.

    Parameters
    ----------
    before, after
        (L, N) scores of L methods on the same samples.
    usable
        (N,) which samples count; one with a score that is not finite does not.
    kind
        ``"resilience"``: share of ranks that stay, equal scores sharing a rank; ``"reactivity"``:
        share of scores that become worse.
    better
        ``"higher"`` or ``"lower"``.

    Returns
    -------
    float
        In [0, 1]; NaN without a sample.

    Examples
    --------
    >>> before, after, usable = [[0.9, 0.8], [0.1, 0.2]], [[0.7, 0.1], [0.0, 0.3]], [True, True]
    >>> inter_consistency(before, after, usable, "resilience", "higher")
    0.5
    >>> inter_consistency(before, after, usable, "reactivity", "higher")
    0.75
    """
    q, perturbed = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    kept = np.asarray(usable, dtype=bool)
    kept = kept & np.isfinite(q).all(axis=0) & np.isfinite(perturbed).all(axis=0)
    if not kept.any():
        return float("nan")
    q, perturbed = q[:, kept], perturbed[:, kept]
    agrees: NDArray[np.bool_]
    if kind == "resilience":
        agrees = stats.rankdata(q, axis=0) == stats.rankdata(perturbed, axis=0)
    else:
        agrees = perturbed < q if better == "higher" else perturbed > q
    return float(agrees.mean())
