"""Means, intervals and paired tests between methods."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import gae_metric
from gae_metric import GAE, LocalConsistency, compare, pairwise
from gae_metric.comparison.intervals import bootstrap_interval, summary
from gae_metric.comparison.pairs import holm, signed_rank
from gae_metric.comparison.results import Results
from tests.gae_metric.nets import conv_net, images, input_x_gradient, top_classes


def some_scores(n=40, seed=0):
    """Two methods that cannot be told apart, one a little worse, one that is 0."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.2, 0.8, n)
    return {
        "A": a,
        "B": a + rng.normal(0, 0.05, n) - 0.001,
        "C": a - rng.uniform(0.0, 0.1, n),
        "Zero": np.zeros(n),
    }


def of_metric(scores, metric="GAE"):
    return {method: {metric: list(values)} for method, values in scores.items()}


@pytest.mark.parametrize("function", [compare, pairwise])
def test_too_few_samples_are_warned_of_once(function):
    scores = {"A": {"GAE": [0.5] * 5, "LC": [0.1] * 5}, "B": {"GAE": [0.2] * 5, "LC": [0.3] * 5}}
    with pytest.warns(RuntimeWarning) as told:
        function(scores)
    assert [str(one.message) for one in told] == [
        "methods cannot be told apart by Wilcoxon's test on fewer than 6 samples"
    ]
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(of_metric({"A": [0.5] * 6, "B": [0.2] * 6}))
        function({"A": {"GAE": [0.5] * 5}})  # there is nothing to tell apart
        function({})


@pytest.mark.parametrize("both", [0, 5])
def test_samples_without_two_scores_tell_nothing_apart(both):
    scores = {"A": np.arange(9.0), "B": np.arange(9.0) ** 2}
    scores["A"][both:] = np.nan
    with pytest.warns(RuntimeWarning, match="on fewer than 6 samples"):
        compare(of_metric(scores))


def test_too_few_samples_at_another_level():
    scores = of_metric({"A": [0.5] * 7, "B": [0.2] * 7})
    with pytest.warns(RuntimeWarning, match="on fewer than 8 samples"):
        compare(scores, alpha=0.01)


