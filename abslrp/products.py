"""Transposed products with the positive or the negative part of the weights.

The signed parts are made where they are used, in memory that the next layer uses again: held from
the forward pass on, those of all layers together would take more memory than the model, and fresh
memory costs more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from abslrp.linear_maps import LinearMap
from abslrp.precision import alike

LARGE = 2**22
"""Elements from which on a matrix is read in blocks, so that its signed part stays in the cache."""

BLOCK = 2**19
"""Elements of such a block."""

FEW = 8
"""Input channels up to which a convolution's two products are one product of twice the channels."""


Scratch: TypeAlias = Callable[[Tensor], Tensor]
"""Returns memory shaped like a tensor, for use until it is asked for again."""


def positive(call: LinearMap, s: Tensor, scratch: Scratch = torch.empty_like) -> Tensor:
    """``W+^T s``, shaped like the input."""
    if _in_blocks(call, s):
        return _blocks(call.weight, s, negative=False)[0]
    return call.transpose(s, torch.clamp(call.weight, min=0, out=scratch(call.weight)))


def of_either_sign(
    call: LinearMap, s: Tensor, scratch: Scratch = torch.empty_like
) -> tuple[Tensor, Tensor]:
    """``W+^T s`` and ``W-^T s``, each shaped like the input."""
    weight = call.weight
    if _in_blocks(call, s):
        plus, minus = _blocks(weight, s, negative=True)
        return plus, minus
    if call.channel_axis is not None and weight.shape[1] <= FEW:
        both = call.transpose(s, torch.cat([weight.clamp(min=0), weight.clamp(max=0)], 1))
        plus, minus = both.chunk(2, call.channel_axis)
        return plus.contiguous(), minus
    plus = call.transpose(s, torch.clamp(weight, min=0, out=scratch(weight)))
    return plus, call.transpose(s, torch.clamp(weight, max=0, out=scratch(weight)))


def _in_blocks(call: LinearMap, s: Tensor) -> bool:
    """Whether reading the weights costs more than multiplying with them."""
    weight = call.weight
    return (
        call.is_linear
        and not weight.is_cuda
        and weight.numel() >= LARGE
        and s.numel() // len(weight) <= 256
    )


def _blocks(weight: Tensor, s: Tensor, *, negative: bool) -> list[Tensor]:
    (flat,) = alike(s.reshape(-1, len(weight)))
    results = [flat.new_zeros(len(flat), weight.shape[1]) for _ in range(1 + negative)]
    rows = max(1, BLOCK // weight.shape[1])
    memory = flat.new_empty(rows, weight.shape[1])
    for start in range(0, len(weight), rows):
        block = weight[start : start + rows]
        block = block.to(flat.dtype)
        part, columns = memory[: len(block)], flat[:, start : start + rows]
        results[0].addmm_(columns, torch.clamp(block, min=0, out=part))
        if negative:
            results[1].addmm_(columns, torch.clamp(block, max=0, out=part))
    return [one.reshape(*s.shape[:-1], weight.shape[1]) for one in results]
