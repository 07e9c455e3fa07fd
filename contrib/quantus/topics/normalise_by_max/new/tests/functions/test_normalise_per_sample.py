"""normalise_by_max over a batch and per sample."""

import numpy as np
import pytest

import quantus
from quantus.functions.normalise_func import normalise_by_max


@pytest.fixture
def attributions():
    """Three samples of different scales, one of zeros only."""
    return (
        np.random.default_rng(0).normal(size=(3, 2, 4, 4))
        * np.array([1.0, 50.0, 0.0])[:, None, None, None]
    )


@pytest.mark.normalise_func
def test_per_sample(attributions):
    """Test that each sample's largest magnitude becomes 1, and that zeros stay zeros."""
    result = normalise_by_max(attributions, per_sample=True)
    np.testing.assert_allclose(np.abs(result).max(axis=(1, 2, 3)), [1.0, 1.0, 0.0])
    for i in range(2):
        np.testing.assert_allclose(
            result[i : i + 1], normalise_by_max(attributions[i : i + 1])
        )


@pytest.mark.normalise_func
def test_default_is_over_the_batch(attributions):
    """Test that the default is as it was."""
    np.testing.assert_array_equal(
        normalise_by_max(attributions), attributions / np.abs(attributions).max()
    )
    axes = (2, 3)
    np.testing.assert_array_equal(
        normalise_by_max(attributions[:2], normalise_axes=axes),
        attributions[:2] / np.abs(attributions[:2]).max(axis=axes, keepdims=True),
    )


@pytest.mark.normalise_func
def test_option_of_a_metric(attributions):
    """Test that a metric passes the option on, so that its scores do not depend on the batch."""
    metric = quantus.EffectiveComplexity(
        eps=0.5,
        normalise=True,
        normalise_func_kwargs={"per_sample": True},
        disable_warnings=True,
    )
    arguments = {
        "model": None,
        "x_batch": attributions[:2],
        "y_batch": np.zeros(2, dtype=int),
    }
    together = metric(a_batch=attributions[:2], **arguments)
    alone = [
        metric(
            a_batch=attributions[i : i + 1],
            model=None,
            x_batch=attributions[i : i + 1],
            y_batch=np.zeros(1, dtype=int),
        )[0]
        for i in range(2)
    ]
    assert together == alone
