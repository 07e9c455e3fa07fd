"""The statistics of the sanity checks, on scores made up for the purpose."""

import doctest
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.sanity.statistics import (
    against,
    inter_consistency,
    intra_consistency,
    rank_correlation,
    rises,
    verdict,
)

ALL = np.ones(20, dtype=bool)


@pytest.fixture
def scores():
    return np.random.default_rng(0).uniform(0.3, 0.9, (3, 20))


@pytest.mark.parametrize("name", ["case", "statistics", "changed_maps"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"benchmarks.sanity.{name}"))
    assert result.failed == 0
    assert result.attempted > 0


def test_ideal_metric_gets_one(scores):
    """Nothing changes under noise; under adversary every score falls."""
    falls = np.linspace(0.1, 0.3, 20)
    for before in scores:
        assert intra_consistency(before, before, ALL, "resilience") == 1
        assert intra_consistency(before, before - falls, ALL, "reactivity") > 1 - 1e-5
    assert inter_consistency(scores, scores, ALL, "resilience", "higher") == 1
    assert inter_consistency(scores, scores - falls, ALL, "reactivity", "higher") == 1


def test_metric_that_ignores_everything_is_not_reactive():
    constant = np.full((3, 20), 0.5)
    assert intra_consistency(constant[0], constant[0], ALL, "reactivity") == 0
    assert inter_consistency(constant, constant, ALL, "reactivity", "higher") == 0
    assert inter_consistency(constant, constant, ALL, "reactivity", "lower") == 0


def test_random_metric_is_neither(scores):
    """Scores that are drawn anew keep a rank in one of three cases, and fall in half of them."""
    rng = np.random.default_rng(1)
    q, other = rng.random((2, 3, 4000))
    usable = np.ones(4000, dtype=bool)
    assert inter_consistency(q, other, usable, "resilience", "higher") == pytest.approx(
        1 / 3, abs=0.03
    )
    assert inter_consistency(q, other, usable, "reactivity", "higher") == pytest.approx(
        0.5, abs=0.03
    )


def test_direction_of_better(scores):
    worse = scores + 0.1
    assert inter_consistency(scores, worse, ALL, "reactivity", "lower") == 1
    assert inter_consistency(scores, worse, ALL, "reactivity", "higher") == 0


def test_intra_consistency_is_wilcoxon_with_zeros_split(scores):
    before = scores[0]
    after = before + np.random.default_rng(2).normal(0.05, 0.1, 20)
    after[:4] = before[:4]
    p = stats.wilcoxon(before, after, zero_method="zsplit", alternative="two-sided").pvalue
    assert intra_consistency(before, after, ALL, "resilience") == pytest.approx(p)
    assert intra_consistency(before, after, ALL, "reactivity") == pytest.approx(1 - p)
    dropped = stats.wilcoxon(before, after).pvalue
    assert abs(p - dropped) > 1e-3


def test_ranks_by_hand():
    """Of two samples the first keeps all ranks; in the second two of three methods change place."""
    before = [[0.9, 0.9], [0.5, 0.5], [0.1, 0.1]]
    after = [[0.8, 0.4], [0.6, 0.6], [0.2, 0.2]]
    usable = [True, True]
    assert inter_consistency(before, after, usable, "resilience", "higher") == pytest.approx(4 / 6)
    assert inter_consistency(before, after, [True, False], "resilience", "higher") == 1


def test_equal_scores_share_a_rank():
    before, after = [[0.5], [0.5], [0.1]], [[0.6], [0.5], [0.1]]
    assert inter_consistency(before, before, [True], "resilience", "higher") == 1
    assert inter_consistency(before, after, [True], "resilience", "higher") == pytest.approx(1 / 3)


def test_only_usable_and_finite_samples_count(scores):
    before, after = scores[:2, :6], scores[:2, :6] - 0.1
    spoilt = after.copy()
    spoilt[0, 3] = np.nan
    spoilt[1, 5] = 5.0
    usable = np.array([True, True, True, True, True, False])
    expected = inter_consistency(
        before[:, [0, 1, 2, 4]], after[:, [0, 1, 2, 4]], ALL[:4], "reactivity", "higher"
    )
    assert inter_consistency(before, spoilt, usable, "reactivity", "higher") == expected == 1
    kept = [0, 1, 2, 4]
    assert intra_consistency(before[0], spoilt[0], usable, "resilience") == intra_consistency(
        before[0, kept], after[0, kept], ALL[:4], "resilience"
    )


def test_nothing_to_count_is_nan(scores):
    none = np.zeros(20, dtype=bool)
    assert np.isnan(intra_consistency(scores[0], scores[0], none, "resilience"))
    assert np.isnan(inter_consistency(scores, scores, none, "resilience", "higher"))


def test_rises_ignores_rounding():
    assert rises([0.5, 0.50005, 0.4, 0.41]) == [3]


def test_rank_correlation():
    assert rank_correlation([0, 1, 2, 3], [0.9, 0.7, 0.8, 0.1]) == pytest.approx(-0.8)
    assert np.isnan(rank_correlation([0, 1], [0.5, 0.5]))
    assert np.isnan(rank_correlation([0, 1], [0.5, np.nan]))


def test_against():
    rng = np.random.default_rng(3)
    reference = rng.random(20)
    change, p = against(reference - 0.2, reference)
    assert change == pytest.approx(-0.2)
    assert p < 1e-4
    assert against(reference, reference) == (0, 1)


def test_verdicts():
    rng = np.random.default_rng(4)
    start = rng.uniform(0.5, 0.6, 20)
    assert verdict([start, start - 0.1, start - 0.2]) == "falls at every step"
    assert verdict([start, start - 0.1, start - 0.1]) == "never rises"
    assert verdict([start, start, start]) == "unchanged"
    rising = verdict([start, start - 0.2, start - 0.1, start - 0.3])
    assert rising == "rises at 1 of 3 steps, significantly at 1"
    scattered = start - 0.2 + 0.001 + rng.normal(0, 0.1, 20)
    scattered += start.mean() - 0.199 - scattered.mean()
    unclear = verdict([start, start - 0.2, scattered])
    assert unclear == "rises at 1 of 2 steps, significantly at 0"


#: What the package gives: it pins other packages, so scripts/metaquantus_scores.py asked it once.
METAQUANTUS = json.loads((Path(__file__).parent / "metaquantus.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("kind", ["resilience", "reactivity"])
@pytest.mark.parametrize("case", METAQUANTUS["cases"], ids=lambda case: case["seed"])
def test_against_metaquantus(case, kind, better):
    """The same as the package gives, where no scores are equal; it ranks such as it likes."""
    before, after, usable = (np.array(case[name]) for name in ("before", "after", "usable"))
    for one, other, expected in zip(before, after, case["intra"][kind], strict=True):
        assert intra_consistency(one, other, usable, kind) == pytest.approx(expected)
    expected = case["inter"][kind][better]
    assert 0 < expected < 1
    assert inter_consistency(before, after, usable, kind, better) == pytest.approx(expected)
