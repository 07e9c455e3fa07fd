"""What metrics refuse: each error names the argument, what was expected and what came."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torch import nn

import abslrp
from gae_metric import (
    GAE,
    Contrastiveness,
    LocalConsistency,
    LocalFaithfulness,
    LocalRobustness,
    MosaicPlan,
)
from tests.gae_metric.nets import conv_net, gradient_tensor, images, top_classes

ALL = (GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, LocalRobustness)


@pytest.fixture(scope="module")
def case():
    net = conv_net()
    x = images(8, (3, 10, 10))
    return net, x, top_classes(net, x)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": lambda x: x}, "model: expected a torch.nn.Module, got function"),
        ({"model": conv_net().train()}, "model: expected evaluation mode, got training mode; call"),
        (
            {"x_batch": np.zeros((8, 3, 10, 10, 2, 1))},
            r"x_batch: expected images .* \(8, 3, 10, 10, 2",
        ),
        ({"x_batch": np.zeros((0, 3, 10, 10))}, "x_batch: .* at least one sample"),
        ({"x_batch": "images"}, "x_batch: expected an array or a tensor of numbers, got str"),
        ({"x_batch": None}, "x_batch: .* got NoneType"),
        ({"y_batch": np.zeros(7, dtype=int)}, r"y_batch: .*\(8,\).*got torch.int64 \(7,\)"),
        ({"y_batch": np.full(8, 0.5)}, r"y_batch: expected integer classes"),
        ({"y_batch": np.full(8, "cat")}, r"y_batch: expected .* of numbers, got <U3"),
        ({"y_batch": None}, "y_batch: expected 8 integer classes, got None"),
        (
            {"y_batch": np.full(8, 5)},
            "y_batch: expected classes from 0 to 4, .* got 5 at position 0",
        ),
        ({"y_batch": np.array([0] * 7 + [-1])}, "y_batch: .* got -1 at position 7"),
        (
            {"explain_func": None},
            "explain_func: .* needs a function that explains; no explain_func",
        ),
        ({"explain_func": "Saliency"}, "explain_func: expected a callable, got str"),
        (
            {"a_batch": np.zeros((8, 2, 10, 10))},
            r"a_batch: expected maps of shape .* \(8, 2, 10, 10",
        ),
        ({"a_batch": np.zeros((7, 3, 10, 10))}, r"a_batch: expected maps of shape .* got \(7, 3,"),
        ({"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
        ({"channel_first": "yes"}, "channel_first: expected True, False or None, got 'yes'"),
        (
            {"x_batch": np.zeros((8, 2, 10, 10))},
            r"model: expected one that takes samples of x_batch, .* \(1, 2, 10, 10\), got",
        ),
        ({"model": conv_net().to("meta")}, "model: expected one with values, got one on .* meta"),
        ({"device": "gpu"}, "device: 'gpu' cannot be used: "),
        ({"device": ""}, "device: '' cannot be used: "),
        (
            {"explain_func": lambda model, x, y: x},
            r"explain_func: .* model=, inputs=, targets=, got one with \(model, x, y\): missing",
        ),
        (
            {"explain_func": lambda model, inputs, targets: inputs, "device": "cpu"},
            "explain_func: .* targets=, device=, got .* unexpected keyword argument 'device'",
        ),
    ],
)
def test_wrong_arguments_are_named(case, cls, change, message):
    net, x, y = case
    arguments = {"model": net, "x_batch": x, "y_batch": y, "explain_func": gradient_tensor}
    with pytest.raises(ValueError, match=message):
        cls()(**{**arguments, **change})


def test_layer_in_training_mode_is_named(case):
    _, x, y = case
    net = conv_net()
    net[1].train()
    with pytest.raises(ValueError, match="got training mode in its layer '1'"):
        GAE()(net, x, y, explain_func=gradient_tensor)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((3, 3)), r"explain_func: expected maps of shape .* got \(3, 3\)"),
        (None, "explain_func: expected an array of maps, got NoneType"),
        (np.zeros((160, 3, 10, 10), dtype=complex), "explain_func: expected real maps"),
        ("map", "explain_func: expected an array of maps, got str"),
        (np.zeros((160, 3, 10, 10), dtype=object), "explain_func: .* array of maps, got object"),
    ],
)
def test_wrong_results_of_explain_func_are_named(case, result, message):
    net, x, y = case
    with pytest.raises(ValueError, match=message):
        GAE(explain_batch_size=160)(
            net, x, y, explain_func=lambda model, inputs, targets: result, explain_func_kwargs={}
        )


@pytest.mark.parametrize("cls", [GAE, Contrastiveness, LocalConsistency, LocalRobustness])
def test_maps_alone_are_refused_before_any_work(case, cls):
    _, x, y = case

    class Unused(nn.Module):
        def forward(self, inputs):
            raise AssertionError("evaluated")

    with pytest.raises(ValueError, match=r"a_batch: .* gae_metric.ProbeSet") as error:
        cls()(Unused().eval(), x, y, a_batch=x)
    assert "gae-metric probe" in str(error.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": 1}, "steps"),
        ({"steps": 2.5}, "steps: expected an integer"),
        ({"schedule": "morf"}, "schedule"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"mosaics": [[0, 1, 2, 3]]}, "mosaics: expected a MosaicPlan"),
        ({"mosaics": 3}, "mosaics: expected a MosaicPlan, several of them or None, got int"),
        (
            {"mosaics": MosaicPlan.draw(np.arange(4)), "n_mosaics": 2},
            "n_mosaics: .* given mosaics, 1, or",
        ),
        ({"explain_batch_size": 0}, "explain_batch_size"),
        ({"explain_batch_size": True}, "explain_batch_size"),
        ({"mask_value": "black"}, "mask_value"),
        ({"mask_value": math.nan}, "mask_value"),
        ({"mask_value": 1j}, "mask_value: expected finite numbers of torch.float"),
        ({"normalise_func": "max"}, "normalise_func: expected a function, got 'max'"),
        ({"aggregate_func": "mean"}, "aggregate_func: expected a function, got 'mean'"),
        ({"targets": "labels"}, 'targets: expected "y_batch" or "predicted", got \'labels\''),
        ({"protocol": "code"}, "protocol"),
        ({"protocol": "repository", "n_mosaics": 2}, "protocol"),
        ({"n_mosaics": 0}, "n_mosaics"),
        ({"interpolation": "linear"}, "interpolation"),
        ({"output": 1.5}, "output"),
        ({"abs": "False"}, "abs: expected True or False, got 'False'"),
        ({"cache": 0}, "cache: expected True or False, got 0"),
        ({"return_aggregate": None}, "return_aggregate: expected True or False, got None"),
        ({"disable_warnings": "no"}, "disable_warnings: expected True or False, got 'no'"),
        ({"display_progressbar": 1}, "display_progressbar: expected True or False, got 1"),
        ({"output": True}, "output: expected a function, a key, a position or None, got bool"),
    ],
)
def test_wrong_options_are_refused_at_once(option, message):
    with pytest.raises(ValueError, match=message):
        GAE(**option)


def test_switches_may_be_numpys_and_are_checked_when_they_are_set_later(case):
    net, x, y = case
    metric = GAE(abs=np.bool_(True), normalise=np.bool_(False), disable_warnings=np.True_)
    metric.normalise = "no"
    with pytest.raises(ValueError, match="normalise: expected True or False, got 'no'"):
        metric(net, x, y, explain_func=abslrp.explain)


def test_plan_of_another_size_is_refused(case):
    net, x, y = case
    plan = MosaicPlan.draw(np.arange(9))
    with pytest.raises(ValueError, match=r"mosaics: expected a plan for the 8 samples.* for 9"):
        GAE(mosaics=plan)(net, x, y, explain_func=abslrp.explain)
