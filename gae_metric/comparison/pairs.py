"""Paired tests between methods: Wilcoxon's signed-rank test, and Holm's correction."""

from collections.abc import Iterable
from itertools import combinations
from math import ceil, log2
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from abslrp.arrays import as_numbers
from gae_metric.comparison.results import Scores, ScoreTable, read_score_tables
from gae_metric.errors import short, warn

#: Unequal pairs up to which p is exact whatever ties there are, as scipy's is.
_FEW = 13

#: Units in the last place up to which numbers may be the same but for rounding.
_ROUNDING = 8


def signed_rank(a: ArrayLike, b: ArrayLike) -> dict[str, float]:
    """Test whether paired scores differ, by Wilcoxon's signed-rank test, two-sided.

    Parameters
    ----------
    a, b
        Scores (N,) of the same samples. A sample that lacks a finite score in either is dropped.

    Returns
    -------
    dict
        ``samples`` (pairs that are left), ``dropped``, ``unequal`` (pairs that differ),
        ``mean_difference`` and ``median_difference`` of a - b, ``deviation`` (their standard
        deviation),
        ``rank_biserial`` (the sum of the ranks of positive differences less that of negative ones,
        over the sum of all; in [-1, 1]), ``statistic`` (the smaller of the two sums of ranks) and
        ``p``.

    Notes
    -----
    Pairs that are equal carry no rank (Wilcoxon's own procedure, scipy's default). Where all are
    equal p is 1; without a pair it is NaN. Differences count as equal where rounding of the scores
    may have made them differ: thirds and ninths are no binary fractions. Exact up to 13 unequal
    pairs, up to 50 without ties among their ranks, the normal approximation beyond
    (``scipy.stats.wilcoxon``). Two methods cannot be told apart at 0.05 by fewer than six unequal
    pairs.

    Examples
    --------
    >>> test = signed_rank([0.5, 0.6, 0.7, 0.9, 0.8, 0.4, 0.1], [0.4, 0.3, 0.1, 0.5, 0.3, 0.2, 0.1])
    >>> test["p"], test["rank_biserial"], test["samples"]
    (0.03125, 1.0, 7)
    """
    one, other = as_numbers(a, "a"), as_numbers(b, "b")
    difference = one - other
    known = np.isfinite(difference)
    finite = difference[known]
    rounding = rounding_of(np.maximum(np.abs(one), np.abs(other))[known])
    finite[np.abs(finite) <= rounding] = 0
    unequal, rounding = finite[finite != 0], rounding[finite != 0]
    n = len(finite)
    result = {
        "samples": n,
        "dropped": len(difference) - n,
        "unequal": len(unequal),
        "mean_difference": float(finite.mean()) if n else np.nan,
        "median_difference": float(np.median(finite)) if n else np.nan,
        "deviation": float(finite.std(ddof=1)) if n > 1 else np.nan,
    }
    if not len(unequal):
        same = {"rank_biserial": 0.0, "statistic": 0.0, "p": 1.0}
        return result | (same if n else dict.fromkeys(same, np.nan))
    order = np.argsort(np.abs(unequal))
    steps = np.diff(np.abs(unequal)[order]) > np.maximum(rounding[order][1:], rounding[order][:-1])
    groups = np.empty(len(unequal))
    groups[order] = 1 + np.cumsum([0, *steps])
    ranks = stats.rankdata(groups)
    positive = float(ranks[unequal > 0].sum())
    # Scipy takes a second for few pairs with ties, and its older releases approximate there.
    few = len(unequal) <= _FEW
    p = _exact(ranks, positive) if few else stats.wilcoxon(np.sign(unequal) * groups).pvalue
    return result | {
        "rank_biserial": float((np.sign(unequal) * ranks).sum() / ranks.sum()),
        "statistic": min(positive, float(ranks.sum()) - positive),
        "p": float(p),
    }


