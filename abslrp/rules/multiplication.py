"""Products entry by entry: constant factors pass relevance, gates divide it."""

from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from abslrp.plan.accounts import Account, Diagonal, Split, passing, same, signed
from abslrp.plan.factors import Factor, Source, above, turned
from abslrp.registry import ABSLRP, COMMON, RuleSet
from abslrp.tape import Call, Value


def scaled(value: Value, factor: Any, own: bool = False) -> Diagonal:
    """One-to-one: unchanged; of a factor below 0, as relevance of the negative.

    ``own``: each sample has its factor, though one sample alone has one.
    """
    number = isinstance(factor, (int, float))
    known = number or (isinstance(factor, Tensor) and factor.is_floating_point())
    keeps = number and factor >= 0 and value.nonnegative
    sign = -1 if not own and _below(factor) else 1
    return same(value, sign=sign, nonnegative=keeps, scale=factor if known else None)


#: Of factors on a GPU, as they were read last.
_BELOW: MutableMapping[Tensor, bool] = WeakTensorKeyDictionary()


def _below(factor: Any) -> bool:
    """Whether a factor is one number, and that is below 0."""
    if isinstance(factor, (int, float)):
        return factor < 0
    if not isinstance(factor, Tensor) or factor.numel() != 1 or factor.is_complex():
        return False
    if not factor.is_cuda:
        return bool(factor < 0)
    # While kernels are recorded no number can be read, but that of a parameter is known by then.
    if factor not in _BELOW or not torch.cuda.is_current_stream_capturing():
        _BELOW[factor] = bool(factor < 0)
    return _BELOW[factor]


def register(rules: RuleSet, gate: Callable[[Source], Factor]) -> None:
    """Give products entry by entry a rule.

    Parameters
    ----------
    rules
        Where it is registered.
    gate
        What each operand of a product of two activations receives of R, by the product.
    """

    @signed
    def product(call: Call, parts: list[Diagonal], sure: bool, *, sign: int) -> Split:
        return Split(before=[gate(turned(call.output, sign))], parts=parts, nonnegative=sure)

    @rules.rule("mul multiply")
    def mul(call: Call, input: Any, other: Any) -> Account:
        if not isinstance(other, Value):
            return scaled(input, other, call.shadowed)
        if not isinstance(input, Value):
            return scaled(other, input, call.shadowed)
        sure = (input.nonnegative and other.nonnegative) or input is other
        return product(call, [Diagonal(input), Diagonal(other)], sure)


# Eq. 12 for each operand with the other as its weight: R where the product is positive.
register(ABSLRP, above)


@COMMON.rule("neg negative")
def neg(call: Call, input: Value) -> Account:
    """One-to-one: what makes the negative of the input larger has its relevance."""
    return scaled(input, -1)


@COMMON.rule("div divide true_divide")
def div(call: Call, input: Any, other: Any, **kwargs: Any) -> Account:
    """Hold the denominator constant; the numerator is scaled."""
    if not isinstance(input, Value):
        return passing(other)
    account = scaled(input, other, call.shadowed)
    if account.scale is not None:
        known = not kwargs and not (isinstance(other, (int, float)) and other == 0)
        account.scale = 1 / account.scale if known else None
    return account
