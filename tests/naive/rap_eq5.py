"""RAP as equation 5 of the paper words it.

With z_ij = x_i w_ij (i = 0 the bias, eq. 2), P = sum z+, N = sum |z-|: positive contributions share
alpha R = P / (P + N) R by z+ / P, negative ones |beta| R by |z-| / N, so each takes
|z| / (P + N) R. (As printed beta is negative; the text speaks of the relative magnitude, and of
attributions that add up.) Then the mean difference between the sums of the two layers' relevance,
here what the bias took, comes off the non-zero relevances. The paper says no more; batch norms,
sums and poolings are those of RAP's code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.naive.chain import (
    LINEAR,
    Record,
    Residual,
    bias_of,
    from_target,
    matrix,
    propagate,
    record,
)
from tests.naive.rap import divide


def rap_eq5(network: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """Relevance of one sample x (1, C, H, W) for class `target`, from 1 at that class."""
    return from_target(record(network, x), target, _step)


def _step(entry: Record, relevance: Tensor) -> Tensor:
    layer, x, r = entry.layer, entry.x.flatten(), relevance.flatten()
    if isinstance(layer, Residual):
        a = entry.branch[-1].y
        b = entry.shortcut[-1].y if entry.shortcut else entry.x
        share = divide(relevance.reshape(a.shape), a + b)
        return propagate(entry.branch, a * share, _step) + propagate(
            entry.shortcut, b * share, _step
        )
    if isinstance(layer, nn.BatchNorm2d):
        return torch.where(x != 0, r, torch.zeros_like(r))
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        return by_magnitude(x, matrix(layer, entry.x), bias_of(layer, entry.y), r)
    if isinstance(layer, (*LINEAR, nn.MaxPool2d)):
        weights = matrix(layer, entry.x)
        return x * (weights.T @ divide(r, weights @ x))
    return r


def by_magnitude(x: Tensor, weights: Tensor, bias: Tensor, r: Tensor) -> Tensor:
    """Shares of |x_i w_ij| / (P + N) of each R_j, then the mean difference subtracted."""
    total = torch.zeros_like(x)
    for j in range(len(r)):
        z = (x * weights[j]).abs()
        total += divide(z, z.sum() + bias[j].abs()) * r[j]
    return shifted(total, r)


def shifted(relevance: Tensor, of_outputs: Tensor) -> Tensor:
    """Subtract the difference of the two sums evenly from what is not zero."""
    count = (relevance != 0).sum().clamp(min=1)
    excess = (relevance.sum() - of_outputs.sum()) / count
    return torch.where(relevance != 0, relevance - excess, relevance)