def test_tables_of_the_commands_say_it_in_their_caption():
    results = Results(("A", "B"), {"GAE": "higher"}, np.zeros(2, dtype=np.int64))
    results.scores = {("A", "GAE"): np.array([0.0, 1.0]), ("B", "GAE"): np.zeros(2)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary(results)


def test_numbers_are_scipys_own():
    scores = some_scores()
    table = compare(of_metric(scores)).set_index("method")
    assert table.index.tolist() == list(scores)
    best = max(scores, key=lambda method: scores[method].mean())
    assert table["best"].to_dict() == {method: method == best for method in scores}
    for method, values in scores.items():
        row = table.loc[method]
        assert row["samples"] == 40
        assert row["mean"] == pytest.approx(values.mean())
        assert row["standard_error"] == pytest.approx(stats.sem(values))
        if method == best:
            assert np.isnan(row["p"])
            continue
        expected = stats.wilcoxon(values, scores[best]).pvalue
        assert row["p"] == pytest.approx(expected)
        assert row["tie"] == (expected >= 0.05)
        assert row["pairs"] == 40
    assert table["tie"].tolist() == [True, True, False, False]  # the best is marked with its ties


def test_every_pair_is_tested():
    scores = some_scores()
    table = pairwise(of_metric(scores))
    assert len(table) == 6
    for row in table.itertuples():
        d = scores[row.method_a] - scores[row.method_b]
        assert row.mean_difference == pytest.approx(d.mean())
        assert row.median_difference == pytest.approx(np.median(d))
        assert row.deviation == pytest.approx(d.std(ddof=1))
        test = stats.wilcoxon(d)
        assert (row.statistic, row.p) == pytest.approx((test.statistic, test.pvalue))
        ranks = stats.rankdata(abs(d))
        assert row.rank_biserial == pytest.approx(
            (ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum()
        )
        assert row.samples == 40
    order = np.argsort(table["p"].to_numpy())
    expected = np.maximum.accumulate(table["p"].to_numpy()[order] * np.arange(6, 0, -1)).clip(max=1)
    np.testing.assert_allclose(table["p_holm"].to_numpy()[order], expected)
    against = compare(of_metric(scores)).set_index("method")
    best = against.index[against["best"]][0]
    for row in table[(table["method_a"] == best) | (table["method_b"] == best)].itertuples():
        other = row.method_b if row.method_a == best else row.method_a
        assert against.loc[other, "p_holm"] == row.p_holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_procedure_does(p, alpha):
    """Step down from the smallest; stop at the first that is above alpha / (those left)."""
    order = np.argsort(p, kind="stable")
    rejected = np.zeros(len(p), dtype=bool)
    for left, i in zip(range(len(p), 0, -1), order, strict=True):
        if p[i] * left > alpha:
            break
        rejected[i] = True
    np.testing.assert_array_equal(holm(p) <= alpha, rejected)


def test_holm_leaves_out_what_was_not_tested():
    np.testing.assert_array_equal(holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])


def test_equal_pairs_carry_no_rank():
    a = np.arange(1.0, 9.0)
    assert signed_rank(a, a) == {
        "samples": 8,
        "dropped": 0,
        "unequal": 0,
        "mean_difference": 0,
        "median_difference": 0,
        "deviation": 0,
        "rank_biserial": 0,
        "statistic": 0,
        "p": 1,
    }
    b = a.copy()
    b[:6] += [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    test = signed_rank(b, a)
    assert test["p"] == pytest.approx(2 / 2**6)  # six positive differences: the exact test
    assert (test["samples"], test["unequal"]) == (8, 6)
    table = compare(of_metric({"A": a, "B": a, "C": a * 2}))
    assert table["p"][:2].tolist() == pytest.approx([2 / 2**8] * 2)
    same = compare(of_metric({"A": np.zeros(9), "B": np.zeros(9)}))
    assert same["p"].tolist()[1] == 1
    assert same["best"].all()
    assert same["tie"].all()


@pytest.mark.parametrize("metric", ["GAE", "ROAD"])  # higher, and lower is better
def test_means_that_are_equal_but_for_rounding_are_both_the_best(metric):
    assert 0.1 + 0.2 > 0.3
    scores = {"A": [0.3] * 8, "B": [0.1 + 0.2] * 8, "C": [0.1 + 0.2, 0.3] * 4}
    for methods in ("ABC", "CBA"):
        table = compare(of_metric({name: scores[name] for name in methods}, metric))
        assert table["best"].all()
        assert table["tie"].all()
        assert table["p"].isna().tolist() == [True, False, False]  # the first one is the best
    apart = compare(of_metric({"A": [0.3] * 8, "B": [0.3 + 1e-12] * 8}, metric))
    assert apart["best"].tolist() == [metric == "ROAD", metric == "GAE"]


@pytest.mark.parametrize("n", [1, 4, 9, 13])
def test_few_pairs_with_ties_have_the_p_of_all_signs(n):
    rng = np.random.default_rng(n)
    difference = rng.integers(1, 4, n) * rng.choice([-1.0, 1, 1], n)
    ranks = stats.rankdata(np.abs(difference))
    sums = ((np.arange(2**n)[:, None] >> np.arange(n)) % 2) @ ranks
    positive = ranks[difference > 0].sum()
    expected = min(1, 2 * min((sums <= positive).mean(), (sums >= positive).mean()))
    test = signed_rank(difference, np.zeros(n))
    assert test["p"] == pytest.approx(expected, rel=1e-12)
    assert test["statistic"] == min(positive, ranks.sum() - positive)


@pytest.mark.parametrize("times", [1, 3])
def test_ties_and_equal_pairs_are_seen_through_rounding(times):
    """ROAD's means of nine levels: ninths, whose equal differences differ in their last digits."""
    a = np.tile([8, 5, 5, 6, 1, 1, 4, 0, 4], times)
    b = np.tile([7, 6, 4, 4, 0, 0, 4, 0, 3], times)
    hits, means = signed_rank(a, b), signed_rank(a / 9, b / 9)
    assert hits["unequal"] == 7 * times
    assert len({*np.abs(a / 9 - b / 9)}) > len({*np.abs(a - b)})
    for name in ("unequal", "statistic", "rank_biserial", "p"):
        assert means[name] == pytest.approx(hits[name], abs=1e-12), name
    sums = {"A": {"ROAD": [0.1 + 0.2] * 6}, "B": {"ROAD": [0.3] * 6}}
    assert pairwise(sums)[["unequal", "p", "mean_difference"]].values.tolist() == [[0, 1, 0]]


def test_small_differences_between_small_scores_count():
    assert signed_rank([3e-20] * 6 + [1e3], [2e-20] * 6 + [0])["unequal"] == 7


def test_samples_without_a_score_are_dropped_in_pairs():
    scores = some_scores(20)
    scores["A"][3] = np.nan
    scores["B"][[3, 5]] = np.nan, np.inf
    table = pairwise(of_metric(scores)).set_index(["method_a", "method_b"])
    assert table.loc[("A", "B"), ["samples", "dropped"]].tolist() == [18, 2]
    assert table.loc[("A", "C"), ["samples", "dropped"]].tolist() == [19, 1]
    assert table.loc[("C", "Zero"), ["samples", "dropped"]].tolist() == [20, 0]
    kept = np.delete(np.arange(20), [3, 5])
    expected = stats.wilcoxon(scores["A"][kept], scores["B"][kept]).pvalue
    assert table.loc[("A", "B"), "p"] == pytest.approx(expected)
    means = compare(of_metric(scores)).set_index("method")
    assert means["samples"].tolist() == [18] * 4
    assert means["missing"].tolist() == [1, 2, 0, 0]
    for method, values in scores.items():
        assert means.loc[method, "mean"] == pytest.approx(values[kept].mean())


def test_the_best_is_so_on_the_samples_that_all_have():
    """A method that fails on the hard samples is not better for it."""
    nan = np.nan
    scores = {"fails": [0.6] + [nan] * 7, "works": [0.7] + [0.5] * 7, "never": [nan] * 8}
    table = compare(of_metric(scores)).set_index("method")
    assert table["best"].tolist() == [False, True, False]
    assert table["samples"].tolist() == [1, 1, 0]
    assert table["missing"].tolist() == [7, 0, 8]
    assert table.loc[["fails", "works"], "mean"].tolist() == [0.6, 0.7]
    # Without a sample in common, nothing is said of means.
    apart = compare(of_metric({"A": [0.6, nan], "B": [nan, 0.5]}))
    assert not apart["best"].any()
    assert apart["mean"].isna().all()


def test_a_method_without_any_score_is_neither_best_nor_tied():
    table = compare(of_metric({"A": np.full(8, np.nan), "B": np.arange(8.0)})).set_index("method")
    assert not table.loc["A", ["best", "tie"]].any()
    assert table.loc["A", ["samples", "pairs", "dropped"]].tolist() == [0, 0, 8]
    assert table.loc["A", ["mean", "p", "p_holm", "ci_low"]].isna().all()
    assert table["best"]["B"]
    nothing = compare(of_metric({"A": [np.nan], "B": [np.nan]}))
    assert not nothing["best"].any()


def test_lower_may_be_better():
    scores = some_scores()
    for metric in ("ROAD", "ROAD MoRF", "LocalLipschitz", "Local Lipschitz Estimate", "Infidelity"):
        table = compare(of_metric(scores, metric)).set_index("method")
        assert table.index[table["best"]].tolist() == ["Zero"], metric
        assert set(table["better"]) == {"lower"}
    for metric in ("GAE", "LC", "C", "lc_faithfulness", "ROAD LeRF", "Focus", "Pointing-Game"):
        assert set(compare(of_metric(scores, metric))["better"]) == {"higher"}, metric
    with pytest.raises(ValueError, match=r"better: whether higher or lower.*'mine'"):
        compare(of_metric(scores, "mine"))
    for better in ("lower", {"mine": "lower"}):
        table = compare(of_metric(scores, "mine"), better=better).set_index("method")
        assert table["best"]["Zero"]
    assert compare(scores, better="higher")["metric"].unique().tolist() == ["score"]


def test_the_name_of_a_direction_is_a_metrics():
    """ROAD is read as MoRF, lower is better, unless it is said."""
    scores = {"A": {"ROAD": [0.9, 0.8, 0.9]}, "B": {"ROAD": [0.1, 0.2, 0.1]}}
    for name in ("ROAD", "Road", "road"):
        table = compare(scores, better={name: "higher", "elsewhere": "lower"})
        assert table.set_index("method")["best"].to_dict() == {"A": True, "B": False}
    with pytest.raises(ValueError, match="ROADS: no such parameter; did you mean ROAD"):
        compare(scores, better={"ROADS": "higher"})


def test_the_correction_decides_where_asked():
    # Six methods and a difference that is significant at 0.05 alone, but not as one of 15.
    rng = np.random.default_rng(1)
    a = rng.normal(size=30)
    scores = {"A": a} | {f"M{i}": a - 0.1 - rng.normal(0, 0.25, 30) for i in range(5)}
    plain = compare(of_metric(scores)).set_index("method")
    corrected = compare(of_metric(scores), correction="holm").set_index("method")
    pd.testing.assert_frame_equal(plain.drop(columns="tie"), corrected.drop(columns="tie"))
    apart = (plain["p"] < 0.05) & (plain["p_holm"] >= 0.05)
    assert apart.any()
    assert not plain.loc[apart, "tie"].any()
    assert corrected.loc[apart, "tie"].all()
    strict = compare(of_metric(scores), alpha=1e-6)
    assert strict["tie"].all()


@pytest.mark.parametrize(("count", "alpha", "told"), [(5, 0.05, 0), (6, 0.05, 2), (7, 0.01, 0)])
def test_no_ties_where_the_test_tells_nothing_apart(count, alpha, told):
    scores = {"A": np.arange(count) % 3, "B": np.arange(count) % 2 + 0.5}
    found = compare(of_metric(scores), alpha=alpha)
    assert found["tie"].sum() == told
    assert found["untold"].sum() == (told == 0)


def test_equal_scores_give_the_test_no_power():
    some = np.array([0.5, 0.25, 0.75, 0.5] + [0.0] * 8)
    found = compare(of_metric({"A": some, "B": np.zeros(12), "C": some})).set_index("method")
    assert found.loc["B", "p"] == pytest.approx(2 / 2**4)  # whatever the four are
    assert found["tie"].to_dict() == {"A": True, "B": False, "C": True}
    assert found["untold"].to_dict() == {"A": False, "B": True, "C": False}
    assert found["unequal"].tolist()[1:] == [4, 0]


def test_no_mark_where_the_best_stands_alone():
    table = compare(of_metric({"A": np.arange(10.0), "B": np.arange(10.0) - 1}))
    assert table["best"].tolist() == [True, False]
    assert not table["tie"].any()


def test_intervals_cover_the_mean():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.exponential(size=40), confidence=0.9, resamples=499)
        covered += low <= 1 <= high
    assert 0.84 <= covered / 300 <= 0.95
    values = rng.exponential(size=40)
    narrow, wide = (bootstrap_interval(values, confidence) for confidence in (0.5, 0.99))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


def test_intervals_depend_on_the_scores_and_the_seed_only():
    values = np.random.default_rng(0).random(30)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = bootstrap_interval(values)
    assert bootstrap_interval(values[::-1]) == first
    assert bootstrap_interval(values, seed=1) != first
    alone = compare({"A": {"GAE": values}})
    more = compare({"B": {"GAE": values[::-1] / 2}, "A": {"GAE": values}})
    assert alone.loc[0, ["ci_low", "ci_high"]].tolist() == list(first)
    assert more.loc[1, ["ci_low", "ci_high"]].tolist() == list(first)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_intervals_of_few_or_equal_scores():
    assert np.isnan(bootstrap_interval(np.array([0.5]))).all()
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)


