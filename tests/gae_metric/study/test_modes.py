"""Layers that are random, or adapt, in training mode are refused by name, whatever their class."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
from timm.layers import DropPath
from torch import nn
from torchvision.ops import StochasticDepth

from gae_metric import GAE, LocalConsistency
from gae_metric.companions import ROAD
from gae_metric.explainers import EXPLAINERS, saliency
from gae_metric.study.logits import check_model
from tests.gae_metric.nets import conv_net, images, top_classes


class Mine(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


class Helped(nn.Module):
    """Asks in a method of its own."""

    def forward(self, x):
        return self._noisy(x)

    def _noisy(self, x):
        return x + torch.randn_like(x) if self.training else x


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Decorated(nn.Module):
    @decorated
    def forward(self, x):
        return x * torch.rand(1) if self.training else x


class Nested(nn.Module):
    def forward(self, x):
        def noisy():
            return x * 2 if self.training else x

        return noisy()


class Inherits(Helped):
    pass


def patched():
    layer = nn.Identity()
    layer.forward = lambda x: x * torch.rand(1) if layer.training else x
    return layer


ASKS = [
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU),
    lambda: nn.BatchNorm2d(3),
    lambda: nn.SyncBatchNorm(3),
    lambda: nn.InstanceNorm2d(3, track_running_stats=True),
    lambda: nn.MultiheadAttention(4, 2, dropout=0.1),
    lambda: nn.LSTM(3, 3, 2, dropout=0.5),
    lambda: nn.TransformerEncoderLayer(4, 2),
    lambda: DropPath(0.1),
    lambda: StochasticDepth(0.1, "row"),
    *(Mine, Helped, Decorated, Nested, Inherits, patched),
]
DOES_NOT = [
    *(nn.ReLU, nn.GELU, nn.Softmax, nn.Identity, nn.Flatten, nn.Sequential),
    lambda: nn.Conv2d(3, 3, 1),
    lambda: nn.LayerNorm(3),
    lambda: nn.GRU(3, 3, 2),  # without dropout; trained for cuDNN's sake
]


@pytest.mark.parametrize("build", ASKS)
def test_a_layer_that_asks_for_the_mode_is_refused_by_name(build):
    model = nn.Sequential(nn.Identity(), nn.Sequential(build())).eval()
    check_model(model)
    model[1][0].train()
    name = type(model[1][0]).__name__
    with pytest.raises(ValueError, match=rf"in its layer '1\.0.*' \({name}|Dropout\)"):
        check_model(model)


@pytest.mark.parametrize("build", DOES_NOT)
def test_a_layer_that_does_not_is_let_be(build):
    model = nn.Sequential(nn.Identity(), nn.Sequential(build())).eval()
    model[1].train()
    check_model(model)


@pytest.mark.parametrize("cls", [GAE, LocalConsistency, ROAD])
def test_metrics_and_explainers_refuse_it(cls):
    net, x = conv_net(), images(4, (3, 10, 10))
    y = top_classes(net, x)
    net[6] = nn.Sequential(net[6], DropPath(0.5))
    with pytest.raises(ValueError, match=r"in its layer '6.1' \(DropPath\); call model.eval\(\)"):
        cls()(net, x, y, explain_func=saliency)
    for name in ("Saliency", "InputXGradient", "GradCAM", "IntegratedGradients"):
        with pytest.raises(ValueError, match=r"'6\.1'"):
            EXPLAINERS[name](net, x, y)


def exported(net, x):
    batch = {0: torch.export.Dim("batch", max=1000)}
    return torch.export.export(net, (torch.tensor(x),), dynamic_shapes=(batch,)).module()


def test_an_exported_program_is_taken_as_it_was_exported():
    """It says that it is in training mode, and refuses ``eval()``."""
    net, x = conv_net(), images(4, (3, 10, 10))
    y = top_classes(net, x)
    program = exported(net, x)
    with pytest.raises(NotImplementedError):
        program.eval()
    for method in ("Saliency", "GradCAM", "IntegratedGradients"):
        function = EXPLAINERS[method]
        expected = GAE(disable_warnings=True)(net, x, y, explain_func=function)
        found = GAE(disable_warnings=True)(program, x, y, explain_func=function)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    around = nn.Sequential(nn.Identity(), program)
    with pytest.raises(ValueError, match="set its training = False, as eval"):
        GAE()(around, x, y, explain_func=saliency)
    around.training = False
    assert GAE(disable_warnings=True)(around, x, y, explain_func=saliency)


@pytest.mark.parametrize("form", [exported, lambda net, x: torch.fx.symbolic_trace(net)])
def test_explainers_get_the_logits_of_a_program_and_of_a_copy(form):
    """A program says how it is copied, and that would leave out what selects its logits."""
    net, x = nn.Sequential(conv_net(), nn.Softmax(1)).eval(), images(4, (3, 10, 10))
    y = top_classes(net, x)

    def of_a_copy(model, inputs, targets, **kwargs):
        return saliency(copy.deepcopy(model), inputs, targets)

    metrics = [GAE(output="log", disable_warnings=True) for _ in range(3)]
    metrics[0](net, x, y, explain_func=saliency)
    metrics[1](form(net, x), x, y, explain_func=saliency)
    metrics[2](form(net, x), x, y, explain_func=of_a_copy)
    for found in metrics[1:]:
        np.testing.assert_allclose(found.components, metrics[0].components, rtol=0, atol=1e-9)


def test_a_program_for_one_batch_size_is_refused():
    net, x = conv_net(), images(4, (3, 10, 10))
    program = torch.export.export(net, (torch.tensor(x),)).module()
    with pytest.raises(ValueError, match="exported for one batch size"):
        GAE()(program, x, top_classes(net, x), explain_func=saliency)
