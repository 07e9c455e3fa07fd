"""States of one input are explained once by functions that explain them alike, and by no others."""

from __future__ import annotations

import numpy as np
import pytest

import gae_metric
from gae_metric import GAE, LocalConsistency
from gae_metric.study.scoring import Scorer
from tests.gae_metric.nets import (
    Counting,
    conv_net,
    images,
    input_x_gradient,
    top_classes,
)


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


@pytest.fixture
def case():
    """Images (5, 3, 10, 10) a half of which is black, the mask value."""
    x = images(5, (3, 10, 10))
    x[:, :, :5] = 0
    net = conv_net()
    return net, x, top_classes(net, x)


def offset(model, inputs, targets, **kwargs):
    """Maps that tell two states apart, of black images, too."""
    return np.abs(inputs) + np.linspace(0, 0.1, inputs[0].size).reshape(inputs[0].shape)


class Random:
    """Another map each time: those of ``offset`` with noise."""

    def __init__(self, scale=0.3):
        self.scale = scale
        self.generator = np.random.default_rng(0)
        self.samples = 0

    def __call__(self, model, inputs, targets, **kwargs):
        self.samples += len(inputs)
        noise = self.generator.random(inputs.shape)
        return offset(model, inputs, targets) + self.scale * noise


def curves(metric, case, function, **call):
    gae_metric.clear_cache()
    net, x, y = case
    metric(net, x, y, explain_func=function, **call)
    return metric.curves


@pytest.mark.parametrize("function", [offset, input_x_gradient])
@pytest.mark.parametrize("kind", [GAE, LocalConsistency])
@pytest.mark.parametrize("mask_value", [0.0, 0.5, "mean"])
def test_curves_are_those_of_all_states(case, function, kind, mask_value, monkeypatch):
    metric = kind(mask_value=mask_value, disable_warnings=True)
    counting = Counting(function)
    found = curves(metric, case, counting)
    monkeypatch.setattr(Scorer, "known", lambda self, items: np.zeros(len(items), dtype=bool))
    every = Counting(function)
    expected = curves(metric, case, every)
    assert every.samples == 5 * (20 if kind is GAE else 19)
    assert counting.samples < every.samples
    for name, curve in expected.items():
        assert np.isfinite(curve).all()
        np.testing.assert_allclose(found[name], curve, rtol=0, atol=1e-6, err_msg=name)


def test_what_is_black_already_is_not_masked_again(case):
    # MoRF masks the half that is not black by state 3 (of 10, 30 and 60 % of all features), and
    # LeRF black features alone until state 5, so that its states 2 to 5 are the first.
    counting = Counting(offset)
    curves(GAE(disable_warnings=True), case, counting, batch_size=20)
    assert 20 + 4 * 10 <= counting.samples <= 20 + 4 * 14


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_random_functions_are_asked_for_all_states(case, batch_size):
    net, x, y = case
    function = Random()
    GAE(disable_warnings=True)(net, x, y, explain_func=function, batch_size=batch_size)
    assert function.samples == 5 * 20


def test_a_function_that_fails_on_the_first_sample_is_looked_at_on_another(case):
    def fails(model, inputs, targets, **kwargs):
        maps = offset(model, inputs, targets)
        maps[targets == targets_of_first] = np.nan
        return maps

    net, x, y = case
    y = np.array([0, 1, 2, 1, 2])
    targets_of_first = 0
    counting = Counting(fails)
    metric = GAE(disable_warnings=True)
    scores = metric(net, x, y, explain_func=counting)
    assert np.isnan(scores).tolist() == [True, False, False, False, False]
    assert counting.samples < 5 * 20 - 3 * 4


def test_progress_counts_all_maps(case, capsys):
    net, x, y = case
    GAE(disable_warnings=True, display_progressbar=True)(net, x, y, explain_func=offset)
    assert "100/100" in capsys.readouterr().err
