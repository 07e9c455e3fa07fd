"""Methods compared by each metric: means, intervals, and which cannot be told from the best."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from gae_metric.comparison import pairs
from gae_metric.comparison.direction import directions
from gae_metric.comparison.pairs import check_numbers, least_pairs, pairwise_of, rounding_of
from gae_metric.comparison.results import Better, Results, Scores, ScoreTable, read_score_tables
from gae_metric.errors import check_integer

#: Values that a bootstrap holds at a time.
_LARGEST = 2**22

_COLUMNS = ["method", "metric", "better", "samples", "missing", "mean", "standard_error"]
_COLUMNS += ["ci_low", "ci_high"]


def compare(
    results: Scores,
    *,
    better: Better | Mapping[str, Better] | None = None,
    alpha: float = 0.05,
    correction: Literal["holm"] | None = None,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare methods by each metric: means, confidence intervals, and ties with the best.

    Parameters
    ----------
    results
        Scores of the same samples, NaN or infinite if a sample has none, as one of

        - what ``quantus.evaluate`` returns, ``{method: {metric: scores}}``, also with
          ``return_as_df=True``;
        - ``{method: metric.components}``: each column of the tables is a metric. Those with a
          column ``file`` or ``sample``, as ``gae-metric score`` writes, are paired by it;
        - a :class:`gae_metric.comparison.results.Results`;
        - a table with the columns ``method``, ``metric``, ``score``, and optionally ``sample`` or
          ``file`` (which scores are paired; by default in their order) and ``model``, such as the
          ``scores.csv`` of the command line. Each model is compared by itself.
    better
        ``"higher"`` or ``"lower"``, for all metrics, or a mapping from their names. Not needed for
        the metrics of this package and of Quantus ("ROAD" is read as MoRF, where lower is better).
    alpha
        A method is told apart from the best if its p is below ``alpha``.
    correction
        Which p decides. None (default): the plain one, as in the paper's tables. ``"holm"``: the
        one that is corrected for all pairs of methods; then fewer methods are told apart.
    confidence
        Coverage of the intervals.
    resamples
        Bootstrap resamples.
    seed
        Non-negative seed of the bootstrap. Every interval starts from this seed, so that it does
        not depend on which others are computed.

    Returns
    -------
    pandas.DataFrame
        A row for each metric and method, with these columns (first ``model``, if the scores name
        models):

        - ``method``, ``metric``, ``better``;
        - ``samples``: number of samples of which all methods have a score (methods without any
          score do not count); ``missing``: number of samples of which this method has no score;
        - ``mean``, ``standard_error`` (standard deviation / √n), ``ci_low`` and ``ci_high``
          (bias-corrected and accelerated bootstrap) over these samples; below two samples all but
          the mean are NaN;
        - ``best``: True for the best mean, and for those that equal it but for rounding;
        - ``tie``: the ``*`` of the paper's tables, True for the best method and for those that are
          not told apart from it. It is False for all if there are no such methods, or if there are
          too few samples to tell any two methods apart;
        - ``untold``: True if no test against the best is possible, because too few samples have
          unequal scores; then ``tie`` is False;
        - ``pairs``: number of samples with a score of this method and of the best; ``dropped``:
          number of all others; ``unequal``: number of pairs whose scores differ;
        - ``p``: Wilcoxon's signed-rank test against the best, two-sided (NaN for the best itself);
          ``p_holm``: the same, corrected for all pairs of methods by that metric, as in
          :func:`gae_metric.pairwise`.

    Raises
    ------
    ValueError
        If the scores have none of these forms or cannot be paired, if it is not known whether
        higher or lower is better, or if an option is out of its range.

    Warns
    -----
    RuntimeWarning
        If there are too few samples (with the default ``alpha`` fewer than six) for the test to
        tell any two methods apart.

    See Also
    --------
    gae_metric.pairwise : every pair of methods, with effect sizes.
    gae_metric.samples_needed : how many samples a difference needs.

    Notes
    -----
    Means over different samples cannot be compared. So means are over the samples of which all
    methods have a score: a method that fails on most samples leaves few samples for all. The best
    method has the best mean; of equal means, the first one. With fewer than six unequal scores the
    test cannot tell two methods apart at 0.05. So no tie is marked then, unless the scores of six
    or more samples are all equal. Without a correction, one in twenty methods that are as good as
    the best is told apart from it by chance.

    The paper marks ties by plain Wilcoxon tests at p = 0.05 (tables 3, 4, 7-9 and 11-13).

    Examples
    --------
    >>> results = {
    ...     "absLRP": {"GAE": [0.41, 0.52, 0.63, 0.34, 0.55, 0.46]},
    ...     "GradCAM": {"GAE": [0.42, 0.48, 0.61, 0.33, 0.58, 0.45]},
    ...     "Random": {"GAE": [0.0, 0.01, 0.0, 0.02, 0.0, 0.0]},
    ... }
    >>> table = compare(results)
    >>> table[["method", "mean", "best", "tie", "p"]].round(3).values.tolist()
    [['absLRP', 0.485, True, True, nan], ['GradCAM', 0.478, False, True, 0.531], \
['Random', 0.005, False, False, 0.031]]
    """
    check_numbers("a number between 0 and 1", 0, 1, alpha=alpha, confidence=confidence)
    if correction not in (None, "holm"):
        raise ValueError(f'correction: expected "holm" or None, got {correction!r}')
    check_integer("resamples", resamples)
    check_integer("seed", seed, 0)
    tables = read_score_tables(results)
    pairs.warn_of_few(tables, alpha)
    if better is None or isinstance(better, Mapping):
        better = {**(results.metrics if isinstance(results, Results) else {}), **(better or {})}
    ways = directions(dict.fromkeys(one.metric for one in tables), better)
    compared = []
    # Without scores, the columns of a table of none.
    for one in tables or [ScoreTable(None, "", pd.DataFrame())]:
        common = one.scores.dropna(axis="columns", how="all").dropna()
        way, rows = ways.get(one.metric, "higher"), []
        for method, given in one.scores.items():
            # Of a method that has no score at all there are none in it.
            scores = common.get(method, pd.Series(dtype=float))
            counts = (len(scores), int(given.isna().sum()))
            ends = bootstrap_interval(scores.to_numpy(), confidence, resamples, seed)
            rows.append((str(method), one.metric, way, *counts, scores.mean(), scores.sem(), *ends))
        table = pd.DataFrame(rows, columns=_COLUMNS)
        means = table.set_index("method")["mean"].dropna() * (1 if way == "higher" else -1)
        equal = means.index[means.max() - means <= rounding_of(means.abs().max())]
        best = next(iter(equal), None)
        table["best"] = table["method"].isin(equal)
        against = _against(one, best, table)
        deciding = against["p_holm" if correction else "p"]
        # Pairs that are equal say nothing, unless all are.
        least, unequal = least_pairs(alpha), against["unequal"]
        told = (unequal >= least) | ((unequal == 0) & (against["pairs"] >= least))
        tied = (deciding >= alpha) & told
        table["tie"] = tied | ((table["method"] == best) & bool(tied.any()))
        table["untold"] = against["p"].notna() & ~told
        if one.model is not None:
            table.insert(0, "model", one.model)
        compared.append(pd.concat([table, against], axis="columns"))
    return pd.concat(compared, ignore_index=True)


