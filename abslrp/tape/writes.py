"""Calls that write to their arguments: the same call in new memory, and a move."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch._ops import OpOverload

from abslrp.tape.memory import Memory
from abslrp.tape.modes import under
from abslrp.tape.spelling import Written, argument
from abslrp.tape.values import Call, Value, tensors_in


class Tape(Protocol):
    """What is asked of the tape on which the calls are noted."""

    memory: Memory
    table: Any

    def valued(self, one: Any, found: list[Value], /) -> Any:
        """Put values in place of tensors."""

    def value(self, tensor: Tensor, /) -> Value | None:
        """Return the value that a tensor stands for."""

    def note(
        self, operator: Any, rule: Any, args: Any, kwargs: Any, inputs: list[Value], result: Any,
        *, bind: bool = True,
    ) -> Call | None:  # fmt: skip
        """Note a call."""

    def aliased(self, operator: Any, args: Any, result: Tensor, /) -> Any:
        """Note a view of memory."""

    def decomposed(self, func: OpOverload, args: Any, kwargs: Any, /) -> Any:
        """Run an operator as torch writes it out."""

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any, kwargs: Any, /) -> Any:
        """Run and note an operator."""


def write(tape: Tape, func: OpOverload, how: Written, args: Any, kwargs: Any) -> Any:
    """Run a call that writes to its arguments as the same call in new memory, and a move."""
    targets = [argument(func, name, args, kwargs) for name in how.names]
    if how.reshapes and how.twin is not None:
        func(*args, **kwargs)
        found: list[Value] = []
        valued = tape.valued(args, found)
        call = tape.note(how.twin, tape.table.find(how.twin), valued, {}, found, targets[0])
        tape.memory.bind(targets[0], None if call is None else call.output)
        return targets[0]
    if func is torch.ops.aten.copy_.default:
        made: Any = args[1]
    elif how.twin is not None:
        out = () if how.inplace else how.names
        named = {key: one for key, one in kwargs.items() if key not in out}
        made = tape.__torch_dispatch__(how.twin, (), args, named)
    else:
        made = tape.decomposed(func, args, kwargs)
        if made is NotImplemented:
            return _unknown(tape, func, targets, args, kwargs)
        return made
    results = made if isinstance(made, (list, tuple)) else [made]
    sources = [one.untyped_storage()._cdata for one in tensors_in([args, list(kwargs.values())])]
    for target, one in zip(targets, results, strict=True):
        fresh = one.untyped_storage()._cdata not in sources
        _put(tape, target, one, fresh=fresh)
    return targets[0] if len(targets) == 1 else tuple(targets)


def _put(tape: Tape, target: Tensor, made: Tensor, *, fresh: bool) -> None:
    """Let a tensor hold what was made, in that memory if it is fresh and nothing else sees."""
    if target is made:
        return
    if target.shape != made.shape and target.numel() == 0:
        target.resize_(made.shape)  # an empty out= argument
    if made.shape != target.shape or made.dtype != target.dtype:
        made = under(tape, lambda: made.to(target).expand_as(target))
    elif fresh and tape.memory.alone(target):
        target.data = made
        tape.memory.bind(target, tape.value(made))
        return
    value = tape.value(made)
    tape.memory.before_write(target)
    target.copy_(made)
    tape.memory.after_write(target, value, tape.aliased)


def _unknown(tape: Tape, func: Any, targets: list[Tensor], args: Any, kwargs: Any) -> Any:
    """Note a call that writes and has neither a rule nor other ways to say it."""
    found: list[Value] = []
    valued = tape.valued(args, found)
    named = {key: tape.valued(one, found) for key, one in kwargs.items()}
    for one in targets:
        tape.memory.before_write(one)
    result = func(*args, **kwargs)
    for one in targets:
        call = tape.note(func, None, valued, named, found, one.detach(), bind=False)
        tape.memory.after_write(one, None if call is None else call.output, tape.aliased)
    return result
