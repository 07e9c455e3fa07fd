"""The number of samples that a difference needs: the power that it gives, by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gae_metric import pairwise, samples_needed


def attained(draw, n, difference, runs=4000, seed=0):
    """Share of simulated evaluations on n samples whose Wilcoxon test finds the difference."""
    rng = np.random.default_rng(seed)
    d = draw(rng, (runs, n)) + difference
    return (stats.wilcoxon(d, axis=1, method="auto").pvalue < 0.05).mean()


def normal(rng, shape):
    return rng.normal(size=shape)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("effect", [0.2, 0.35, 0.6])
def test_power_attained_is_what_was_asked(effect, power):
    n = samples_needed(effect, deviation=1.0, power=power)
    # Four standard errors of the simulation are 0.03; one sample more or less moves it by 0.02.
    assert attained(normal, n, effect) == pytest.approx(power, abs=0.04)


def test_fewer_samples_have_less_power():
    n = samples_needed(0.35, deviation=1.0)
    assert attained(normal, int(0.7 * n), 0.35) < 0.72
    assert attained(normal, int(1.4 * n), 0.35) > 0.87


def test_large_differences_need_no_fewer_than_the_test_can_use():
    for effect in (3.0, 10.0, 1e6):
        n = samples_needed(effect, deviation=1.0)
        assert n == 6
        assert attained(normal, n, effect) >= 0.8
    assert samples_needed(100.0, deviation=1.0, alpha=0.001) == 11


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("heavy tails", lambda rng, shape: rng.laplace(size=shape) / np.sqrt(2)),
        ("no tails", lambda rng, shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape)),
    ],
)
def test_other_shapes_of_shifted_differences(name, draw):
    default = attained(draw, samples_needed(0.35, deviation=1.0), 0.35)
    safe = attained(draw, samples_needed(0.35, deviation=1.0, efficiency=0.864), 0.35)
    assert safe >= 0.8
    assert default >= (0.85 if name == "heavy tails" else 0.76)


def test_the_known_case_of_the_t_test():
    """Cohen's table: paired t, d = 0.5, power 0.8, two-sided 0.05 needs 34 pairs."""
    assert samples_needed(0.5, deviation=1.0, efficiency=1) == 34
    assert samples_needed(-0.25, deviation=0.5, efficiency=1) == 34
    assert samples_needed(0.2, deviation=1.0, efficiency=1, power=0.9) == 265


def test_tiny_differences():
    n = samples_needed(1e-3, deviation=1.0)
    expected = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) ** 2 * 1e6 * np.pi / 3
    assert n == pytest.approx(expected, rel=1e-4)


def test_from_results():
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    results = {"A": {"GAE": a}, "B": {"GAE": a - rng.normal(0.3, 1, 50)}, "C": {"GAE": a}}
    table = samples_needed(results=results)
    pairs = pairwise(results)
    assert table[["method_a", "method_b"]].values.tolist() == [["A", "B"], ["A", "C"], ["B", "C"]]
    first = table.iloc[0]
    assert first["difference"] == pytest.approx(pairs["mean_difference"][0])
    assert first["samples"] == 50
    assert first["samples_needed"] == samples_needed(
        first["difference"], deviation=first["deviation"]
    )
    assert table["samples_needed"][1] is pd.NA  # equal throughout: nothing to find
    given = samples_needed(0.1, results=results)
    assert set(given["difference"]) == {0.1}
    assert given["samples_needed"][0] == samples_needed(0.1, deviation=first["deviation"])
    long = pd.DataFrame({"model": "net", "method": ["A", "B"], "metric": "GAE", "score": [0.0, 1]})
    single = samples_needed(results=long)
    assert single.columns[0] == "model"
    assert single["samples_needed"][0] is pd.NA  # one pair says nothing of the deviation


def test_the_power_of_scores_like_gaes():
    """Skewed, in [0, 1], with zeros: no fewer are found than promised, drawn from the results."""
    rng = np.random.default_rng(3)
    n = 400
    contrast = np.maximum(rng.normal(0.5, 0.4, n), 0).clip(max=1)
    a = rng.beta(4, 4, n) * contrast
    b = (a - rng.gamma(1.0, 0.05, n) + rng.normal(0, 0.1, n)).clip(0, 1) * (contrast > 0)
    needed = int(samples_needed(results={"A": {"GAE": a}, "B": {"GAE": b}})["samples_needed"][0])
    found = 0
    for _ in range(400):
        chosen = rng.integers(0, n, needed)
        scores = {"A": {"GAE": a[chosen]}, "B": {"GAE": b[chosen]}}
        found += pairwise(scores)["p"][0] < 0.05
    assert 0.7 <= found / 400 <= 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difference": 0.1}, "deviation, results: expected one of the two"),
        ({"deviation": 0.1}, "difference: expected a number, as there are no results"),
        ({"difference": 0, "deviation": 0.1}, "difference: expected a number other than 0, got 0"),
        ({"difference": 0.1, "deviation": 0}, "deviation: expected a positive number, got 0"),
        ({"difference": {"A": {"GAE": [0.5] * 99}}}, r"difference: expected .*, got .{57}\.\.\.$"),
        (
            {"difference": 0.1, "deviation": np.nan},
            "deviation: expected a positive number, got nan",
        ),
        ({"difference": 0.1, "deviation": 1, "power": 1}, "power: expected a number between"),
        ({"difference": 0.1, "deviation": 1, "alpha": 0.9}, "power: expected more than alpha"),
        ({"difference": 0.1, "deviation": 1, "efficiency": 0}, "efficiency: expected a positive"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        samples_needed(**arguments)


@pytest.mark.parametrize("option", ["deviation", "power", "alpha", "efficiency"])
def test_what_is_no_number_is_named(option):
    given = {"deviation": 0.1} | {option: "0.5"}
    with pytest.raises(ValueError, match=f"{option}: expected a .*number.*, got '0.5'"):
        samples_needed(0.05, **given)
    with pytest.raises(ValueError, match=r"difference: expected a number .* 0, got '0\.05'"):
        samples_needed("0.05", deviation=0.1)
