"""What several networks say together: intervals, rank correlations, and what a run can show."""

from bisect import bisect_left
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.paper import paper_table
from benchmarks.runner.collected import Collected
from benchmarks.tables.against_paper import ROUNDED, paper_name
from gae_metric.comparison import samples_needed
from gae_metric.comparison.pairs import holm, signed_rank
from gae_metric.errors import InputError, lookup

LEGEND = """\
Means, with 95 % intervals: percentiles of 999 draws of the images, the same draws for all methods
and networks. "Networks drawn, too" draws networks and images; of few networks it is too narrow.
"Above", "below": networks on which Wilcoxon's test tells absLRP apart (p < 0.05, Holm's correction
for the methods). "Shown": the smallest difference that the test finds without correction with a
power of 80 %, on the networks of the least and the most scatter. τ: Kendall's rank correlation of
the methods' means."""
_DRAWS = 999
_OURS = "absLRP"


def evidence(
    collected: Collected, score: str = "GAE", *, right: bool = False
) -> dict[str, pd.DataFrame]:
    """Compare the methods of a run over all of its networks.

    Parameters
    ----------
    collected
        A run. Networks without scores are left out, methods without one on a network, and of each
        network the images that one of the other methods has no score of.
    score
        Name of the score.
    right
        Only the images that a network predicts as they are labelled.

    Returns
    -------
    dict of DataFrame
        Text, by title: each method's mean, on each network and over all; absLRP's less each other
        method's; τ between the networks' orders of the methods, and to the paper's.

    Raises
    ------
    InputError
        If a network has no such score of absLRP.
    """
    score, _ = lookup("score", score, dict.fromkeys(collected.scores["metric"]))
    scores = collected.scores[collected.scores["metric"].eq(score)]
    if right:
        scores = scores.merge(collected.targets.query("predicted == label")[["model", "sample"]])
    cube = scores.pivot_table("score", ["model", "sample"], "method", sort=False, dropna=False)
    cube = cube.loc[:, cube.groupby("model").count().all()].dropna()
    if _OURS not in cube:
        raise InputError(f"results: expected {score} of {_OURS} on every network")
    means = _means(cube)
    heads = [f"{model} (n = {len(cube.loc[model])})" for model in means]
    less = _table({model: one.loc[_OURS] - one.drop(_OURS) for model, one in means.items()}, heads)
    tests = pd.concat([_tests(cube.loc[[model]].droplevel(0)) for model in means]).groupby(level=0)
    less["above"], less["below"] = tests["above"].sum(), tests["below"].sum()
    least, most = (tests["shown"].agg(end).map("{:.3f}".format) for end in ("min", "max"))
    less["shown"] = least + " to " + most
    return {
        score: _table(means, heads),
        f"{score} of {_OURS} less that of": less,
        f"τ of {score}": _agreement(collected, score, means),
    }


def _means(cube: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return each model's means, (methods, 1 + draws): of all images, then of each draw of them."""
    samples = cube.index.unique("sample")
    n = len(samples)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _DRAWS)
    times = pd.DataFrame(np.vstack([np.ones(n), draws]).T, samples)
    means = {}
    for model in cube.index.unique("model"):
        counts = times.loc[cube.loc[model].index]
        means[str(model)] = cube.loc[model].T @ counts / counts.sum()
    return means


def _table(means: dict[str, pd.DataFrame], heads: list[str]) -> pd.DataFrame:
    """Show each method's mean on each model, over all, and over all with models drawn, too."""
    models = list(means.values())
    some = np.random.default_rng(0).integers(len(models), size=(len(models), _DRAWS + 1))
    rows = {}
    for method in models[0].index:
        own = np.stack([one.loc[method] for one in models])
        drawn = np.take_along_axis(own, some, 0).mean(0)
        rows[method] = [*map(_cell, own), _cell(own.mean(0)), _interval(drawn)]
    columns = [*heads, "all networks", "networks drawn, too"]
    return pd.DataFrame.from_dict(rows, "index", columns=columns)


def _tests(scores: pd.DataFrame) -> pd.DataFrame:
    """Test absLRP against each other method on one network."""
    others = scores.drop(columns=_OURS)
    tests = pd.DataFrame({name: signed_rank(scores[_OURS], others[name]) for name in others}).T
    # In units of the deviation: the first difference that needs no more images than there are.
    sizes = np.geomspace(0.01, 10, 1000)
    place = bisect_left(sizes, True, key=lambda d: samples_needed(d, deviation=1.0) <= len(scores))
    ours = np.sign(tests["mean_difference"]).where(holm(tests["p"]) < 0.05)
    shown = tests["deviation"] * (sizes[place] if place < len(sizes) else np.nan)
    return pd.DataFrame({"above": ours.eq(1), "below": ours.eq(-1), "shown": shown})


def _agreement(collected: Collected, score: str, means: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Compare the models' orders of the methods with one another, and with the paper's."""
    pairs = {f"{a}, {b}": _tau(means[a], means[b]) for a, b in combinations(means, 2)}
    if pairs:
        pairs["the mean of these"] = np.mean(list(pairs.values()), 0)
    rows = {pair: [len(next(iter(means.values()))), _cell(found)] for pair, found in pairs.items()}
    for model in collected.run.models:
        for number in model.paper if model.name in means else ():
            printed = paper_table(number, "ImageNet").query("score == @score")
            theirs = printed.set_index("method")["value"]
            ours = means[model.name].rename(paper_name)
            if len(common := ours.index.intersection(theirs.index)) > 1:
                found = _tau(ours.loc[common], pd.DataFrame(dict.fromkeys(ours, theirs[common])))
                rows[f"{model.name}, table {number} of the paper"] = [len(common), _cell(found)]
    return pd.DataFrame.from_dict(rows, "index", columns=["methods", "τ"])


def _tau(one: pd.DataFrame, other: pd.DataFrame) -> NDArray[np.float64]:
    """Return Kendall's τ-b of each draw; scipy's takes one at a time, and half a minute."""
    values = (x.to_numpy().round(ROUNDED) for x in (one, other))
    a, b = (np.sign(x[:, None] - x[None]) for x in values)
    pairs = np.sqrt((a * a).sum((0, 1)) * (b * b).sum((0, 1)))
    found: NDArray[np.float64] = (a * b).sum((0, 1)) / pairs
    return found


def _cell(draws: Any) -> str:
    return f"{draws[0]:.3f} {_interval(draws)}"


def _interval(draws: Any) -> str:
    low, high = np.nanpercentile(draws[1:], [2.5, 97.5])
    return f"[{low:.3f}, {high:.3f}]"
