"""LRP-epsilon (eq. 3; Bach et al. 2015), the bias among the contributions (eq. 2).

R_i = sum_j z_ij / (h_j + epsilon) R_j with epsilon's sign that of h_j, so that it keeps |h_j| away
from 0, as TorchLRP (github.com/fhvilshoj/TorchLRP, epsilon 0.1) does; the paper prints plus
epsilon. Of what these do not say, the convention is Zennit's: a convolution and the batch norm
behind it are one layer; a sum has two contributions; a max pooling gives all to the winner, an
activation function passes relevance on.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from tests.naive.chain import (
    LINEAR,
    Record,
    Residual,
    bias_of,
    from_target,
    matrix,
    merged,
    propagate,
    record,
)


def lrp_epsilon(network: nn.Sequential, x: Tensor, target: int, epsilon: float) -> Tensor:
    """Relevance of one sample x (1, C, H, W) for class `target`, from 1 at that class."""
    return from_target(record(merged(network), x), target, partial(_step, epsilon=epsilon))


def stabilized(h: Tensor, epsilon: float) -> Tensor:
    """h moved away from 0 by epsilon."""
    return torch.where(h > 0, h + epsilon, h - epsilon)


def _step(entry: Record, relevance: Tensor, epsilon: float) -> Tensor:
    layer, x, r = entry.layer, entry.x.flatten(), relevance.flatten()
    if isinstance(layer, Residual):
        a = entry.branch[-1].y
        b = entry.shortcut[-1].y if entry.shortcut else entry.x
        share = relevance.reshape(a.shape) / stabilized(a + b, epsilon)
        step = partial(_step, epsilon=epsilon)
        return propagate(entry.branch, a * share, step) + propagate(entry.shortcut, b * share, step)
    if isinstance(layer, LINEAR):
        weights, bias = matrix(layer, entry.x), bias_of(layer, entry.y)
        total = torch.zeros_like(x)
        for j in range(len(r)):
            z = x * weights[j]
            total += z / stabilized(z.sum() + bias[j], epsilon) * r[j]
        return total
    if isinstance(layer, nn.MaxPool2d):
        return matrix(layer, entry.x).T @ r
    return r