@pytest.mark.filterwarnings("error")
def test_the_interval_of_scores_that_are_equal_but_for_rounding():
    values = np.array([0.3, 0.1 + 0.2, 0.3, 0.3, 0.3, 0.3])
    assert bootstrap_interval(values) == (0.3, 0.3)
    assert bootstrap_interval(-values) == pytest.approx((-0.3, -0.3))


def test_forms_of_input_give_the_same(tmp_path):
    scores = some_scores(12)
    expected = compare(of_metric(scores))
    long = pd.concat(
        pd.DataFrame({"method": m, "metric": "GAE", "sample": range(12), "score": values})
        for m, values in scores.items()
    )
    for form in (
        {method: {"GAE": values} for method, values in scores.items()},
        {method: pd.DataFrame({"GAE": values}) for method, values in scores.items()},
        pd.DataFrame.from_dict(of_metric(scores)),  # quantus.evaluate with return_as_df
        long,
        long.sample(frac=1, random_state=0).sort_values("method", kind="stable"),
        long.drop(columns="sample"),
    ):
        pd.testing.assert_frame_equal(compare(form), expected)
    results = Results(tuple(scores), {"GAE": "higher"}, np.zeros(12, dtype=np.int64))
    results.scores = {(method, "GAE"): values for method, values in scores.items()}
    pd.testing.assert_frame_equal(compare(results), expected)
    pd.testing.assert_frame_equal(summary(results).drop(columns="seconds"), expected)
    pd.testing.assert_frame_equal(compare(results.table()), expected)


