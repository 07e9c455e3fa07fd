"""SPEC 2.5: what cannot be scored is NaN and named, and touches nothing else."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

import gae_metric
from gae_metric import (
    GAE,
    Contrastiveness,
    LocalConsistency,
    LocalFaithfulness,
    LocalRobustness,
    tensor_explainer,
)
from tests.gae_metric.nets import (
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    top_classes,
)

ALL = (GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, LocalRobustness)


@pytest.fixture(scope="module")
def case():
    net = conv_net()
    x = images(8, (3, 10, 10))
    return net, x, top_classes(net, x)


def run(metric, *args, **kwargs):
    """Scores in ``components``, and the messages of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metric(*args, **kwargs)
    scores = metric.components[list(metric.columns)].to_numpy()
    return scores, [str(each.message) for each in caught]


def bad_at(samples, x, value, function=gradient_tensor):
    """An explainer whose maps of some samples, however perturbed, are not finite."""

    @tensor_explainer
    def explainer(model, inputs, targets, **kwargs):
        maps = function(model, inputs, targets).clone()
        for i in samples:
            own = (inputs == torch.tensor(x[i])).flatten(1).double().mean(1) > 0.2
            maps[own, 0, 0, 0] = value
        return maps

    return explainer


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_input_that_is_not_finite(case, cls, bad):
    net, x, y = case
    x, whole = x.copy(), GAE(disable_warnings=True)
    expected, _ = run(cls(), net, x, y, explain_func=gradient_tensor)
    whole(net, x, y, explain_func=gradient_tensor)
    x[2, 1, 3, 3] = x[5] = bad
    found, messages = run(cls(), net, x, y, explain_func=gradient_tensor, batch_size=3)
    score = found[:, -1]
    assert np.flatnonzero(np.isnan(score)).tolist() == [2, 5]
    assert np.isnan(found[[2, 5]]).all()
    assert [m for m in messages if "NaN" in m] == [
        f"{cls.name}: 2 scores are NaN. features are not finite: samples 2, 5"
    ]
    # Others keep their scores, but for Contrastiveness of mosaics that held a bad sample.
    held = np.isin(whole.mosaic_indices[:, 0], [2, 5]).any(axis=1)
    keep = ~np.isnan(score) & (~held if cls in (GAE, Contrastiveness) else True)
    np.testing.assert_allclose(found[keep], expected[keep], rtol=0, atol=1e-9)
    assert keep.sum() >= 2 or cls in (GAE, Contrastiveness)


