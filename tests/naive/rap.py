"""RAP as its authors' published code computes it (Nam et al. 2020, AAAI).

Code: github.com/wjNam/Relative_Attributing_Propagation, ``modules/layers.py``. Relevance starts as
1 at the explained class. Everywhere 0 / 0 is 0.

- Last linear layer (its relevance has maximum 1): each contribution x_i w_i to the class's logit is
  scaled by logit / (logit - bias), then the signed total is shared by absolute value.
- Other linear layers and convolutions: positive and negative inputs are propagated apart. In each
  half, contributions through positive weights ("lead") take the share |z| / P of R, those through
  negative weights ("other") |z| / (P + N) on top, P and N the sums of absolute contributions; the
  excess over the sum of R is then taken off the non-zero relevances evenly. In convolutions a
  negative R goes to "other" alone: by |z| / N and by |z| / (P + N).
- The convolution that sees the image: z-box between the image's least and greatest value.
- Poolings and residual sums: in proportion to the contribution. Batch norm: unchanged. Two
  branches that leave one tensor: their relevances add up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.naive.chain import (
    LINEAR,
    Record,
    Residual,
    bias_of,
    contrasted,
    from_target,
    matrix,
    propagate,
    record,
)


def rap(network: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """Relevance of one sample x (1, C, H, W) for class `target`."""
    return from_target(record(network, x), target, step)


def crap(network: nn.Sequential, x: Tensor, target: int) -> Tensor:
    """Nam et al.'s rules from the two starts of Gu et al.'s code; each map scaled to sum 1."""
    return contrasted(record(network, x), target, step)


def step(entry: Record, relevance: Tensor) -> Tensor:
    layer, x, r = entry.layer, entry.x.flatten(), relevance.flatten()
    if isinstance(layer, Residual):
        a = entry.branch[-1].y
        b = entry.shortcut[-1].y if entry.shortcut else entry.x
        share = divide(relevance.reshape(a.shape), a + b)
        return propagate(entry.branch, a * share, step) + propagate(entry.shortcut, b * share, step)
    if isinstance(layer, nn.BatchNorm2d):
        gamma = layer.weight.repeat_interleave(x.numel() // layer.num_features)
        return torch.where(x * gamma != 0, r, torch.zeros_like(r))
    if isinstance(layer, nn.Conv2d) and entry.first:
        return z_box(x, matrix(layer, entry.x), r, float(x.min()), float(x.max()))
    if isinstance(layer, nn.Linear) and float(r.max()) == 1:
        return last_linear(x, layer, r)
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        return relative(x, matrix(layer, entry.x), r, isinstance(layer, nn.Conv2d))
    if isinstance(layer, (*LINEAR, nn.MaxPool2d)):
        weights = matrix(layer, entry.x)
        return x * (weights.T @ divide(r, weights @ x))
    return r


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0."""
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, 1.0, b))


def last_linear(x: Tensor, layer: nn.Linear, r: Tensor) -> Tensor:
    """The linear layer that makes the logits."""
    target = int(r.argmax())
    z = x * layer.weight[target]
    bias = bias_of(layer, r)[target]
    # The code gives the bias to contributions of positive inputs only.
    rising = x.clamp(min=0) * layer.weight[target].clamp(min=0)
    falling = x.clamp(min=0) * layer.weight[target].clamp(max=0)
    positive, negative = z.clamp(min=0).sum(), z.clamp(max=0).sum()
    z = z + divide(rising, rising.sum()) * bias * divide(positive, positive + negative)
    z = z + divide(falling, falling.sum()) * bias * divide(negative, positive + negative)
    return divide(z.abs(), z.abs().sum()) * z.sum()


def relative(x: Tensor, weights: Tensor, r: Tensor, convolution: bool) -> Tensor:
    """The rule of hidden linear layers and of convolutions."""
    total = torch.zeros_like(x)
    for half in (x.clamp(min=0), x.clamp(max=0)):
        share = torch.zeros_like(x)
        for j in range(len(r)):
            if r[j] == 0:
                continue
            lead = (half * weights[j].clamp(min=0)).abs()
            other = (half * weights[j].clamp(max=0)).abs()
            p, n = lead.sum(), other.sum()
            first, first_sum = (other, n) if convolution and r[j] < 0 else (lead, p)
            share += divide(first, first_sum) * r[j]
            share += divide(other, p + n) * r[j]
        count = (share != 0).sum()
        if count > 0:
            share = torch.where(share != 0, share - (share.sum() - r.sum()) / count, share)
        total += share
    return total


def z_box(x: Tensor, weights: Tensor, r: Tensor, low: float, high: float) -> Tensor:
    """Contributions counted from the least (greatest) possible input for w > 0 (w < 0)."""
    total = torch.zeros_like(x)
    for j in range(len(r)):
        w = weights[j]
        z = x * w - low * w.clamp(min=0) - high * w.clamp(max=0)
        total += divide(z, z.sum()) * r[j]
    return total
