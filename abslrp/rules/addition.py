"""Eq. 12 for sums of two operands: residual connections, biases, position embeddings."""

from __future__ import annotations

from typing import Any

import torch

from abslrp.plan.accounts import Account, Diagonal, Split
from abslrp.plan.factors import Factor, constant, inverse, negative, positive
from abslrp.registry import ABSLRP
from abslrp.rules.absolute import EPSILON
from abslrp.tape import Call, Value


def terms(call: Call, given: list[tuple[Any, float]]) -> Account:
    """``R_a = a+ s`` for ``h = sum of sign * a``; a constant counts in h only."""
    before = [inverse(call.output, EPSILON)]
    parts = [Diagonal(a, _positive(a, sign)) for a, sign in given if isinstance(a, Value)]
    sure = all(sign > 0 and isinstance(a, Value) and a.nonnegative for a, sign in given)
    if len(parts) == 1:
        return Diagonal(parts[0].input, [*before, *parts[0].factors], nonnegative=sure)
    return Split(before=before, parts=parts, nonnegative=sure)


def _positive(value: Value, sign: float) -> list[Factor]:
    one = positive(value) if sign > 0 else negative(value)
    return [one] if abs(sign) == 1 else [one, constant(abs(sign))]


@ABSLRP.rule(torch.ops.aten.add)
def add(call: Call, input: Any, other: Any, *, alpha: float = 1) -> Account:
    """``R_a = a+ s, R_b = b+ s`` with ``s = R / (|a + b| + epsilon)``."""
    return terms(call, [(input, 1.0), (other, alpha)])


@ABSLRP.rule("sub subtract")
def sub(call: Call, input: Any, other: Any, *, alpha: float = 1) -> Account:
    """Add the negated operand."""
    return terms(call, [(input, 1.0), (other, -alpha)])


@ABSLRP.rule(torch.ops.aten.rsub)
def rsub(call: Call, input: Any, other: Any, alpha: float = 1) -> Account:
    """Subtract with the operands exchanged."""
    return terms(call, [(input, -alpha), (other, 1.0)])