@pytest.mark.parametrize("protocol", ["paper", "repository"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_sample_without_a_predicted_class_stands_in_no_other_mosaic(case, protocol, bad):
    """No other score depends on where its NaN is."""
    net, x, y = case
    found = []

    class OneBad(nn.Module):
        def __init__(self, place):
            super().__init__()
            self.net, self.place = net, place
            self.eval()

        def forward(self, inputs):
            logits = self.net(inputs).clone()
            logits[(inputs[:, 0, 0, 0] - x[2, 0, 0, 0]).abs() < 1e-12, self.place] = bad
            return logits

    for place in range(5):
        metric = Contrastiveness(targets="predicted", protocol=protocol)
        given = y if protocol == "repository" else None
        scores, messages = run(metric, OneBad(place), x, given, explain_func=gradient_tensor)
        assert not (metric.mosaic_indices[metric.components.index != 2] == 2).any()
        assert 2 not in metric.components.index[~np.isnan(scores[:, -1])]
        if protocol == "paper":
            assert np.flatnonzero(np.isnan(scores[:, -1])).tolist() == [2]
            assert any("outputs or gradients are not finite: samples 2" in m for m in messages)
        found.append(scores)
    np.testing.assert_array_equal(found, found[:1] * 5)


def test_bad_samples_are_never_evaluated_or_explained(case):
    net, x, y = case
    x = x.copy()
    x[3] = math.nan

    class Strict(nn.Module):
        def forward(self, inputs):
            assert inputs.isfinite().all()
            return net(inputs)

    def explainer(model, inputs, targets, **kwargs):
        assert np.isfinite(inputs).all()
        return input_x_gradient(model, inputs, targets)

    found, _ = run(GAE(), Strict().eval(), x, y, explain_func=explainer)
    assert np.isnan(found[:, -1]).tolist() == [i == 3 for i in range(8)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_attribution_that_is_not_finite(case, bad):
    net, x, y = case
    expected, _ = run(GAE(), net, x, y, explain_func=gradient_tensor)
    found, messages = run(GAE(), net, x, y, explain_func=bad_at([1, 6], x, bad))
    assert np.flatnonzero(np.isnan(found[:, -1])).tolist() == [1, 6]
    assert [m for m in messages if "NaN" in m] == [
        "GAE: 2 scores are NaN. attributions are not finite: samples 1, 6"
    ]
    rest = [0, 2, 3, 4, 5, 7]
    np.testing.assert_allclose(found[rest], expected[rest], rtol=0, atol=1e-12)
    maps = gradient_tensor(net, torch.tensor(x), torch.tensor(y)).numpy()
    maps[4, 0, 2, 2] = bad
    for cls in (LocalFaithfulness, LocalConsistency):
        found, messages = run(cls(), net, x, y, a_batch=maps, explain_func=gradient_tensor)
        assert np.flatnonzero(np.isnan(found[:, -1])).tolist() == [4]
        assert "attributions are not finite: samples 4" in messages[0]
    # The first and the last, by which given maps are compared with an explainer's.
    maps[[0, 7], 0, 0, 0] = bad
    found, _ = run(LocalConsistency(), net, x, y, a_batch=maps, explain_func=gradient_tensor)
    assert np.flatnonzero(np.isnan(found[:, -1])).tolist() == [0, 4, 7]
    rest = [1, 2, 3, 5, 6]
    np.testing.assert_allclose(found[rest, -1], expected[rest, 2], rtol=0, atol=1e-12)
    found, _ = run(LocalConsistency(), net, x, y, a_batch=maps * bad, explain_func=gradient_tensor)
    assert np.isnan(found[:, -1]).all()
    with pytest.raises(ValueError, match="not the maps that explain_func gives"):
        run(LocalConsistency(), net, x, y, a_batch=maps[::-1].copy(), explain_func=gradient_tensor)


def test_output_that_is_not_finite(case):
    net, x, y = case
    mark = float(x[2, 0, 0, 0])
    expected, _ = run(GAE(), net, x, y, explain_func=gradient_tensor)

    class Overflows(nn.Module):
        def __init__(self, when):
            super().__init__()
            self.net, self.when = net, when

        def forward(self, inputs):
            own = self.when(inputs)
            return torch.where(own[:, None], torch.inf, self.net(inputs))

    # The whole sample, or only one of its perturbed states.
    whole = Overflows(lambda inputs: inputs[:, 0, 0, 0] == mark).eval()
    found, messages = run(GAE(), whole, x, y, explain_func=input_x_gradient)
    assert np.flatnonzero(np.isnan(found[:, -1])).tolist() == [2]
    assert np.isnan(found[2]).all()
    assert "model outputs or gradients are not finite: samples 2" in messages[0]

    def half_masked(inputs):
        masked = (inputs == 0).flatten(1).double().mean(1)
        return (masked > 0.25) & (masked < 0.35) & (inputs == torch.tensor(x[2])).flatten(1).any(1)

    found, _ = run(GAE(), Overflows(half_masked).eval(), x, y, explain_func=gradient_tensor)
    assert np.flatnonzero(np.isnan(found[:, -1])).tolist() == [2]
    assert np.isfinite(found[2, 3])  # Contrastiveness does not see that state
    rest = [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(found[rest], expected[rest], rtol=0, atol=1e-9)


def test_more_than_twenty_bad_samples_are_counted():
    net, x = conv_net(), images(30, (3, 6, 6))
    x[:25] = math.nan
    y = np.zeros(30, dtype=int)
    _, messages = run(LocalConsistency(steps=2), net, x, y, explain_func=gradient_tensor)
    assert "25 scores are NaN" in messages[0]
    assert messages[0].endswith("18, 19 and 5 more")


def test_every_sample_bad(case):
    net, x, y = case
    for cls in ALL:
        found, messages = run(cls(), net, x * math.nan, y, explain_func=gradient_tensor)
        assert np.isnan(found).all()
        assert len(messages) == 1


def test_no_other_finite_sample_for_the_mosaic(case):
    net, x, y = case
    x = x.copy()
    x[1:] = math.nan
    found, messages = run(Contrastiveness(), net, x, y, explain_func=gradient_tensor)
    assert np.isnan(found).all()
    assert "no other sample is left for the mosaic: samples 0" in messages[0]


@pytest.mark.parametrize("constant", [0.0, -1.0])
def test_maps_without_a_positive_value(case, constant):
    net, x, y = case

    def explainer(model, inputs, targets, **kwargs):
        return np.full_like(inputs, constant)

    metric = GAE()
    _, messages = run(metric, net, x, y, explain_func=explainer)
    assert (metric.components["lc_faithfulness"] == 0).all()
    assert (metric.components["contrastiveness"] == 0).all()
    assert (metric.components["gae"] == 0).all()
    # All similarities are 1, so d^A is 0, and LC_R is -1 wherever the output moves.
    np.testing.assert_allclose(metric.components["lc_robustness"], -1, atol=1e-6)
    assert messages == [
        "GAE: 16 of the maps of inputs and mosaics have no positive value and stay 0"
    ]


def test_a_zero_map_of_one_sample_touches_no_other(case):
    net, x, y = case
    maps = gradient_tensor(net, torch.tensor(x), torch.tensor(y)).numpy()
    expected, _ = run(LocalConsistency(), net, x, y, a_batch=maps, explain_func=gradient_tensor)
    maps[3] = 0
    found, messages = run(LocalConsistency(), net, x, y, a_batch=maps, explain_func=gradient_tensor)
    assert found[3, 1] == 0
    assert messages == [
        "Local Consistency: 1 of the maps of inputs and mosaics have no positive value and stay 0"
    ]
    rest = [i for i in range(8) if i != 3]
    np.testing.assert_allclose(found[rest], expected[rest], rtol=0, atol=1e-12)


@pytest.mark.parametrize("constant", [1.0, 1e30, 1e-30])
def test_constant_maps_are_legal(case, constant):
    net, x, y = case

    def ones(model, inputs, targets, **kwargs):
        return np.full_like(inputs, constant)

    metric = GAE()
    found, messages = run(metric, net, x, y, explain_func=ones)
    assert np.isfinite(found).all()
    assert messages == []
    # LC_F of a constant map is the mean sign, C the mean of S.
    gae_metric.clear_cache()
    again = LocalFaithfulness()
    again(net, x, y, a_batch=np.ones((8, 1, 10, 10)))
    np.testing.assert_allclose(again.components["lc_faithfulness"], found[:, 1], atol=1e-9)


def test_negative_initial_output_is_counted(case):
    net, x, _ = case
    with torch.no_grad():
        logits = net(torch.tensor(x))
    y = logits.argmin(1).numpy()
    negative = int((logits.min(1).values <= 0).sum())
    assert negative >= 2
    metric = LocalConsistency()
    found, messages = run(metric, net, x, y, explain_func=gradient_tensor)
    assert np.isfinite(found).all()
    assert messages == [
        f"Local Consistency: the explained output (logit) of {negative} samples is not positive; "
        "their local robustness (LC_R), which divides by it, may be unreliable"
    ]
    o = metric.curves["output_lerf"] - metric.curves["output_morf"]
    np.testing.assert_allclose(
        metric.curves["output_difference"], o / (metric.curves["output_lerf"][:, :1] + 1e-9)
    )
    # LC_F does not use the output.
    assert run(LocalFaithfulness(), net, x, y, explain_func=gradient_tensor)[1] == []


def test_disable_warnings_silences_all(case):
    net, x, y = case
    x = x.copy()
    x[0] = math.nan
    for cls in ALL:
        _, messages = run(cls(disable_warnings=True), net, x, y, explain_func=gradient_tensor)
        assert messages == []


def test_model_with_dead_output(case):
    """All impacts are 0: every tie is broken by index, and scores are finite."""
    _, x, y = case
    net = nn.Sequential(nn.Flatten(), nn.Linear(300, 5)).double().eval()
    net[1].weight.data[:] = 0
    for schedule in ("reranked", "uniform"):
        metric = GAE(schedule=schedule, disable_warnings=True)
        metric(net, x, y, explain_func=gradient_tensor)
        assert np.isfinite(metric.components.to_numpy()).all()


def test_aggregate_of_scores_with_a_nan_is_nan(case):
    net, x, y = case
    x = x.copy()
    x[0] = math.nan
    metric = GAE(return_aggregate=True, disable_warnings=True)
    assert np.isnan(metric(net, x, y, explain_func=gradient_tensor)).all()
    metric = GAE(return_aggregate=True, aggregate_func=np.nanmean, disable_warnings=True)
    assert np.isfinite(metric(net, x, y, explain_func=gradient_tensor)).all()


@settings(max_examples=25, deadline=None)
@given(
    maps=hnp.arrays(
        np.float64,
        (8, 1, 10, 10),
        elements=st.floats(-1e30, 1e30) | st.sampled_from([0.0, 1.0, -1.0, 1e-30, 1e30]),
    )
)
def test_any_finite_map_scores_within_the_ranges(case, maps):
    net, x, y = case
    position = iter(range(10**9))

    @tensor_explainer
    def explainer(model, inputs, targets, **kwargs):
        return torch.tensor(np.stack([maps[next(position) % 8] for _ in inputs]))

    metric = GAE(disable_warnings=True)
    metric(net, x, y, explain_func=explainer)
    values = metric.components
    assert values[["lc_robustness", "lc_faithfulness"]].abs().to_numpy().max() <= 1
    rest = values[["local_consistency", "contrastiveness", "gae"]].to_numpy()
    assert rest.min() >= 0
    assert rest.max() <= 1