def test_samples_are_paired_by_name():
    long = pd.DataFrame(
        {
            "method": ["A"] * 3 + ["B"] * 4,
            "metric": "GAE",
            "sample": ["x", "y", "z", "z", "w", "y", "x"],
            "score": [1.0, 2.0, 3.0, 2.5, 9.0, 1.5, 0.5],
        }
    )
    row = pairwise(long).iloc[0]
    assert (row["samples"], row["dropped"], row["mean_difference"]) == (3, 1, 0.5)
    with pytest.raises(ValueError, match="as many of each method, got A 3, B 4"):
        compare(long.drop(columns="sample"))
    with pytest.raises(ValueError, match=r"B, GAE.*several of sample z"):
        compare(long.assign(sample=["x", "y", "z", "z", "z", "y", "x"]))


def test_places_of_other_images_are_no_names():
    """As in the score files of two runs that drew different images, one after the other."""
    long = pd.DataFrame(
        {
            "method": ["A"] * 3 + ["B"] * 3,
            "metric": "GAE",
            "sample": [0, 1, 2, 0, 1, 2],
            "file": ["x", "y", "z", "x", "z", "w"],
            "score": [1.0, 2.0, 3.0, 0.5, 2.5, 9.0],
        }
    )
    with pytest.raises(ValueError, match="one file of each sample, got 'y' and 'z' of one"):
        pairwise(long)
    row = pairwise(long.drop(columns="sample")).iloc[0]
    assert (row["samples"], row["dropped"], row["mean_difference"]) == (2, 2, 0.5)
    same = long.assign(file=["x", "y", "z"] * 2)
    pd.testing.assert_frame_equal(pairwise(same), pairwise(long.drop(columns="file")))


