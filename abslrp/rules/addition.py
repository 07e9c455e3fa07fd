"""Eq. 12 for sums of two operands: residual connections, biases, position embeddings."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from abslrp.plan.accounts import Account, Diagonal, Split, signed
from abslrp.plan.factors import constant, inverse, negative, positive
from abslrp.registry import ABSLRP, RuleSet
from abslrp.rules.absolute import EPSILON
from abslrp.rules.multiplication import scaled
from abslrp.tape import Call, Value


def shares(
    given: list[tuple[Any, float]], part: Callable[[Value, float], Diagonal]
) -> tuple[list[Diagonal], bool]:
    """Return the part of each value, and whether no entry of the sum can be negative."""
    parts = [part(a, sign) for a, sign in given if isinstance(a, Value)]
    return parts, all(sign > 0 and isinstance(a, Value) and a.nonnegative for a, sign in given)


@signed
def absolute(call: Call, given: list[tuple[Any, float]], *, sign: int) -> Account:
    """``R_a = a+ s``, ``s = R / (|h| + epsilon)``; a constant counts in h only."""
    given, before = [(a, sign * one) for a, one in given], [inverse(call.output, EPSILON)]
    parts, sure = shares(given, _positive)
    if len(parts) == 1:
        return replace(parts[0], factors=[*before, *parts[0].factors], nonnegative=sure)
    return Split(before=before, parts=parts, nonnegative=sure)


def _positive(value: Value, sign: float) -> Diagonal:
    """Of -a, which what makes -a larger gets, if the sign is below 0."""
    one = positive(value) if sign > 0 else negative(value)
    factors = [one] if abs(sign) == 1 else [one, constant(abs(sign))]
    return Diagonal(value, factors, negates=sign < 0)


def register(rules: RuleSet, terms: Callable[[Call, list[tuple[Any, float]]], Account]) -> None:
    """Give sums and differences a rule, which takes their operands with their factors."""

    @rules.rule("add sub subtract rsub")
    def sum_of(call: Call, input: Any, other: Any, alpha: float = 1) -> Account:
        factors = {"add": (1.0, alpha), "rsub": (-alpha, 1.0)}.get(call.short, (1.0, -alpha))
        given = zip((input, other), factors, strict=True)
        # What adds the number 0, as Python's sum does, or takes from it, adds nothing.
        left: list[Any] = [(a, by) for a, by in given if isinstance(a, (Value, torch.Tensor)) or a]
        return scaled(*left[0]) if len(left) == 1 else terms(call, left)


register(ABSLRP, absolute)
