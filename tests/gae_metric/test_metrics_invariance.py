"""Scores do not depend on batches, chunks, order, scale, or the kind of explainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gae_metric
from gae_metric import GAE, Contrastiveness, LocalConsistency, MosaicPlan
from tests.gae_metric.nets import (
    Counting,
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    top_classes,
)

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


def evaluate(net, x, y, explain_func=gradient_tensor, metric=None, **call):
    """Components of a run that shares nothing with earlier ones."""
    gae_metric.clear_cache()
    metric = metric or GAE(disable_warnings=True)
    metric(net, x, y, explain_func=explain_func, **call)
    return metric.components[list(metric.columns)].to_numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("explain_func", [gradient_tensor, input_x_gradient])
def test_batch_size(dtype, explain_func):
    net = conv_net(dtype=dtype)
    x = images(7, (3, 24, 24))
    y = top_classes(net, x)
    results = [evaluate(net, x, y, explain_func, batch_size=size) for size in (64, 1, 3)]
    assert results[0].shape == (7, 5)
    assert np.isfinite(results[0]).all()
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("chunk", "first"), [(1, 17), (3, 19), (7, 20), (1000, 20 + 4 * 4)])
def test_chunk_size(dtype, chunk, first):
    net = conv_net(dtype=dtype)
    x = images(5, (3, 24, 24))
    y = top_classes(net, x)
    expected = evaluate(net, x, y)
    metric = GAE(explain_batch_size=chunk, disable_warnings=True)
    counting = Counting(gradient_tensor)
    result = evaluate(net, x, y, counting, metric, batch_size=2)
    np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE[dtype])
    # MoRF has masked all by state 5: of the first sample another such state, with those of the same
    # chunk, tells that the function explains them alike.
    samples = first + 4 * 16
    assert counting.samples == samples
    # Chunks go across samples: all but the last are full.
    assert counting.calls == -(-samples // chunk)
    assert counting.largest == min(chunk, 100)


def test_permuted_samples_with_the_plan_permuted_alike():
    net, x = conv_net(), images(7)
    y, plan = top_classes(net, x), MosaicPlan.draw(np.arange(7), seed=5)
    order = np.random.default_rng(1).permutation(7)
    expected = evaluate(net, x, y, metric=GAE(mosaics=plan, disable_warnings=True))
    metric = GAE(mosaics=plan.permute(order), disable_warnings=True)
    result = evaluate(net, x[order], y[order], metric=metric)
    np.testing.assert_allclose(result, expected[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 123.0, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaled_maps(scale, dtype):
    net, x = conv_net(), images(5)
    y = top_classes(net, x)

    def scaled(model, inputs, targets, **kwargs):
        maps = input_x_gradient(model, inputs, targets)
        return (
            maps / np.abs(maps).max(axis=(1, 2, 3), initial=1e-3, keepdims=True) * scale
        ).astype(dtype)

    expected = evaluate(net, x, y, input_x_gradient)
    np.testing.assert_allclose(evaluate(net, x, y, scaled), expected, rtol=0, atol=1e-6)


def test_what_ran_before_does_not_matter():
    net, x = conv_net(), images(6)
    y = top_classes(net, x)
    expected = evaluate(net, x, y)
    metric = GAE(disable_warnings=True)
    metric(net, x[::-1].copy(), y[::-1].copy(), explain_func=input_x_gradient)
    LocalConsistency(disable_warnings=True)(net, x, y, explain_func=input_x_gradient)
    metric(net, x, y, explain_func=gradient_tensor)
    found = metric.components[list(metric.columns)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_global_random_state_is_not_touched():
    net, x = conv_net(), images(5)
    first = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    evaluate(net, x, top_classes(net, x))
    assert (np.random.get_state()[1] == first[0]).all()  # noqa: NPY002
    assert torch.get_rng_state().equal(first[1])


def test_parts_are_those_of_gae():
    net, x = conv_net(), images(6)
    y = top_classes(net, x)
    whole = GAE(disable_warnings=True)
    scores = whole(net, x, y, explain_func=gradient_tensor)
    parts = whole.components
    assert scores == parts["gae"].tolist()
    for cls, column in (
        (gae_metric.LocalRobustness, "lc_robustness"),
        (gae_metric.LocalFaithfulness, "lc_faithfulness"),
        (LocalConsistency, "local_consistency"),
        (Contrastiveness, "contrastiveness"),
    ):
        metric = cls(disable_warnings=True)
        part = metric(net, x, y, explain_func=gradient_tensor)
        np.testing.assert_allclose(part, parts[column], rtol=0, atol=1e-12)
        assert list(metric.components) == ["predicted", "probability", *cls.columns]
    np.testing.assert_allclose(
        parts["gae"], parts["local_consistency"] * parts["contrastiveness"], rtol=1e-12
    )
    # The nets of these tests are made so that no part is trivial.
    assert parts[list(GAE.columns)].std().min() > 0.01


def test_subset_of_the_samples_with_the_rest_of_the_plan():
    """LC of a sample does not depend on which others are there."""
    net, x = conv_net(), images(6)
    y = top_classes(net, x)
    whole = evaluate(net, x, y, metric=LocalConsistency(disable_warnings=True))
    for n in (1, 2, 3, 4):
        part = evaluate(net, x[:n], y[:n], metric=LocalConsistency(disable_warnings=True))
        np.testing.assert_allclose(part, whole[:n], rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_decides_the_mosaics(seed):
    net, x = conv_net(), images(12)
    y = top_classes(net, x)
    results = [
        evaluate(net, x, y, metric=Contrastiveness(seed=s, disable_warnings=True))
        for s in (seed, seed, seed + 1)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-3
