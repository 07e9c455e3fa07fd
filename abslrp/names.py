"""Operators by the names that users know them by, and torch functions by their operators."""

import types
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket

Function = Callable[..., Any]

_OF_TORCH = OpOverload, OpOverloadPacket, HigherOrderOperator, types.MethodDescriptorType

_SPACES = {
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch.Tensor": torch.Tensor,
    **{one.__name__: one for one in (torch.linalg, torch.fft, torch.special, torch.sparse)},
}


def name_of(function: Function) -> str:
    """Return a name of a torch function that a user can look up."""
    if isinstance(function, (OpOverload, OpOverloadPacket)):
        return f"torch.ops.{function}"  # its own module, torch._ops.aten, has no attributes
    for path, space in _SPACES.items():
        for name in dir(space):
            if getattr(space, name, None) is function:
                return f"{path}.{name}"
    return f"{function.__module__}.{getattr(function, '__name__', repr(function))}"


def public_name(operator: Any) -> str:
    """Return the name under which users call an operator, and can register a rule for it.

    Examples
    --------
    >>> public_name(torch.ops.aten.cdist.default), public_name(torch.ops.aten._cdist_forward)
    ('torch.cdist', 'torch.ops.aten._cdist_forward')
    >>> public_name(torch.ops.aten.linalg_vector_norm)
    'torch.linalg.vector_norm'
    """
    packet = getattr(operator, "overloadpacket", operator)
    name = getattr(packet, "__name__", "")
    name = "item" if name == "_local_scalar_dense" else name
    for path, space in _SPACES.items():
        bare = name.removeprefix(f"{path.rpartition('.')[2]}_")
        found = getattr(space, bare, None)
        if found is not None and (bare != name or operator_of(found) is packet):
            return f"{path}.{bare}"
    return name_of(packet)


def operator_of(function: Function) -> Any:
    """Return the ATen operator behind a torch function or method, or the function itself.

    Examples
    --------
    >>> operator_of(torch.relu), operator_of(torch.Tensor.add_)
    (<OpOverloadPacket(op='aten.relu')>, <OpOverloadPacket(op='aten.add')>)
    """
    function = getattr(function, "_opoverload", function)  # of torch.library.custom_op
    if isinstance(function, (OpOverload, OpOverloadPacket)):
        return function
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", "")
    if isinstance(function, types.FunctionType) and not module.startswith("torch."):
        return function
    special = {"radd": "add", "rmul": "mul", "getitem": "index", "truediv": "div"}
    bare = name.strip("_") if name.startswith("__") else name.rstrip("_")
    bare = special.get(bare, bare)
    return getattr(torch.ops.aten, bare, function)


def is_told_of(function: Function) -> bool:
    """Whether calls of a function are seen: by torch itself, or where the function asks it.

    Examples
    --------
    >>> is_told_of(torch.relu), is_told_of(torch.nn.ReLU), is_told_of(lambda x: x.relu())
    (True, False, False)
    """
    operator = operator_of(function)
    if isinstance(operator, types.FunctionType):
        return "handle_torch_function" in operator.__code__.co_names
    return isinstance(operator, _OF_TORCH)
