"""Gradient methods from their papers, by the chain rule, layer after layer, in float64.

Networks are those of `tests.naive.chain`. What a method adds to the chain rule is one step: how an
activation function sends back what it receives. Everything else is linear here, and goes back
through its weights transposed; a max pooling is the choice of the greatest input of each window.

- Gradient of the class's logit: Saliency (Simonyan et al. 2014) is its absolute value,
  Input x Gradient (Shrikumar et al. 2016) its product with the input.
- SmoothGrad (Smilkov et al. 2017): the mean over noisy copies, of absolute gradients.
- Integrated gradients (Sundararajan et al. 2017): x times the mean gradient between 0 and x, by
  the Gauss-Legendre rule.
- Deconvolution (Zeiler and Fergus 2014): a ReLU rectifies what it receives, whatever its input was.
- Guided backpropagation (Springenberg et al. 2015): a ReLU does that, and has its own gradient too.
- DeepLIFT's rescale rule (Shrikumar et al. 2017), baseline 0: the multiplier of an activation is
  the change of its output by that of its input. Of max pooling the paper says nothing; in Captum's
  code what the greatest of the two outputs has above the baseline's goes to the winner among the
  inputs, what the output has above that to the baseline's winner, each by its change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from tests.naive.chain import (
    LINEAR,
    Record,
    Residual,
    from_target,
    matrix,
    propagate,
    record,
)

Rectifier = Callable[[Tensor, Tensor], Tensor]
"""What a ReLU sends back, of its input and of what it receives."""


def own(x: Tensor, received: Tensor) -> Tensor:
    return received * (x > 0)


def deconvolved(x: Tensor, received: Tensor) -> Tensor:
    return received * (received > 0)


def guided(x: Tensor, received: Tensor) -> Tensor:
    return received * (received > 0) * (x > 0)


def backwards(rectifier: Rectifier = own) -> Callable[[Record, Tensor], Tensor]:
    """The chain rule of one layer."""

    def step(entry: Record, received: Tensor) -> Tensor:
        layer = entry.layer
        received = received.reshape(entry.y.shape)
        if isinstance(layer, Residual):
            return propagate(entry.branch, received, step) + propagate(
                entry.shortcut, received, step
            )
        if isinstance(layer, nn.ReLU):
            return rectifier(entry.x, received)
        if isinstance(layer, nn.Tanh):
            return received * (1 - entry.y**2)
        return linear_step(entry, received)

    return step


def linear_step(entry: Record, received: Tensor) -> Tensor:
    layer = entry.layer
    if isinstance(layer, nn.BatchNorm2d):
        assert layer.running_var is not None
        factor = layer.weight / (layer.running_var + layer.eps).sqrt()
        return received * factor[:, None, None]
    if isinstance(layer, nn.Flatten):
        return received
    assert isinstance(layer, (*LINEAR, nn.MaxPool2d)), layer
    return matrix(layer, entry.x).T @ received.flatten()


def gradient(network: nn.Sequential, x: Tensor, target: int, rectifier: Rectifier = own) -> Tensor:
    """Of the logit of class `target` by one sample x (1, C, H, W)."""
    return from_target(record(network, x), target, backwards(rectifier))


Gradient = Callable[[Tensor], Tensor]
"""The gradient of one class's logit, at a point."""


def saliency(at: Gradient, x: Tensor) -> Tensor:
    return at(x).abs()


def input_x_gradient(at: Gradient, x: Tensor) -> Tensor:
    return x * at(x)


def smoothgrad(at: Gradient, copies: Iterable[Tensor]) -> Tensor:
    """The noisy copies are given, since noise is drawn."""
    return torch.stack([at(copy).abs() for copy in copies]).mean(0)


def integrated_gradients(at: Gradient, x: Tensor, n_steps: int) -> Tensor:
    # The rule is for the interval from -1 to 1, whose length is 2.
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    total = torch.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        total += weight / 2 * at(x * ((1 + node) / 2))
    return x * total


def deeplift(network: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """Multipliers times the change of the input from 0."""
    records, baselines = record(network, x), record(network, torch.zeros_like(x))
    start = torch.zeros_like(records[-1].y)
    start[0, target] = 1
    return x * _multipliers(records, baselines, start)


def _multipliers(records: list[Record], baselines: list[Record], received: Tensor) -> Tensor:
    for entry, baseline in zip(reversed(records), reversed(baselines), strict=True):
        received = _multiplier(entry, baseline, received.reshape(entry.y.shape))
        received = received.reshape(entry.x.shape)
    return received


def _multiplier(entry: Record, baseline: Record, received: Tensor) -> Tensor:
    change = entry.x - baseline.x
    if isinstance(entry.layer, Residual):
        return _multipliers(entry.branch, baseline.branch, received) + _multipliers(
            entry.shortcut, baseline.shortcut, received
        )
    if isinstance(entry.layer, (nn.ReLU, nn.Tanh)):
        # An input that does not change has its gradient; none is near enough to 0 to be in doubt.
        assert change.abs().min() > 1e-6
        return received * (entry.y - baseline.y) / change
    return linear_step(entry, received)
