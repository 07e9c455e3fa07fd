"""Meta-evaluation of metrics after MetaQuantus: statistics on scores that are there already.

A metric should give the same scores after a minor perturbation of the images or the network (noise
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

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gae_metric.comparison.results import Better

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
    p = 1.0
    if (difference != 0).any():
        p = float(stats.wilcoxon(difference, zero_method="zsplit").pvalue)
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


def meta_consistency(numbers: Sequence[float]) -> float:
    """Mean of the four consistencies; NaN where one is missing.

    Examples
    --------
    >>> meta_consistency([1.0, 0.5, 1.0, 0.5])
    0.75
    """
    return float(np.mean(np.asarray(numbers, dtype=np.float64)))