@pytest.mark.parametrize("labels", [[3, 4, 5], ["a", "b", "c"], [1, 2, 3]])
@pytest.mark.parametrize("order", [1, -1])
def test_labels_beside_none_are_refused(labels, order):
    """Places in a list are no labels, but where these are the places."""
    scores = [0.9, 0.8, 0.6]
    given = {"A": {"GAE": pd.Series(scores, labels)}, "B": {"GAE": [0.5, 0.4, 0.3]}}
    given = dict([*given.items()][::order])
    with pytest.raises(ValueError, match=f"GAE .* got them for A, .* {labels[0]!r}, and not for B"):
        compare(given)
    places = {**given, "A": {"GAE": pd.Series(scores[::-1], [2, 1, 0])}}
    assert compare(places).set_index("method")["mean"]["A"] == pytest.approx(np.mean(scores))
    assert pairwise(places)["unequal"].tolist() == [3]


@pytest.mark.parametrize("order", [1, -1])
def test_a_list_beside_a_table_has_all_of_its_samples(order):
    """Which ones it lacks is not known."""
    given = {"A": pd.DataFrame({"GAE": [0.9, 0.8, 0.6]}), "B": {"GAE": [0.5, 0.4]}}
    with pytest.raises(ValueError, match="GAE needs as many of each method"):
        compare(dict([*given.items()][::order]))


