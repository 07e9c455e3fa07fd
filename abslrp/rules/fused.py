"""Other forms of products and sums, written out so that the rules of their parts apply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from abslrp.markers import Decomposed
from abslrp.registry import COMMON, Function, spellings


def _sum(input: Tensor, term: Tensor, into: bool) -> Tensor:
    return input.add_(term) if into else input + term


def _times(tensor: Any, factor: Any) -> Any:
    return tensor if isinstance(factor, (int, float)) and factor == 1 else tensor * factor


def addcmul(into: bool, input: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return _sum(input, _times(tensor1 * tensor2, value), into)


def addcdiv(into: bool, input: Tensor, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return _sum(input, _times(tensor1 / tensor2, value), into)


def lerp(into: bool, input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``(1 - weight) * input + weight * end``."""
    return _sum(input.mul_(1 - weight) if into else input * (1 - weight), end * weight, into)


def baddbmm(
    into: bool, input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """``beta * input + alpha * batch1 @ batch2``."""
    product = _times(batch1 @ batch2, alpha)
    if isinstance(beta, (int, float)) and beta == 0:  # torch then ignores the input, even NaN
        return _sum(input.zero_() if into else torch.zeros_like(product), product, into)
    if into and not (isinstance(beta, (int, float)) and beta == 1):
        input = input.mul_(beta)
        beta = 1
    return _sum(_times(input, beta), product, into)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Write ``a * sigmoid(b)`` of the input's two halves."""
    a, b = input.chunk(2, dim)
    return a * torch.sigmoid(b)


def _written_out(body: Callable[..., Tensor], function: Function) -> Decomposed:
    into = getattr(function, "__name__", "").endswith("_")

    def call(*args: Any, **kwargs: Any) -> Tensor:
        return body(into, *args, **kwargs)

    call.__name__ = body.__name__
    return Decomposed(call)


for _body in (addcmul, addcdiv, lerp, baddbmm):
    for _function in spellings(_body.__name__):
        COMMON.rule(_function)(_written_out(_body, _function))

COMMON.rule(spellings("glu", inplace=False), torch._C._nn.glu)(Decomposed(glu))
COMMON.rule(torch.linalg.matmul)(Decomposed(torch.matmul))
