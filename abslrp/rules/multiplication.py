"""Products entry by entry: constant factors pass relevance, gates divide it."""

from __future__ import annotations

from typing import Any

from abslrp.plan.accounts import Account, Diagonal, Split, passing
from abslrp.plan.factors import above
from abslrp.registry import ABSLRP, COMMON
from abslrp.tape import Call, Value


def scaled(call: Call, value: Value, factor: Any) -> Account:
    """One-to-one: unchanged (SPEC 1.2)."""
    keeps = isinstance(factor, (int, float)) and factor >= 0
    return passing(value, nonnegative=keeps and value.nonnegative)


@ABSLRP.rule("mul multiply")
def mul(call: Call, input: Any, other: Any) -> Account:
    """Of two activations: eq. 12 for each operand, R where the product is positive."""
    if not isinstance(other, Value):
        return scaled(call, input, other)
    if not isinstance(input, Value):
        return scaled(call, other, input)
    sure = (input.nonnegative and other.nonnegative) or input is other
    return Split(
        before=[above(call.output)], parts=[Diagonal(input), Diagonal(other)], nonnegative=sure
    )


@COMMON.rule("div divide true_divide")
def div(call: Call, input: Any, other: Any, **kwargs: Any) -> Account:
    """Hold the denominator constant; the numerator's relevance is unchanged."""
    if isinstance(input, Value):
        return scaled(call, input, other)
    return passing(other)