def test_labels_pair_samples_of_methods_that_lack_some():
    one, other = pd.Series([0.9, 0.8, 0.6], list("abc")), pd.Series([0.5, 0.4], list("cb"))
    row = pairwise({"A": {"GAE": one}, "B": {"GAE": other}}).iloc[0]
    assert (row["samples"], row["mean_difference"]) == (2, pytest.approx(0.25))


def test_models_are_compared_one_by_one():
    scores = some_scores(12)
    frames = []
    for model, factor in (("vgg", 1), ("vit", -1)):
        for method, values in scores.items():
            cell = {"model": model, "method": method, "metric": "GAE", "sample": range(12)}
            frames.append(pd.DataFrame(cell | {"score": factor * values}))
    table = compare(pd.concat(frames))
    assert table.columns[0] == "model"
    best = table[table["best"]].set_index("model")["method"].to_dict()
    alone = compare(of_metric(scores))
    assert best == {"vgg": alone["method"][alone["best"]].item(), "vit": "Zero"}
    vgg = table[table["model"] == "vgg"].drop(columns="model")
    pd.testing.assert_frame_equal(vgg.reset_index(drop=True), alone)
    pairs = pairwise(pd.concat(frames))
    assert pairs["model"].value_counts().to_dict() == {"vgg": 6, "vit": 6}
    first = pairs[pairs["model"] == "vgg"].drop(columns="model")
    pd.testing.assert_frame_equal(first, pairwise(of_metric(scores)))


LONG = pd.DataFrame({"method": list("ABC"), "metric": "GAE", "score": 0.5})


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([1, 2], "results: expected what quantus.evaluate returns.*got list"),
        (pd.DataFrame({"a": [1.0]}), "results: expected the columns method, metric, score, got a"),
        (
            {"A": {"ROAD": {1: 0.5, 2: 0.4}}},
            r"results\['A'\]\['ROAD'\].*mapping with the keys 1, 2",
        ),
        ({"A": {"GAE": [[1.0]]}}, r"results\['A'\]\['GAE'\].*shape \(1, 1\)"),
        (
            {"A": {"GAE": "high"}},
            r"results\['A'\]\['GAE'\]: expected one score per sample, got str",
        ),
        ({"A": {"GAE": ["0.5", "n/a"]}}, "one score per sample, got list: .*'n/a'"),
        ({"A": {"GAE": [1.0]}, "B": {"GAE": [1.0, 2.0]}}, "as many of each method, got A 1, B 2"),
        *(
            (LONG.assign(**{name: [None, "x", "x"]}), f"expected a {name} in every row, 1 have no")
            for name in ("method", "metric", "model", "sample")
        ),
    ],
)
def test_other_forms_are_refused(results, message):
    with pytest.raises(ValueError, match=message):
        compare(results)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"alpha": 0}, "alpha: expected a number between 0 and 1, got 0"),
        ({"confidence": 95}, "confidence: .* got 95"),
        ({"correction": "bonferroni"}, "correction: expected \"holm\" or None, got 'bonferroni'"),
        ({"resamples": 0}, "resamples: expected a positive integer, got 0"),
        ({"seed": -1}, "seed: expected a non-negative integer, got -1"),
        ({"better": "up"}, 'better: expected "higher" or "lower", got \'up\''),
        ({"better": {"GAE": "up"}}, 'better: expected "higher" or "lower", got \'up\''),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        compare({"A": {"GAE": [0.1, 0.2]}}, **option)


