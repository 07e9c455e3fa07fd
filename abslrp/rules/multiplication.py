"""Products entry by entry: constant factors pass relevance, gates divide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from abslrp.plan.accounts import Account, Diagonal, Split, passing
from abslrp.plan.factors import Factor, above
from abslrp.registry import ABSLRP, COMMON, RuleSet
from abslrp.tape import Call, Value


def scaled(call: Call, value: Value, factor: Any) -> Account:
    """One-to-one: unchanged (SPEC 1.2)."""
    keeps = isinstance(factor, (int, float)) and factor >= 0
    return passing(value, nonnegative=keeps and value.nonnegative)


def register(rules: RuleSet, gate: Callable[[Call], Factor]) -> None:
    """Give products entry by entry a rule: what each operand of two activations receives of R."""

    @rules.rule("mul multiply")
    def mul(call: Call, input: Any, other: Any) -> Account:
        if not isinstance(other, Value):
            return scaled(call, input, other)
        if not isinstance(input, Value):
            return scaled(call, other, input)
        sure = (input.nonnegative and other.nonnegative) or input is other
        each = [Diagonal(input), Diagonal(other)]
        return Split(before=[gate(call)], parts=each, nonnegative=sure)


# Eq. 12 for each operand with the other as its weight: R where the product is positive.
register(ABSLRP, lambda call: above(call.output))


@COMMON.rule("div divide true_divide")
def div(call: Call, input: Any, other: Any, **kwargs: Any) -> Account:
    """Hold the denominator constant; the numerator's relevance is unchanged."""
    if isinstance(input, Value):
        return scaled(call, input, other)
    return passing(other)
