"""LRP-alpha-beta (eq. 4; Bach et al. 2015, eq. 60), the bias among the contributions (eq. 2).

R_i = sum_j (alpha z+_ij / P_j - beta z-_ij / N_j) R_j, P_j (N_j) the sum of the positive (negative)
contributions to output j, its bias included, moved away from 0 by 1e-6. What these do not say is as
in `tests.naive.epsilon`, with 1e-6: Zennit's convention.
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
from tests.naive.epsilon import stabilized

EPSILON = 1e-6


def lrp_alpha_beta(
    network: nn.Sequential, x: Tensor, target: int, alpha: float, beta: float
) -> Tensor:
    """Relevance of one sample x (1, C, H, W) for class `target`, from 1 at that class."""
    step = partial(_step, alpha=alpha, beta=beta)
    return from_target(record(merged(network), x), target, step)


def _step(entry: Record, relevance: Tensor, alpha: float, beta: float) -> Tensor:
    layer, x, r = entry.layer, entry.x.flatten(), relevance.flatten()
    if isinstance(layer, Residual):
        a = entry.branch[-1].y
        b = entry.shortcut[-1].y if entry.shortcut else entry.x
        share = relevance.reshape(a.shape) / stabilized(a + b, EPSILON)
        step = partial(_step, alpha=alpha, beta=beta)
        return propagate(entry.branch, a * share, step) + propagate(entry.shortcut, b * share, step)
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        weights, bias = matrix(layer, entry.x), bias_of(layer, entry.y)
        total = torch.zeros_like(x)
        for j in range(len(r)):
            total += shares(x * weights[j], bias[j], alpha, beta) * r[j]
        return total
    if isinstance(layer, LINEAR):
        weights = matrix(layer, entry.x)
        return x * (weights.T @ (r / stabilized(weights @ x, EPSILON)))
    if isinstance(layer, nn.MaxPool2d):
        return matrix(layer, entry.x).T @ r
    return r


def shares(z: Tensor, bias: Tensor | float, alpha: float, beta: float) -> Tensor:
    """What each contribution z_i to one output takes of its relevance."""
    rising, falling = z.clamp(min=0), z.clamp(max=0)
    positive = rising.sum() + max(float(bias), 0.0) + EPSILON
    negative = falling.sum() + min(float(bias), 0.0) - EPSILON
    return alpha * rising / positive - beta * falling / negative