def test_nothing_gives_an_empty_table():
    assert compare({}).empty
    assert "p_holm" in compare({}).columns
    assert "p_holm" in pairwise({}).columns
    assert pairwise({"A": {"GAE": [0.5]}}).empty


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_results_of_quantus_evaluate():
    import quantus

    net = conv_net(dtype=torch.float32)
    x = images(7, (3, 12, 12), dtype=np.float32)
    y = top_classes(net, x)

    def bright(model, inputs, targets, **kwargs):
        return np.abs(inputs)

    metrics = {"GAE": GAE(disable_warnings=True), "LC": LocalConsistency(disable_warnings=True)}
    methods = {"IxG": input_x_gradient, "Input": bright}
    results = quantus.evaluate(metrics, methods, net, x, y, explain_func_kwargs={})
    table = compare(results).set_index(["method", "metric"])
    assert len(table) == 4
    for (method, metric), row in table.iterrows():
        assert row["mean"] == pytest.approx(np.mean(results[method][metric]))
    assert table.loc[("IxG", "LC"), "best"]


def test_the_module_does_not_hide_the_function():
    code = (
        "import gae_metric, gae_metric.comparison\n"
        "import gae_metric.comparison.intervals, gae_metric.comparison.pairs\n"
        "assert callable(gae_metric.compare) and callable(gae_metric.pairwise)\n"
        "from gae_metric.comparison import compare; assert compare is gae_metric.compare\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"compare", "pairwise", "samples_needed"} <= set(gae_metric.__all__)


def test_what_a_mask_hides_is_no_score():
    scores = np.ma.masked_array([0.1, 0.2, 9.0], mask=[False, False, True])
    table = compare({"A": {"GAE": scores}})
    assert table[["samples", "missing", "mean"]].values.tolist() == [[2, 1, pytest.approx(0.15)]]


def test_scores_that_a_table_lacks():
    long = pd.DataFrame({"method": list("AAABBB"), "metric": "GAE", "sample": [0, 1, 2] * 2})
    long["score"] = pd.array([0.5, None, 0.7, 0.1, 0.2, 0.3], dtype="Float64")
    for form in (long, {m: {"GAE": rows["score"].array} for m, rows in long.groupby("method")}):
        table = compare(form).set_index("method")
        assert table["missing"].to_dict() == {"A": 1, "B": 0}
        assert table["mean"].to_dict() == pytest.approx({"A": 0.6, "B": 0.2})


def test_scores_may_be_tensors_of_any_kind():
    values = [0.5, 0.25, 0.75]
    for scores in (
        torch.tensor(values, requires_grad=True),
        torch.tensor(values, dtype=torch.bfloat16),
        torch.tensor(values, dtype=torch.float64),
    ):
        assert compare({"A": {"GAE": scores}})["mean"].tolist() == [0.5]
    with pytest.raises(ValueError, match=r"results\['A'\]\['GAE'\]: expected one score per sample"):
        compare({"A": {"GAE": np.ones(3) * 1j}})


def test_two_methods_of_one_name():
    """The first one's scores were lost."""
    wide = pd.DataFrame([[[0.1], [0.9]]], index=["GAE"], columns=["A", "A"])
    long = pd.DataFrame({"method": [1, "1"], "metric": "GAE", "score": [0.1, 0.9]})
    for results in ({1: {"GAE": [0.1]}, "1": {"GAE": [0.9]}}, wide, long):
        with pytest.raises(ValueError, match="expected different methods, got two that are"):
            compare(results)


def test_samples_that_no_other_method_has():
    """Numbers and texts, or other images: all means were NaN, without a word."""
    long = pd.DataFrame({"method": list("AABB"), "metric": "GAE", "score": 0.5})
    for samples in ([0, 1, "0", "1"], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match="GAE of A has no sample in common with other methods"):
            pairwise(long.assign(sample=samples))
    table = compare(long.assign(sample=[0, 1, 1, 2]))
    assert table["samples"].tolist() == [1, 1]
    assert compare(long[:2].assign(sample=[0, 1]))["samples"].tolist() == [2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"better": ["lower"]}, r'better: expected "higher" or "lower", got \[\'lower\'\]'),
        ({"better": max}, 'better: expected "higher" or "lower", got <built-in'),
        ({"alpha": "0.05"}, "alpha: expected a number between 0 and 1, got '0.05'"),
        ({"confidence": None}, "confidence: expected a number between 0 and 1, got None"),
    ],
)
def test_options_that_are_no_numbers_or_directions(options, message):
    with pytest.raises(ValueError, match=message):
        compare({"A": {"GAE": [0.1, 0.2]}}, **options)
