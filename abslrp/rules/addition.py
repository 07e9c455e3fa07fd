"""Eq. 12 for sums of two operands: residual connections, biases, position embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from abslrp.blocks import blocks
from abslrp.kernels import elementwise
from abslrp.linear_maps import unbroadcast
from abslrp.operation import Operation
from abslrp.precision import working
from abslrp.registry import ABSLRP, Backward, spellings
from abslrp.rules.absolute import EPSILON


def _terms(operation: Operation, terms: list[tuple[Any, float]]) -> Backward:
    """Eq. 12 for ``h = sum of sign * term``; a constant counts in h only."""
    operation.fresh = True
    parts: list[Tensor] = []
    for term, sign in terms:
        if operation.is_active(term):
            part = term.detach() if sign == 1 else term * sign
            parts.append(part.to(working(part.dtype)))
    shapes = [part.shape for part in parts]
    if operation.inplace:
        parts = [_kept(part, operation.args[0]) for part in parts]
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


def _shares(operation: Operation, parts: list[Tensor], whole: Tensor) -> list[Tensor]:
    """``part+ / (|whole| + epsilon)`` for every part."""
    fused = [elementwise("positive_share", EPSILON, part, whole) for part in parts]
    made = [one for one in fused if one is not None]
    if len(made) == len(parts):
        return made
    shares = [part.new_empty(whole.shape) for part in parts]
    for rows in blocks(whole):
        one = whole[rows].to(shares[0].dtype)
        memory = torch.abs(one, out=operation.scratch(one)).add_(EPSILON)
        for share, part in zip(shares, parts, strict=True):
            torch.clamp(part.expand_as(whole)[rows], min=0, out=share[rows]).div_(memory)
    return shares


def _kept(part: Tensor, overwritten: Tensor) -> Tensor:
    """Return what eq. 12 needs of a term, in memory that the call does not write to."""
    shared = part.untyped_storage().data_ptr() == overwritten.untyped_storage().data_ptr()
    return part.clamp(min=0) if shared else part


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