def summary(results: Results) -> pd.DataFrame:
    """Return each cell's mean, interval and comparison with the best method.

    Returns
    -------
    pandas.DataFrame
        :func:`gae_metric.compare` of the scores, and ``seconds``.

    Examples
    --------
    >>> results = Results(("A", "B"), {"GAE": "higher"}, np.zeros(2, dtype=np.int64))
    >>> results.scores = {("A", "GAE"): np.array([0.0, 1.0]), ("B", "GAE"): np.zeros(2)}
    >>> summary(results)[["method", "mean", "standard_error", "best"]].values.tolist()
    [['A', 0.5, 0.5, True], ['B', 0.0, 0.0, False]]
    """
    with warnings.catch_warnings():  # of few samples, which a table's caption says
        warnings.filterwarnings("ignore", "methods cannot be told apart", RuntimeWarning)
        table = compare(results)
    cells = zip(table["method"], table["metric"], strict=True)
    table["seconds"] = [results.seconds.get(cell, float("nan")) for cell in cells]
    return table


def _against(scores: ScoreTable, best: Any, table: pd.DataFrame) -> pd.DataFrame:
    """Test the other methods against the best, in the rows of a table."""
    tests = pairwise_of(scores).rename(columns={"samples": "pairs"})
    turned = tests.rename(columns={"method_a": "method_b", "method_b": "method_a"})
    both = pd.concat([tests, turned])
    of_best = both[both["method_a"] == best].set_index("method_b").reindex(table["method"])
    told = of_best[["pairs", "dropped", "unequal", "p", "p_holm"]]
    found: pd.DataFrame = told.set_axis(table.index)
    missing = table["missing"]
    found["pairs"] = found["pairs"].fillna(len(scores.scores) - missing).astype(int)
    found["dropped"] = found["dropped"].fillna(missing).astype(int)
    return found


def bootstrap_interval(
    scores: NDArray[np.float64], confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of a mean: the bias-corrected and accelerated bootstrap.

    Parameters
    ----------
    scores
        (N,) finite values; their order does not matter.
    confidence, resamples, seed
        As in :func:`gae_metric.compare`.

    Returns
    -------
    tuple of float
        NaN below two values; the value itself where all are equal but for rounding.

    Examples
    --------
    >>> low, high = bootstrap_interval(np.array([0.0, 0.2, 0.4, 0.6]))
    >>> 0 < low < 0.3 < high < 0.6
    True
    """
    if len(scores) < 2:
        return np.nan, np.nan
    values = np.sort(scores)
    if values[-1] - values[0] <= rounding_of(np.abs(values).max()):
        return float(values[0]), float(values[0])
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _LARGEST // len(values)),
        confidence_level=confidence,
        method="BCa",
        random_state=np.random.default_rng(seed),  # the name that scipy 1.11 has for it too
    ).confidence_interval
    return float(interval.low), float(interval.high)
