"""What an ATen operator writes to, and the operator that has the same result in new memory."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

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
