"""Eq. 12 for sums of two operands: residual connections, biases, position embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from abslrp.blocks import blocks
from abslrp.kernels import elementwise
from abslrp.linear_maps import unbroadcast
from abslrp.operation import Operation
from abslrp.precision import working
from abslrp.record import share_memory
from abslrp.registry import ABSLRP, Backward, spellings
from abslrp.rules.absolute import EPSILON


@dataclass(frozen=True)
class _Part:
    """What eq. 12 needs of an active term, its positive entries.

    Attributes
    ----------
    value
        The term times its sign.
    nonnegative
        Whether it is known to have no negative entry.
    spare
        Whether its memory was made for it, and may be overwritten.
    """

    value: Tensor
    nonnegative: bool
    spare: bool


def _part(operation: Operation, term: Tensor, sign: float) -> _Part:
    nonnegative = sign > 0 and operation.is_nonnegative(term)
    if sign != 1:
        value = term * sign
        return _Part(value.to(working(value.dtype)), nonnegative, spare=True)
    value = term.detach().to(working(term.dtype))
    if operation.inplace and share_memory(value, operation.args[0]):
        return _Part(value.clamp(min=0), nonnegative=True, spare=True)
    return _Part(value, nonnegative, spare=False)


def _terms(operation: Operation, terms: list[tuple[Any, float]]) -> Backward:
    """Eq. 12 for ``h = sum of sign * term``; a constant counts in h only."""
    operation.fresh = True
    parts = [_part(operation, term, sign) for term, sign in terms if operation.is_active(term)]
    shapes = [part.value.shape for part in parts]
    whole = operation.forward()
    if len(terms) == len(parts) and all(sign > 0 for _, sign in terms):
        operation.keeps_sign()
    gains = _shares(operation, parts, whole)

    def backward(relevance: Tensor) -> tuple[Tensor, ...]:
        # The last may overwrite the relevance, which no other needs any more.
        sent = [relevance * one for one in gains[:-1]]
        sent.append(operation.scaled(relevance, gains[-1]))
        return tuple(unbroadcast(one, shape) for one, shape in zip(sent, shapes, strict=True))

    return backward


def _shares(operation: Operation, parts: list[_Part], whole: Tensor) -> list[Tensor]:
    """``part+ / (|whole| + epsilon)`` for every part."""
    fused = [elementwise("positive_share", EPSILON, part.value, whole) for part in parts]
    made = [one for one in fused if one is not None]
    if len(made) == len(parts):
        return made
    shares = [
        part.value
        if part.spare and part.value.shape == whole.shape
        else part.value.new_empty(whole.shape)
        for part in parts
    ]
    for rows in blocks(whole):
        one = whole[rows].to(shares[0].dtype)
        memory = torch.abs(one, out=operation.scratch(one)).add_(EPSILON)
        for share, part in zip(shares, parts, strict=True):
            positive = part.value.expand_as(whole)[rows]
            if not part.nonnegative:
                positive = torch.clamp(positive, min=0, out=share[rows])
            torch.div(positive, memory, out=share[rows])
    return shares


@ABSLRP.rule(spellings("add"), Tensor.__radd__)
def add(operation: Operation, input: Any, other: Any, *, alpha: float = 1) -> Backward:
    """``R_a = a+ s, R_b = b+ s`` with ``s = R / (|a + b| + epsilon)``."""
    return _terms(operation, [(input, 1.0), (other, alpha)])


@ABSLRP.rule(spellings("sub", "subtract"))
def sub(operation: Operation, input: Any, other: Any, *, alpha: float = 1) -> Backward:
    """Add the negated operand."""
    return _terms(operation, [(input, 1.0), (other, -alpha)])


@ABSLRP.rule(Tensor.__rsub__, torch.rsub)
def rsub(operation: Operation, input: Any, other: Any, *, alpha: float = 1) -> Backward:
    """Subtract with the operands exchanged."""
    return _terms(operation, [(input, -alpha), (other, 1.0)])
