"""Maps that know nothing, randomised networks, maps made worse, other seeds: on digits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import abslrp
from benchmarks.sanity import checks
from benchmarks.sanity.case import gae
from benchmarks.sanity.changed_maps import (
    DEGRADATIONS,
    Remembered,
    brightness,
    degraded,
    of_network,
)
from gae_metric import GAE
from tests.benchmarks.sanity import QUICK, quick_case, same, state


@pytest.fixture(scope="module")
def case():
    return quick_case()


class Counting:
    """An explanation function that counts the inputs it gets."""

    accepts_tensors = True

    def __init__(self):
        self.inputs = 0

    def __call__(self, model, inputs, targets, **kwargs):
        self.inputs += len(inputs)
        return abslrp.explain(model, inputs, targets)


def test_maps_that_know_nothing_score_zero(case):
    table = checks.baselines(case, checks.explainers(case)).set_index("method")
    for name in ("Constant", "Random", "Brightness"):
        assert table.loc[name, "largest"] < 0.01
        assert table.loc[name, "baseline"]
    assert table.loc["absLRP", "GAE"] > 0.05
    assert not table.loc["absLRP", "baseline"]


def test_remembered_maps_are_computed_once_and_the_same(case):
    counting = Counting()
    remembered = Remembered(counting)
    first = gae(case, remembered)
    met = counting.inputs
    assert met == case.settings.samples * 2 * case.settings.steps
    pd.testing.assert_frame_equal(gae(case, remembered), first)
    assert counting.inputs == met
    plain = gae(case, abslrp.explain)
    assert np.allclose(first.to_numpy(), plain.to_numpy(), atol=1e-4)


def test_remembered_maps_differ_by_target(case):
    remembered = Remembered(abslrp.explain)
    x = torch.as_tensor(case.x[:2])
    one = remembered(case.model, x, torch.tensor([0, 1]))
    other = remembered(case.model, x, torch.tensor([1, 1]))
    assert torch.equal(one[1], other[1])
    assert (one[0] - other[0]).abs().max() > 0.01 * one[0].abs().max()


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_strength_zero_leaves_scores(case, kind):
    """Up to the scale of a map, which does not matter."""
    how = DEGRADATIONS[kind]
    untouched = gae(case, degraded(abslrp.explain, how, 0.0, 10))
    plain = gae(case, abslrp.explain)
    assert np.allclose(untouched.to_numpy(), plain.to_numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_degraded_maps_do_not_depend_on_the_batch(case, kind):
    how = DEGRADATIONS[kind]
    x, y = torch.as_tensor(case.x[:3]), torch.as_tensor(case.y[:3])

    def coloured(model, inputs, targets, **kwargs):
        return brightness(model, inputs, targets) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]

    explain = degraded(coloured, how, how.strengths[1], 10)
    together = explain(case.model, x, y)
    assert torch.equal(together[2:], explain(case.model, x[2:], y[2:]))
    if kind != "wrong class":  # these maps are the same for all classes
        plain = coloured(case.model, x, y)
        scale = together.abs().max() / plain.abs().max()
        assert (together - scale * plain).abs().max() > 0.01 * together.abs().max()


def test_degradations_by_hand():
    rng = np.random.default_rng(0)
    a = rng.random((3, 6, 6))
    wrong = rng.random((3, 6, 6))
    noisy = DEGRADATIONS["noise"].change(a, wrong, 2.0, np.random.default_rng(1))
    drawn = np.random.default_rng(1).standard_normal(a.shape)
    assert np.allclose(noisy, a + 2 * a.std() * drawn)
    shifted = DEGRADATIONS["shift"].change(a, wrong, 1 / 3, rng)
    assert (shifted[:, 2, 3] == a[:, 0, 1]).all()
    mixed = DEGRADATIONS["wrong class"].change(a, wrong, 1.0, rng)
    assert np.allclose(mixed, wrong / wrong.max())
    shuffled = DEGRADATIONS["channel shuffle"].change(a, wrong, 1.0, rng)
    assert (shuffled == a[[2, 0, 1]]).all()
    half = DEGRADATIONS["channel shuffle"].change(a, wrong, 0.5, rng)
    moved = (half != a).all(axis=0)
    assert 0 < moved.sum() < 36
    assert (half[:, ~moved] == a[:, ~moved]).all()


def test_wrong_class_explains_another_class(case):
    asked = []

    def explain(model, inputs, targets, **kwargs):
        asked.append(targets.tolist())
        return brightness(model, inputs, targets)

    how = DEGRADATIONS["wrong class"]
    x = torch.as_tensor(case.x[:2])
    degraded(explain, how, 1.0, 10)(case.model, x, torch.tensor([3, 7]))
    assert asked == [[3, 7], [8, 2]]


def test_cascade(case):
    """Layers change from the top, each once; the network and the generators stay as they were."""
    model, before = case.model, state(case.model)
    generator = torch.get_rng_state().clone()
    seen = []
    names = [name for name, module in model.named_modules() if hasattr(module, "reset_parameters")]
    for count, total, network in checks.cascade(model, 3, seed=0):
        assert total == len(names)
        assert not network.training
        changed = {
            name
            for name in names
            if any(
                not torch.equal(value, before[f"{name}.{key}"])
                for key, value in network.get_submodule(name).state_dict().items()
            )
        }
        assert changed == set(names[total - count :])
        seen.append(count)
    assert len(seen) == 3
    assert seen[-1] == len(names)
    assert same(before, state(model))
    assert torch.equal(generator, torch.get_rng_state())


def test_maps_of_a_random_network_score_lower(case):
    *_, (_, _, network) = checks.cascade(case.model, 1, seed=0)
    trained, randomised = gae(case, abslrp.explain), gae(case, of_network(abslrp.explain, network))
    assert randomised["gae"].mean() < trained["gae"].mean()


def test_seeds_are_those_of_the_metric(case):
    """Local consistency times contrastiveness is what GAE gives with that seed."""
    methods = {"absLRP": Remembered(abslrp.explain)}
    table = checks.seeds(case, methods)
    for row in table.itertuples():
        metric = GAE(steps=QUICK.steps, seed=row.seed, disable_warnings=True)
        scores = metric(case.model, case.x, case.y, explain_func=methods["absLRP"])
        assert pytest.approx(np.mean(scores), abs=1e-6) == row.GAE
    assert table["GAE"].nunique() == 2


def test_correlation_of_means_in_the_table(case):
    """What the table says of a trend is computed from its own means."""
    table = checks.randomisation(replace(case, settings=replace(QUICK, methods=("absLRP",))))
    rho = stats.spearmanr(table["share"], table["GAE"]).statistic
    assert table["rho"].iloc[0] == pytest.approx(rho)
    assert table["layers"].iloc[0] == 0
    assert table["share"].iloc[-1] == 1
