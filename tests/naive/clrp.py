"""Contrastive LRP as its authors' published code computes it (Gu et al. 2018, ACCV).

Code: github.com/JindongGu/Contrastive-LRP. Two passes, the target's from its own |logit| and the
contrast's from the |logits| of all other classes ("type 1"), each map scaled to sum 1, subtracted.
Linear layers and convolutions share R by the positive contributions, without the bias, plus 1e-9 in
the denominator; the convolution that sees the image by the z-box between -2.1179 and 2.64, the
ends of ImageNet's normalised range. Max pooling splits evenly between equal winners.

The code is for VGG16. What it does not have is extended: average pooling is a linear layer, a
residual sum in proportion to its (signed) parts, a convolution and the batch norm behind it are one
layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.naive.chain import (
    LINEAR,
    Record,
    Residual,
    contrasted,
    matrix,
    merged,
    propagate,
    record,
)
from tests.naive.epsilon import stabilized

EPSILON = 1e-9
LOW, HIGH = -2.1179, 2.64


def clrp(network: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """Contrastive relevance of one sample x (1, C, H, W) for class `target`."""
    return contrasted(record(merged(network), x), target, step)


def step(entry: Record, relevance: Tensor) -> Tensor:
    layer, x, r = entry.layer, entry.x.flatten(), relevance.flatten()
    if isinstance(layer, Residual):
        a = entry.branch[-1].y
        b = entry.shortcut[-1].y if entry.shortcut else entry.x
        share = relevance.reshape(a.shape) / stabilized(a + b, EPSILON)
        return propagate(entry.branch, a * share, step) + propagate(entry.shortcut, b * share, step)
    if isinstance(layer, nn.Conv2d) and entry.first:
        return _box(x, matrix(layer, entry.x), r)
    if isinstance(layer, LINEAR):
        return _positive(x, matrix(layer, entry.x), r)
    if isinstance(layer, nn.MaxPool2d):
        return _max_pool(layer, entry.x, relevance.reshape(entry.y.shape)).flatten()
    return r


def _positive(x: Tensor, weights: Tensor, r: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for j in range(len(r)):
        z = (x * weights[j]).clamp(min=0)
        total += z / (z.sum() + EPSILON) * r[j]
    return total


def _box(x: Tensor, weights: Tensor, r: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    # The padding around the image counts as 0, not as the range's ends.
    for j in range(len(r)):
        w = weights[j]
        z = x * w - LOW * w.clamp(min=0) - HIGH * w.clamp(max=0)
        total += z / (z.sum() + EPSILON) * r[j]
    return total


def _max_pool(layer: nn.MaxPool2d, x: Tensor, r: Tensor) -> Tensor:
    size, stride, padding, gap = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    assert isinstance(size, int)
    assert isinstance(stride, int)
    assert isinstance(padding, int)
    assert isinstance(gap, int)
    total = torch.zeros_like(x)
    for channel in range(r.shape[1]):
        for row in range(r.shape[2]):
            for column in range(r.shape[3]):
                window = [
                    (i, j)
                    for i in range(row * stride - padding, x.shape[2], gap)[:size]
                    for j in range(column * stride - padding, x.shape[3], gap)[:size]
                    if i >= 0 and j >= 0
                ]
                greatest = max(float(x[0, channel, i, j]) for i, j in window)
                equal = [(i, j) for i, j in window if x[0, channel, i, j] == greatest]
                for i, j in equal:
                    total[0, channel, i, j] += r[0, channel, row, column] / len(equal)
    return total
