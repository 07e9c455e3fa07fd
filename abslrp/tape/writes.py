"""Calls that write to their arguments: the same call in new memory, and a move."""

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from abslrp.tape.modes import under
from abslrp.tape.recorder import Recorder
from abslrp.tape.spelling import Written, targets_of
from abslrp.tape.values import tensors_in


def write(tape: Recorder, func: OpOverload, how: Written, args: Any, kwargs: Any) -> Any:
    """Run a call that writes to its arguments as the same call in new memory, and a move."""
    targets = targets_of(func, args, kwargs)
    if how.reshapes and how.twin is not None:
        func(*args, **kwargs)
        if how.twin is torch.ops.aten.as_strided.default:
            tape.memory.strided(targets[0], tape.aliased)
            return targets[0]
        rule = tape.table.find(how.twin)
        call = tape.note(how.twin, rule, tape.taken(args, {}), targets[0])
        tape.memory.bind(targets[0], None if call is None else call.output)
        return targets[0]
    if func is torch.ops.aten.copy_.default:
        made: Any = args[1]
    elif how.twin is not None:
        out = () if how.inplace else how.names
        named = {key: one for key, one in kwargs.items() if key not in out}
        made = tape.__torch_dispatch__(how.twin, (), args, named)  # type: ignore[no-untyped-call]
    else:
        made = tape.decomposed(func, args, kwargs)
        return _unknown(tape, func, targets, args, kwargs) if made is NotImplemented else made
    results = made if isinstance(made, (list, tuple)) else [made]
    sources = [one.untyped_storage()._cdata for one in tensors_in([args, list(kwargs.values())])]
    for target, one in zip(targets, results, strict=True):
        fresh = one.untyped_storage()._cdata not in sources
        _put(tape, target, one, fresh=fresh)
    if not func._schema.returns:  # of lists
        return None
    return targets[0] if len(targets) == 1 else tuple(targets)


def _put(tape: Recorder, target: Tensor, made: Tensor, *, fresh: bool) -> None:
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


def _unknown(tape: Recorder, func: Any, targets: list[Tensor], args: Any, kwargs: Any) -> Any:
    """Note a call that writes and has neither a rule nor other ways to say it."""
    taken = tape.taken(args, kwargs)
    for one in targets:
        tape.memory.before_write(one)
    result = func(*args, **kwargs)
    for one in targets:
        call = tape.note(func, None, taken, one.detach(), bind=False)
        tape.memory.after_write(one, None if call is None else call.output, tape.aliased)
    return result
