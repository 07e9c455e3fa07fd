"""How many samples a difference between two methods needs."""

from __future__ import annotations

from bisect import bisect_left
from math import ceil, inf, pi
from typing import TypedDict, overload

import numpy as np
import pandas as pd
from scipy import stats
from typing_extensions import Unpack

from gae_metric.comparison.pairs import check_numbers, least_pairs, pairwise
from gae_metric.comparison.results import Scores

#: Asymptotic efficiency of Wilcoxon's test relative to the paired t test, normal differences.
NORMAL_EFFICIENCY = 3 / pi
#: More samples than anybody evaluates; more are returned as they would need years.
_LARGEST = 10**9


class _Options(TypedDict, total=False):
    power: float
    alpha: float
    efficiency: float


@overload
def samples_needed(difference: float, *, deviation: float, **options: Unpack[_Options]) -> int: ...


@overload
def samples_needed(
    difference: float | None = None, *, results: Scores, **options: Unpack[_Options]
) -> pd.DataFrame: ...


def samples_needed(
    difference: float | None = None,
    *,
    deviation: float | None = None,
    results: Scores | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    efficiency: float = NORMAL_EFFICIENCY,
) -> int | pd.DataFrame:
    """Return the number of samples that are needed to tell two methods apart.

    Samples are paired: both methods are scored on each. Give either the standard deviation of the
    differences (``deviation``), or the scores of a first, smaller run (``results``), from which it
    is estimated for each pair of methods.

    Parameters
    ----------
    difference
        Difference of the mean scores that should be found; its sign does not matter. With
        ``results`` it may be left out: the difference that was observed there.
    deviation
        Standard deviation of the differences between the two methods' scores of a sample.
    results
        Scores in any of the forms of :func:`gae_metric.compare`.
    power
        Chance that the difference is found.
    alpha
        Level of the two-sided test.
    efficiency
        How many samples the paired t test needs for one of Wilcoxon's. 3/π, about 0.955, holds for
        normal differences; 0.864 is the least for any distribution that is shifted (Hodges and
        Lehmann); the more the tails outweigh a normal's, the higher it is.

    Returns
    -------
    int or pandas.DataFrame
        With ``deviation`` the number of samples. With ``results`` a row for each metric and pair of
        methods, ``model`` first where the scores name models: ``metric``, ``method_a``,
        ``method_b``, ``samples`` (pairs the estimate rests on), ``difference``, ``deviation``,
        ``samples_needed`` (a nullable integer; missing where the difference is 0 or there are fewer
        than two pairs).

    Raises
    ------
    ValueError
        If not exactly one of ``deviation`` and ``results`` is given, or a number is out of its
        range.

    Notes
    -----
    The smallest n with which a paired t test on normal differences has the power (from the
    noncentral t distribution), divided by ``efficiency``, and at least the number of pairs below
    which Wilcoxon's test cannot reach ``alpha`` (6 for 0.05). Scores of explanations are not
    normal: where differences are skewed, and most are on one side, Wilcoxon's test finds them with
    fewer samples than this; where many pairs are equal (both methods 0) they carry no rank and the
    number is only a guide. A deviation from a small first run is itself uncertain, by about
    1/√(2n) of its value, and the number of samples by twice that.

    References
    ----------
    Hodges and Lehmann, "The efficiency of some nonparametric competitors of the t-test", Annals of
    Mathematical Statistics 27, 1956.

    Examples
    --------
    >>> samples_needed(0.02, deviation=0.1)
    209
    >>> results = {"A": {"GAE": [0.4, 0.5, 0.3, 0.6]}, "B": {"GAE": [0.3, 0.5, 0.1, 0.5]}}
    >>> samples_needed(0.05, results=results)["samples_needed"].tolist()
    [25]
    """
    check_numbers("a number between 0 and 1", 0, 1, power=power, alpha=alpha)
    if power <= alpha:
        raise ValueError(f"power: expected more than alpha = {alpha}, got {power}")
    check_numbers("a positive number", 0, inf, efficiency=efficiency)
    if difference is not None:
        check_numbers("a number other than 0", -inf, inf, difference=difference)
    if (deviation is None) == (results is None):
        raise ValueError(
            "deviation, results: expected one of the two: results of a small run, or the standard "
            "deviation of the differences"
        )
    if results is None:
        assert deviation is not None
        if difference is None:
            raise ValueError("difference: expected a number, as there are no results to take it of")
        check_numbers("a positive number", 0, inf, deviation=deviation)
        return _needed(difference / deviation, power, alpha, efficiency)
    pairs = pairwise(results)
    names = [name for name in ("model", "metric", "method_a", "method_b") if name in pairs]
    table: pd.DataFrame = pairs[[*names, "samples"]].copy()
    table["difference"] = pairs["mean_difference"] if difference is None else float(difference)
    table["deviation"] = pairs["deviation"]
    needed = [
        _needed(effect / spread if spread else np.inf, power, alpha, efficiency)
        if effect and np.isfinite(effect) and np.isfinite(spread)
        else pd.NA
        for effect, spread in zip(table["difference"], table["deviation"], strict=True)
    ]
    table["samples_needed"] = pd.array(needed, dtype="Int64")
    return table


def _needed(effect: float, power: float, alpha: float, efficiency: float) -> int:
    """Return the samples for a difference in units of the differences' standard deviation."""
    pairs = 2 + bisect_left(range(2, _LARGEST), power, key=lambda n: _power_of_t(n, effect, alpha))
    return max(least_pairs(alpha), ceil(pairs / efficiency))


def _power_of_t(n: int, effect: float, alpha: float) -> float:
    """Power of the two-sided paired t test on n normal differences."""
    critical = stats.t.isf(alpha / 2, n - 1)
    shift = abs(effect) * np.sqrt(n)
    if n > 1000:
        # The noncentral t is normal by now, and its own series fail for large shifts.
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    chance = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    # Far out the tail beyond -critical is lost to rounding.
    return float(np.nan_to_num(chance, nan=1.0))
