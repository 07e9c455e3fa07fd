"""Contributions to a linear map told apart by their sign, as alpha-beta rules and RAP need them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from abslrp.rules.operands import Linear


def _wide(one: Tensor) -> Tensor:
    # What the sums divide leaves the range of float16.
    return one.float() if one.dtype == torch.float16 else one


class Sums(NamedTuple):
    """``positive = sum of (x_i w_ij)+``, ``negative = sum of (x_i w_ij)-`` <= 0, both like h."""

    positive: Tensor
    negative: Tensor


def sums(given: Linear) -> Sums:
    """Sum the contributions of either sign, without bias; two products, four if x has two signs."""
    x, map = given.input.tensor, given.map
    plus, minus = map.weights.clamp(min=0), map.weights.clamp(max=0)
    if given.input.nonnegative:
        return Sums(_wide(map.forward(x, plus)), _wide(map.forward(x, minus)))
    high, low = x.clamp(min=0), x.clamp(max=0)
    return Sums(
        _wide(map.forward(high, plus)) + _wide(map.forward(low, minus)),
        _wide(map.forward(high, minus)) + _wide(map.forward(low, plus)),
    )


def gather(given: Linear, positive: Tensor, negative: Tensor | None = None) -> Tensor:
    """``R_i = sum_j (x_i w_ij)+ positive_j + (x_i w_ij)- negative_j``, for each start."""
    x, map = given.input.tensor, given.map
    weights = map.weights.to(positive.dtype)
    plus, minus = weights.clamp(min=0), weights.clamp(max=0)

    def sent(first: Tensor, second: Tensor) -> Tensor:
        result = map.transposed(positive, first)
        return result if negative is None else result + map.transposed(negative, second)

    if given.input.nonnegative:
        return sent(plus, minus) * x
    return sent(plus, minus) * x.clamp(min=0) + sent(minus, plus) * x.clamp(max=0)