def rounding_of(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much numbers of some sizes may differ and be the same but for rounding.

    Examples
    --------
    >>> bool(0 < abs(0.1 + 0.2 - 0.3) < rounding_of(np.array(0.3)) < 1e-15)
    True
    """
    return _ROUNDING * np.spacing(size)


def _exact(ranks: NDArray[np.float64], positive: float) -> float:
    """Return the two-sided p of the positive ranks' sum, all signs being equally likely."""
    doubled = (2 * ranks).astype(int)  # ties have halves
    ways = np.zeros(doubled.sum() + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[:-rank]
    found = round(2 * positive)
    return min(1.0, float(2 * min(ways[: found + 1].sum(), ways[found:].sum()) / ways.sum()))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values for their number by Holm's step-down procedure.

    Parameters
    ----------
    p
        (K,) p-values; NaN stands for a test that could not be made and does not count.

    Returns
    -------
    ndarray
        (K,): with the m values in ascending order, the running maximum of (m - i) p_i, i from 0,
        at most 1. Rejecting those below α keeps the chance of any false rejection below α.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    result = np.full(values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = len(order) - np.arange(len(order))
    result[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return result


def pairwise(results: Scores) -> pd.DataFrame:
    """Test every pair of methods by each metric.

    Parameters
    ----------
    results
        Scores in any of the forms of :func:`gae_metric.compare`.

    Returns
    -------
    pandas.DataFrame
        A row for each metric and pair of methods, with ``model`` first where the scores name
        models: ``metric``, ``method_a``, ``method_b``, ``samples`` (pairs with two scores),
        ``dropped`` (pairs without), ``unequal`` (pairs that differ), ``mean_difference`` and
        ``median_difference`` (of a - b), ``deviation`` (standard deviation of a - b),
        ``rank_biserial`` (effect size in [-1, 1]:
        1 where every difference is positive, 0 where ranks are balanced), ``statistic`` and ``p``
        (Wilcoxon's signed-rank test, two-sided), and ``p_holm`` (p corrected for all pairs of the
        same metric and model).

    Raises
    ------
    ValueError
        If the scores are in none of the forms or cannot be paired.

    Warns
    -----
    RuntimeWarning
        If there are fewer than six samples, on which the test tells no methods apart.

    See Also
    --------
    gae_metric.compare : a row for each method.

    Examples
    --------
    >>> results = {"A": {"GAE": [0.5, 0.6, 0.7, 0.9, 0.8, 0.4]}, "B": {"GAE": [0.0] * 6}}
    >>> pairwise(results)[["method_a", "method_b", "rank_biserial", "p"]].values.tolist()
    [['A', 'B', 1.0, 0.03125]]
    """
    # Without scores, the columns of a table of none.
    tables = read_score_tables(results) or [ScoreTable(None, "", pd.DataFrame())]
    warn_of_few(tables)
    return pd.concat([pairwise_of(one) for one in tables], ignore_index=True)


def pairwise_of(scores: ScoreTable) -> pd.DataFrame:
    """Test every pair of methods; see :func:`pairwise`."""
    model = {} if scores.model is None else {"model": scores.model}
    rows = [
        {**model, "metric": scores.metric, "method_a": a, "method_b": b}
        | signed_rank(scores.scores[a], scores.scores[b])
        for a, b in combinations(scores.scores, 2)
    ]
    columns = [*model, "metric", "method_a", "method_b", *signed_rank([], [])]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=np.float64))
    return table


def least_pairs(alpha: float = 0.05) -> int:
    """Return the pairs below which Wilcoxon's test finds no difference, whatever its size.

    Examples
    --------
    >>> least_pairs(), least_pairs(0.01)
    (6, 8)
    """
    return ceil(1 - log2(alpha))


def warn_of_few(tables: Iterable[ScoreTable], alpha: float = 0.05) -> None:
    """Warn once if samples with two scores are too few to tell any two methods apart."""
    least = least_pairs(alpha)
    scores = [one.scores for one in tables if one.scores.shape[1] > 1]
    if any((table.count(axis="columns") > 1).sum() < least for table in scores):
        warn(f"methods cannot be told apart by Wilcoxon's test on fewer than {least} samples")


def check_numbers(expected: str, least: float, most: float, **values: Any) -> None:
    """Refuse arguments, by name, that are 0 or not between two numbers."""
    for name, value in values.items():
        if not (isinstance(value, Real) and least < float(value) < most and value != 0):
            raise ValueError(f"{name}: expected {expected}, got {short(value)}")
