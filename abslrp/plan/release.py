"""Which of a rectifier's two values need not be kept, told while the model runs.

What a rectifier takes and what it returns are the same where that is positive. Elsewhere it returns
0, and if all that use it send relevance in proportion to it, relevance is 0 there: it does not
matter what it is multiplied by on the way on. So the one tensor serves for both.
"""

from collections.abc import Iterator

from abslrp.plan.accounts import Account, Diagonal, Product, Routing, Split
from abslrp.tape import Call, Value
from abslrp.tape.memory import Memory


def release(value: Value, memory: Memory) -> None:
    """Let go of what need not be kept, now that a value has no more uses than are known."""
    for input, output in _rectified(value):
        if input.maker is None or input.bound or len(input.uses) != 1:
            continue
        if input.tensor is output.tensor or not _only_multiplies(input.maker, input):
            continue
        if _vanishes(output) and memory.unseen(input) and memory.unseen(output):
            input.tensor = output.tensor


def _rectified(value: Value) -> Iterator[tuple[Value, Value]]:
    """Yield what rectifiers took, and the results that a value's entries are."""
    call = value.maker
    if call is None or call.account is None:
        return
    if call.account.rectifies:
        yield call.inputs[0], value
    elif isinstance(call.account, Routing):
        for one in call.inputs:
            yield from _rectified(one)


def _vanishes(value: Value) -> bool:
    """Whether the relevance of a value is 0 wherever the value is."""
    return not value.bound and all(_in_proportion(call, value) for call in value.uses)


def _in_proportion(call: Call, value: Value) -> bool:
    account = call.account
    if isinstance(account, Routing):
        return all(one is None or _vanishes(one) for one in call.outputs)
    if isinstance(account, Split):
        return all(_part(one, value) for one in account.parts if one.input is value)
    return _part(account, value)


def _part(account: Account | None, value: Value) -> bool:
    if not isinstance(account, (Diagonal, Product)):
        return False
    factors = account.factors if isinstance(account, Diagonal) else account.after
    alike = (factor for factor in factors if factor.kind in ("positive", "magnitude", "is"))
    return any(factor.value is value for factor in alike)


def _only_multiplies(call: Call, value: Value) -> bool:
    """Whether a call multiplies relevance by functions of each entry of its value, and no more."""
    account = call.account
    if not isinstance(account, (Diagonal, Product, Split)):
        return False
    factors = account.factors if isinstance(account, Diagonal) else account.before
    return all(factor.kind != "computed" or factor.value is value for factor in factors)
