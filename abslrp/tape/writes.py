"""Calls that write to their arguments: the same call in new memory, and a move."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

from abslrp.tape.modes import under
from abslrp.tape.recorder import Recorder
from abslrp.tape.values import by_name, tensors_in

VIEWS = frozenset((
    "squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_", "as_strided_",
    "resize_", "detach_",
))  # fmt: skip
"""Operators that change a tensor, such as how it sees its memory, and not the memory."""


class Written(NamedTuple):
    """How an operator writes."""

    names: tuple[str, ...]
    """The arguments that are written to; empty for operators that write nothing."""
    twin: OpOverload | None
    """The operator that returns the same in new memory."""
    reshapes: bool
    """Whether only the view of the memory changes."""
    inplace: bool = False
    """Whether it takes what it writes to, as ``add_`` does; else only as ``out=``."""


@functools.cache
def written(operator: OpOverload) -> Written:
    """Tell how an operator writes.

    Examples
    --------
    >>> written(torch.ops.aten.relu_.default).twin
    <OpOverload(op='aten.relu', overload='default')>
    >>> written(torch.ops.aten.add.out).names
    ('out',)
    """
    names = _written_to(operator)
    if not names:
        return Written((), None, False)
    base = operator._opname
    inplace = base.endswith("_") and not base.endswith("__")
    return Written(names, _twin(operator, names, inplace), base in VIEWS, inplace)


def _twin(operator: OpOverload, names: tuple[str, ...], inplace: bool) -> OpOverload | None:
    base = operator._opname
    space = getattr(torch.ops, operator.namespace)
    packet = getattr(space, base[:-1] if inplace else base, None)
    if packet is None:
        return None
    kept = [one for one in _typed(operator) if inplace or one[0] not in names]
    for overload in packet.overloads():
        found: OpOverload = getattr(packet, overload)
        if not _written_to(found) and _typed(found) == kept:
            return found
    return None


def _typed(operator: OpOverload) -> list[tuple[str, str]]:
    return [(one.name, str(one.type)) for one in operator._schema.arguments]


def _written_to(operator: OpOverload) -> tuple[str, ...]:
    """Return the names of the arguments that an operator writes to."""
    given = operator._schema.arguments
    return tuple(one.name for one in given if one.alias_info and one.alias_info.is_write)


def targets_of(operator: OpOverload, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors that a call writes to."""
    names = written(operator).names
    given = by_name(operator, args, kwargs) if names else {}
    return list(tensors_in([given[name] for name in names]))


def write(tape: Recorder, func: OpOverload, how: Written, args: Any, kwargs: Any) -> Any:
    """Run a call that writes to its arguments as the same call in new memory, and a move."""
    targets = targets_of(func, args, kwargs)
    if how.reshapes and how.twin is not None:
        func(*args, **kwargs)
        if how.twin is torch.ops.aten.as_strided.default:
            tape.memory.strided(targets[0], tape.aliased)
            return targets[0]
        call = tape.note(how.twin, tape.table.find(how.twin), tape.taken(args, {}), targets[0])
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
        _put(tape, target, one, fresh=one.untyped_storage()._cdata not in sources)
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
    """Note a call that writes and has no other ways to say it, by its own rule if it has one."""
    rule = tape.table.find(func)
    if rule is not None and rule.decomposes:
        return under(tape, rule.function, *args, **kwargs)
    taken = tape.taken(args, kwargs)
    for one in targets:
        tape.memory.before_write(one)
    result = func(*args, **kwargs)
    for one in targets:
        call = tape.note(func, rule, taken, one.detach(), bind=False)
        tape.memory.after_write(one, None if call is None else call.output, tape.aliased)
    return result
