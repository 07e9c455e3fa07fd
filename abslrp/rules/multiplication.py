"""Products entry by entry: constant factors pass relevance, gates divide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, Diagonal, Split, UncoveredError, passing, same
from abslrp.plan.factors import Factor, above
from abslrp.registry import ABSLRP, COMMON, RuleSet
from abslrp.rules.absolute import EPSILON
from abslrp.tape import Call, Value


def scaled(value: Value, factor: Any) -> Diagonal:
    """One-to-one: unchanged (SPEC 1.2); of a factor below 0, as relevance of the negative."""
    number = isinstance(factor, (int, float))
    known = number or (isinstance(factor, Tensor) and factor.is_floating_point())
    keeps = number and factor >= 0 and value.nonnegative
    said = {"nonnegative": keeps, "scale": factor if known else None}
    if not number or factor == 0:
        return passing(value, **said)
    return same(value, 1 if factor > 0 else -1, **said)


Share = Callable[[Tensor, Tensor], Tensor]
"""From contributions and their sum to the share of relevance that each receives."""


def turned(call: Call, value: Value, factor: Tensor, share: Share) -> Account:
    """Take ``(a + ib)(c + id)`` for its two sums, ``p = ac - bd`` and ``q = ad + bc``."""

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        x, h = value.tensor, call.output.tensor
        of_p, of_q = relevance.real, relevance.imag
        first = share(x.real * factor.real, h.real) * of_p
        first = first + share(x.real * factor.imag, h.imag) * of_q
        if not x.is_complex():
            return [first]
        second = share(-x.imag * factor.imag, h.real) * of_p
        return [torch.complex(first, second + share(x.imag * factor.real, h.imag) * of_q)]

    return Custom(propagate)


def register(rules: RuleSet, gate: Callable[[Call], Factor], share: Share) -> None:
    """Give products entry by entry a rule.

    Parameters
    ----------
    rules
        Where it is registered.
    gate
        What each operand of a product of two activations receives of R.
    share
        That of complex factors.
    """

    def by_constant(call: Call, value: Value, factor: Any) -> Account:
        if isinstance(factor, Tensor) and factor.is_complex():
            return turned(call, value, factor, share)
        return scaled(value, factor)

    @rules.rule("mul multiply")
    def mul(call: Call, input: Any, other: Any) -> Account:
        if not isinstance(other, Value):
            return by_constant(call, input, other)
        if not isinstance(input, Value):
            return by_constant(call, other, input)
        if call.output.dtype.is_complex:
            raise UncoveredError("a product of two complex activations")
        sure = (input.nonnegative and other.nonnegative) or input is other
        each = [Diagonal(input), Diagonal(other)]
        return Split(before=[gate(call)], parts=each, nonnegative=sure)


# Eq. 12 for each operand with the other as its weight: R where the product is positive.
register(ABSLRP, lambda call: above(call.output), lambda z, h: z.clamp(min=0) / (h.abs() + EPSILON))


@COMMON.rule("neg negative")
def neg(call: Call, input: Value) -> Account:
    """One-to-one: what makes the negative of the input larger has its relevance."""
    return scaled(input, -1)


@COMMON.rule("div divide true_divide")
def div(call: Call, input: Any, other: Any, **kwargs: Any) -> Account:
    """Hold the denominator constant; the numerator is scaled."""
    if not isinstance(input, Value):
        return passing(other)
    account = scaled(input, other)
    if account.scale is not None:
        known = not kwargs and not (isinstance(other, (int, float)) and other == 0)
        account.scale = 1 / account.scale if known else None
    return account
