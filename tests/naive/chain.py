"""Small float64 networks, their forward pass written down, and each linear layer as one matrix.

A network is an ``nn.Sequential`` of layers and of `Residual` blocks. One sample at a time: `record`
keeps each layer's input and output, `matrix` gives a layer's weights as (outputs, inputs), so that
a rule is a loop over outputs whatever the layer is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LINEAR = (nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


class Residual(nn.Module):
    """A residual block: the sum of two branches."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.branch(x) + self.shortcut(x)
        return total


@dataclass
class Record:
    """One layer of one sample's forward pass."""

    layer: nn.Module
    x: Tensor
    y: Tensor
    first: bool
    branch: list[Record] = field(default_factory=list)
    shortcut: list[Record] = field(default_factory=list)


def record(layers: Iterable[nn.Module], x: Tensor, first: bool = True) -> list[Record]:
    """Run one sample (batch of 1) and keep what each layer saw; `first`: x is the model's input."""
    kept = []
    for layer in layers:
        y = layer(x).detach()
        entry = Record(layer, x, y, first)
        if isinstance(layer, Residual):
            entry.branch = record(layer.branch, x, first)
            entry.shortcut = record(layer.shortcut, x, first)
        kept.append(entry)
        x, first = y, False
    return kept


Step = Callable[[Record, Tensor], Tensor]
"""From one layer and the relevance of its output to that of its input, flat."""


def propagate(records: list[Record], relevance: Tensor, step: Step) -> Tensor:
    """From the last record's output back to the first record's input."""
    for entry in reversed(records):
        relevance = step(entry, relevance).reshape(entry.x.shape)
    return relevance


def from_target(records: list[Record], target: int, step: Step) -> Tensor:
    """Propagate from 1 at a class."""
    start = torch.zeros_like(records[-1].y)
    start[0, target] = 1
    return propagate(records, start, step)


def contrasted(records: list[Record], target: int, step: Step) -> Tensor:
    """From the target's |logit| and from those of all others; each map scaled to sum 1."""
    logits = records[-1].y
    maps = []
    for classes in ([target], [k for k in range(logits.numel()) if k != target]):
        start = torch.zeros_like(logits)
        start[0, classes] = logits[0, classes].abs()
        relevance = propagate(records, start, step)
        maps.append(relevance / relevance.sum())
    return maps[0] - maps[1]


def matrix(layer: nn.Module, x: Tensor) -> Tensor:
    """Weights W of a linear layer or a pooling, (outputs, inputs), so that y = W x + bias."""
    if isinstance(layer, nn.MaxPool2d):
        return winners(layer, x)
    inputs = torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
    at_zero = layer(torch.zeros_like(x))
    columns: Tensor = (layer(inputs) - at_zero).detach().reshape(x.numel(), -1)
    return columns.T


def winners(layer: nn.MaxPool2d, x: Tensor) -> Tensor:
    """Each output of a max pooling as its first greatest input."""
    _, place = F.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, return_indices=True)
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    chosen = torch.zeros(place.numel(), x.numel(), dtype=x.dtype)
    outputs_per_channel = place.numel() // channels
    for output, where in enumerate(place.flatten().tolist()):
        chosen[output, output // outputs_per_channel * pixels + where] = 1
    return chosen


def margin(records: list[Record], dead: bool = False) -> float:
    """How far every ReLU's input is from 0, and every pooled maximum above the next, at least.

    If `dead`, windows of zeros do not count: before them is a ReLU that sends back nothing.
    """
    least = float("inf")
    for entry in records:
        if isinstance(entry.layer, nn.ReLU):
            least = min(least, float(entry.x.abs().min()))
        if isinstance(entry.layer, nn.MaxPool2d):
            size, stride = entry.layer.kernel_size, entry.layer.stride
            windows = F.unfold(entry.x, size, stride=stride)
            count = windows.shape[1] // entry.x.shape[1]
            two = windows.reshape(entry.x.shape[1], count, -1).topk(2, 1).values
            winner, next_one = two.unbind(1)
            apart = (winner - next_one)[(winner != 0) | (not dead)]
            least = min(least, float(apart.min()))
        least = min(least, margin(entry.branch, dead), margin(entry.shortcut, dead))
    return least


def bias_of(layer: nn.Module, y: Tensor) -> Tensor:
    """The bias of each output, flat; zeros where the layer has none."""
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, Tensor):
        return torch.zeros(y.numel(), dtype=y.dtype)
    per_channel = y.numel() // bias.numel()
    return bias.detach().repeat_interleave(per_channel)


def merged(layers: nn.Sequential) -> nn.Sequential:
    """The same function with each convolution and the batch norm behind it as one convolution."""
    made: list[nn.Module] = []
    for layer in layers:
        before = made[-1] if made else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            made[-1] = nn.utils.fuse_conv_bn_eval(before, layer)
        elif isinstance(layer, Residual):
            made.append(Residual(merged(layer.branch), merged(layer.shortcut)))
        else:
            made.append(layer)
    return nn.Sequential(*made).eval()


def plain_network(seed: int = 3) -> nn.Sequential:
    """Convolutions, ReLU, max pooling, two linear layers; input (1, 3, 8, 8)."""
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 7),
        nn.ReLU(),
        nn.Linear(7, 4),
    )
    return filled(layers, seed)


def residual_network() -> nn.Sequential:
    """Batch norms, one identity and one projected shortcut, average pooling; input (1, 3, 8, 8)."""
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Residual(_branch(4, 4, 1), nn.Sequential()),
        nn.ReLU(),
        Residual(
            _branch(4, 6, 2),
            nn.Sequential(nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6)),
        ),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    return filled(layers, seed=2)


def smooth_network() -> nn.Sequential:
    """Groups, average pooling, a tanh, so features of both signs; input (1, 3, 8, 8)."""
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, groups=3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Tanh(),
        nn.Conv2d(5, 6, 2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(54, 4),
    )
    return filled(layers, seed=5)


def lively(network: nn.Sequential) -> nn.Sequential:
    """The network with 1 added before its ReLUs of images: no pooled window is all 0, a tie."""
    for before, layer in itertools.pairwise(network):
        if isinstance(layer, nn.ReLU) and isinstance(before, (nn.Conv2d, nn.BatchNorm2d)):
            assert before.bias is not None
            before.bias.data += 1
    return network


def _branch(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    )


def filled(network: nn.Sequential, seed: int) -> nn.Sequential:
    """Seeded float64 parameters and statistics, none of them 0 or 1; eval mode."""
    draw = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            fan = layer.weight[0].numel()
            layer.weight.data = torch.randn(layer.weight.shape, generator=draw).double() / fan**0.5
            if layer.bias is not None:
                layer.bias.data = torch.randn(layer.bias.shape, generator=draw).double() / 4
        if isinstance(layer, nn.BatchNorm2d):
            for part in (layer.running_var, layer.weight, layer.running_mean, layer.bias):
                assert part is not None
                values = torch.rand(part.shape, generator=draw).double()
                part.data = (
                    values + 0.5
                    if part is layer.running_var or part is layer.weight
                    else values - 0.5
                )
    return network.requires_grad_(False)
