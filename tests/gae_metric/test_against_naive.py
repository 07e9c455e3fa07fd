"""GAE against the naive re-implementation, which was written apart from it: float64, 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gae_metric
from gae_metric import GAE, MosaicPlan
from gae_metric.functional import LERF, MORF, masking_trajectory
from tests.gae_metric.nets import conv_net, images, input_x_gradient, top_classes
from tests.naive import gae as naive

COLUMNS = ["lc_robustness", "lc_faithfulness", "local_consistency", "contrastiveness", "gae"]


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


def case(shape=(3, 8, 8), n=5, seed=0):
    net = conv_net(shape[0], seed=seed)
    x = images(n, shape, seed=seed)
    return net, x, top_classes(net, x)


def one_channel(model, inputs, targets, **kwargs):
    return np.abs(input_x_gradient(model, inputs, targets)).sum(1)


def mixed(model, inputs, targets, **kwargs):
    """Maps that no part of GAE is trivial for."""
    maps = input_x_gradient(model, inputs, targets)
    return maps + 0.3 * np.abs(maps).mean(axis=(1, 2, 3), keepdims=True) * np.cos(9 * inputs)


def constant(model, inputs, targets, **kwargs):
    return np.ones_like(inputs[:, :1])


def nothing(model, inputs, targets, **kwargs):
    return -np.ones_like(inputs)


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 11), (2, 5, 6)])
@pytest.mark.parametrize("explain_func", [mixed, one_channel])
def test_components(schedule, shape, explain_func):
    net, x, y = case(shape)
    y = (y + np.arange(5) % 2) % 5  # so that each mosaic shows two classes
    plan = MosaicPlan.draw(np.arange(5), seed=1)
    expected = naive.gae(net, explain_func, x, y, plan.indices, plan.positive, 10, schedule)
    metric = GAE(schedule=schedule, mosaics=plan, disable_warnings=True)
    metric(net, x, y, explain_func=explain_func, batch_size=3)
    for column in COLUMNS:
        np.testing.assert_allclose(metric.components[column], expected[column], rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [2, 3, 7])
def test_components_with_other_steps(steps):
    net, x, y = case(seed=3)
    plan = MosaicPlan.draw(np.arange(5), seed=2)
    expected = naive.gae(net, mixed, x, y, plan.indices, plan.positive, steps)
    metric = GAE(steps=steps, mosaics=plan, disable_warnings=True)
    metric(net, x, y, explain_func=mixed)
    for column in COLUMNS:
        np.testing.assert_allclose(metric.components[column], expected[column], rtol=0, atol=1e-6)


@pytest.mark.parametrize("explain_func", [constant, nothing])
def test_degenerate_maps(explain_func):
    net, x, y = case(seed=5)
    plan = MosaicPlan.draw(np.arange(5), seed=3)
    expected = naive.gae(net, explain_func, x, y, plan.indices, plan.positive)
    metric = GAE(mosaics=plan, disable_warnings=True)
    metric(net, x, y, explain_func=explain_func)
    for column in COLUMNS:
        np.testing.assert_allclose(metric.components[column], expected[column], rtol=0, atol=1e-6)


def test_classes_that_are_not_the_top_one():
    """Negative outputs, and min(1, .) of the score map."""
    net, x, y = case(seed=7)
    y = (y + np.arange(5)) % 5
    plan = MosaicPlan.draw(np.arange(5), seed=4)
    expected = naive.gae(net, mixed, x, y, plan.indices, plan.positive)
    metric = GAE(mosaics=plan, disable_warnings=True)
    metric(net, x, y, explain_func=mixed)
    for column in COLUMNS:
        np.testing.assert_allclose(metric.components[column], expected[column], rtol=0, atol=1e-6)


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
def test_trajectories_feature_by_feature(schedule):
    net, x, y = case(n=2)
    found = masking_trajectory(
        net, torch.tensor(x), torch.tensor(y), schedule=schedule, keep_impacts=True
    )
    for i in range(2):

        def gradient(state, i=i):
            return naive.torch_output_and_gradient(net, state, int(y[i]))

        impacts = {}
        for order, name in ((LERF, "lerf"), (MORF, "morf")):
            expected = naive.trajectory(gradient, x[i], name, 10, schedule)
            np.testing.assert_array_equal(found.masked_from[order, i], expected.masked_from)
            np.testing.assert_allclose(found.outputs[order, i], expected.outputs, atol=1e-9)
            impacts[name] = np.asarray(expected.impacts)
        i_c = naive.impact_map(impacts["morf"], impacts["lerf"])
        ours = (found.impacts[LERF, i] - found.impacts[MORF, i]).numpy()
        np.testing.assert_allclose(ours, i_c, rtol=0, atol=1e-9)
