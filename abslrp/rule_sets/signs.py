"""Contributions to a linear map told apart by their sign, as alpha-beta rules and RAP need them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from abslrp.linear_maps import LinearMap


class Sums(NamedTuple):
    """``positive = sum of (x_i w_ij)+``, ``negative = sum of (x_i w_ij)-`` <= 0, both like h."""

    positive: Tensor
    negative: Tensor


def sums(call: LinearMap, *, nonnegative: bool) -> Sums:
    """Sum the contributions of either sign, without bias; two products, four if x has two signs.

    Examples
    --------
    >>> import torch
    >>> from abslrp.linear_maps import LinearMap
    >>> x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    >>> call = LinearMap(x, w, None, lambda s, w: s @ w, lambda x, w: x @ w.T)
    >>> [one.item() for one in sums(call, nonnegative=True)]
    [3.0, -2.0]
    """
    x, plus, minus = call.input, call.weight.clamp(min=0), call.weight.clamp(max=0)
    if nonnegative:
        return Sums(call.forward(x, plus), call.forward(x, minus))
    high, low = x.clamp(min=0), x.clamp(max=0)
    return Sums(
        call.forward(high, plus) + call.forward(low, minus),
        call.forward(high, minus) + call.forward(low, plus),
    )


def gather(
    call: LinearMap, positive: Tensor, negative: Tensor | None, *, nonnegative: bool
) -> Tensor:
    """Relevance of the input: ``R_i = sum_j (x_i w_ij)+ positive_j + (x_i w_ij)- negative_j``."""
    x, plus, minus = call.input, call.weight.clamp(min=0), call.weight.clamp(max=0)
    result = call.transpose(positive, plus)
    if negative is not None:
        result = result + call.transpose(negative, minus)
    if nonnegative:
        return result * x
    other = call.transpose(positive, minus)
    if negative is not None:
        other = other + call.transpose(negative, plus)
    return result * x.clamp(min=0) + other * x.clamp(max=0)


def bias_of(call: LinearMap) -> Tensor | None:
    """Return the bias shaped so that it broadcasts against the output."""
    if call.bias is None or call.weight.ndim < 3:
        return call.bias
    return call.bias.reshape(-1, *[1] * (call.weight.ndim - 2))  # a convolution's channels
