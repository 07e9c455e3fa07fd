"""Noise resilience and reactivity of metrics, real and made up, on a digits network."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import abslrp
from benchmarks.sanity import meta
from benchmarks.sanity.meta import PERTURBATIONS
from gae_metric._names import DIRECTIONS
from tests.benchmarks.sanity import quick_case, same, state


@pytest.fixture(scope="module")
def case():
    return quick_case()


@pytest.mark.parametrize("perturbation", PERTURBATIONS, ids=lambda p: f"{p.place} {p.kind}")
def test_perturbations(case, perturbation):
    before, generator = state(case.model), torch.get_rng_state().clone()
    x = case.x.copy()
    changed = perturbation(case, 0)
    assert same(before, state(case.model))
    assert (case.x == x).all()
    assert torch.equal(generator, torch.get_rng_state())
    assert (changed.y == case.y).all()
    again, other = perturbation(case, 0), perturbation(case, 1)
    stays = (changed.predicted() == case.y).mean()
    assert stays == 1 if perturbation.kind == "resilience" else stays < 0.7
    if perturbation.place == "input":
        assert changed.model is case.model
        assert (changed.x == again.x).all()
        assert (changed.x != other.x).any()
        assert changed.x.min() >= x.min()
        assert changed.x.max() <= x.max()
        assert np.abs(changed.x - x).max() <= perturbation.strength + 1e-6
    else:
        assert changed.x is case.x
        assert not same(before, state(changed.model))
        assert same(state(changed.model), state(again.model))
        assert not same(state(changed.model), state(other.model))
        assert not changed.model.training


def faked(score):
    """A metric from a function of a case and the number of the method."""
    fake = {"score": lambda case, explain: {"fake": score(case, explain)}}
    return fake | {"better": {"fake": "higher"}, "methods": METHODS}


METHODS = {"first": 0, "second": 1, "third": 2}


def test_metric_that_ignores_maps_is_resilient_and_not_reactive(case):
    table = meta.evaluate(case, **faked(lambda case, k: np.full(len(case.x), 0.5)))
    found = meta.summary(table)
    assert (found["IAC_NR"] == 1).all()
    assert (found["IEC_NR"] == 1).all()
    assert (found["IAC_AR"] == 0).all()
    assert (found["IEC_AR"] == 0).all()
    assert (found["MC"] == 0.5).all()


def test_ideal_metric_gets_one(case):
    """It gives 1, 0.9, 0.8 to the methods as long as predictions stay, and 0.5 less else."""
    many = replace(case, x=np.repeat(case.x, 3, axis=0), y=np.repeat(case.y, 3))

    def score(case, k):
        return 1 - 0.1 * k - 0.5 * (case.predicted() != case.y)

    found = meta.summary(meta.evaluate(many, **faked(score)))
    assert (found["MC"] > 0.98).all()
    assert (found[["IAC_NR", "IEC_NR", "IEC_AR"]] == 1).all(axis=None)


def test_metric_that_is_drawn_by_lot_is_not_resilient(case):
    rng = np.random.default_rng(0)
    many = replace(case, x=np.repeat(case.x, 20, axis=0), y=np.repeat(case.y, 20))
    table = meta.evaluate(many, **faked(lambda case, k: rng.random(len(case.x))))
    found = meta.summary(table)
    assert (found["IEC_NR"] < 0.45).all()
    assert (found["MC"] < 0.7).all()


def test_metrics_score_every_sample(case):
    found = meta.scores_of(case, abslrp.explain)
    assert list(found) == list(DIRECTIONS)
    for scores in found.values():
        assert scores.shape == (len(case.x),)
        assert np.isfinite(scores).all()


def test_focus_of_images_without_a_second_of_their_class(case):
    some = replace(case, x=case.x[:4], y=np.arange(4))
    assert np.isfinite(meta.scores_of(some, abslrp.explain)["Focus"]).all()


def test_summary_averages_repeats():
    rows = pd.DataFrame(
        [
            {
                "metric": "m",
                "place": "input",
                "kind": kind,
                "repeat": k,
                "usable": 8,
                "change": 0.1 * k,
                "intra": intra,
                "inter": inter,
            }
            for kind, values in {
                "resilience": [(1.0, 0.8), (0.6, 0.8)],
                "reactivity": [(0.9, 0.5), (0.9, 0.7)],
            }.items()
            for k, (intra, inter) in enumerate(values)
        ]
    )
    (row,) = meta.summary(rows).to_dict("records")
    assert [row[key] for key in ("IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR")] == pytest.approx(
        [0.8, 0.9, 0.8, 0.6]
    )
    assert row["change_NR"] == pytest.approx(0.05)
    assert row["MC"] == pytest.approx(0.775)
    assert row["MC_deviation"] == pytest.approx(np.std([0.8, 0.75], ddof=1))
    rows.loc[0, "intra"] = np.nan
    assert np.isnan(meta.summary(rows)["MC"]).all()
