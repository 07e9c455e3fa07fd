"""Small networks and explainers that the tests of GAE share; random weights, nothing trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gae_metric import tensor_explainer


def conv_net(
    channels: int = 3, classes: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0
) -> nn.Module:
    """A conv net for images of any size, which sees several classes in :func:`images`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(48, classes),
        )
        nn.init.normal_(net[1].running_mean, std=0.1)
    net.eval()
    _spread(net, net[8], torch.tensor(images(64, (channels, 16, 16), np.float32, seed=99)))
    return net.to(dtype)


@torch.no_grad()
def _spread(net: nn.Module, head: nn.Linear, x: Tensor) -> None:
    """Scale and shift the logits so that the softmax is neither flat nor one-hot."""
    logits = net(x)
    scale = 2 / logits.std(0)
    head.weight *= scale[:, None]
    head.bias.copy_((head.bias - logits.mean(0)) * scale + 3)


def series_net(dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv1d(2, 6, 5, padding=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(4),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
    net.eval()
    _spread(net, net[4], torch.tensor(images(64, (2, 32), np.float32, seed=99)))
    return net.to(dtype)


def tabular_net(features: int = 7, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Linear(features, 9), nn.ReLU(), nn.Linear(9, 3))
    return net.eval().to(dtype)


def images(
    n: int = 6, shape: tuple[int, ...] = (3, 16, 16), dtype: Any = np.float64, seed: int = 0
) -> np.ndarray:
    """Noise around another mean and contrast for each channel of each sample."""
    rng = np.random.default_rng(seed)
    each = (n, shape[0], *[1] * (len(shape) - 1))
    x = rng.normal(size=(n, *shape)) * rng.uniform(0.3, 1.5, each) + rng.normal(size=each)
    return x.astype(dtype)


def top_classes(net: nn.Module, x: Any) -> np.ndarray:
    with torch.no_grad():
        dtype = next(net.parameters()).dtype
        return net(torch.as_tensor(x).to(dtype)).argmax(1).numpy()


def input_x_gradient(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
    """As any user's explain_func: arrays in and out."""
    x = torch.tensor(inputs, requires_grad=True)
    output = model(x).gather(1, torch.as_tensor(targets)[:, None]).sum()
    (gradient,) = torch.autograd.grad(output, x)
    return (x * gradient).detach().numpy()


@tensor_explainer
def gradient_tensor(model: nn.Module, inputs: Tensor, targets: Tensor, **kwargs: Any) -> Tensor:
    """Tensors in and out, one channel."""
    x = inputs.clone().requires_grad_()
    output = model(x).gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(output, x)
    return gradient.abs().mean(1, keepdim=True) * inputs.abs().amax(1, keepdim=True)


class Counting:
    """Counts the samples that a function explains, and the calls."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.samples = self.calls = 0
        self.largest = 0
        self.kinds: set[type] = set()
        if hasattr(function, "accepts_tensors"):
            self.accepts_tensors = function.accepts_tensors

    def __call__(self, model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        self.samples += len(inputs)
        self.calls += 1
        self.largest = max(self.largest, len(inputs))
        self.kinds.add(type(inputs))
        return self.function(model, inputs, targets, **kwargs)


class CountingModel(nn.Module):
    """Counts the rows that a model evaluates, and those it is differentiated on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.rows = self.gradients = 0
        self.largest = 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        self.largest = max(self.largest, len(x))
        if x.requires_grad:
            self.gradients += len(x)
        return self.model(x)
