"""Quantus 0.6.0 works on the newest NumPy once `gae_metric`'s metrics are imported."""

import inspect
from importlib import import_module

import numpy as np
import pytest
import quantus
from quantus.functions.normalise_func import normalise_by_negative

from gae_metric import GAE
from gae_metric.demo import digits, networks
from gae_metric.explainers import saliency
from gae_metric.metrics.newer_numpy import MODULES


@pytest.mark.parametrize("name", MODULES)
def test_quantus_needs_it_still(name):
    """Once this fails, the entry of MODULES can go."""
    assert MODULES[name] in inspect.getsource(import_module(name))


def test_areas_and_missing_values():
    assert quantus.helpers.utils.calculate_auc(np.array([0.0, 1.0, 1.0])) == 1.5
    assert np.isnan(import_module("quantus.metrics.robustness.continuity").np.NaN)


def test_maps_scaled_by_their_signs():
    maps = np.array([[2.0, 1.0], [0.0, 0.0], [-4.0, -1.0], [-2.0, 4.0]])
    wanted = [[1, 0.5], [0, 0], [-1, -0.25], [-1, 1]]
    scaled = normalise_by_negative(maps, normalise_axes=[1])
    np.testing.assert_array_equal(scaled, wanted)  # a row of zeros, too


@pytest.mark.parametrize(
    "metric",
    [
        lambda: GAE(normalise=True, normalise_func=normalise_by_negative, disable_warnings=True),
        lambda: quantus.PixelFlipping(
            features_in_step=2304, return_auc_per_sample=True, disable_warnings=True
        ),
    ],
)
def test_metrics_that_use_it(metric):
    x, y = digits.load("test", n=4)
    scores = metric()(
        networks.load("resnet"), x, y, a_batch=None, explain_func=saliency, explain_func_kwargs={}
    )
    assert np.isfinite(scores).all()
