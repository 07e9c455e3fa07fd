"""Operators by the names that users know them by, and torch functions by their operators."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

Function = Callable[..., Any]


def name_of(function: Function) -> str:
    """Return a name of a torch function that a user can look up."""
    name = getattr(function, "__name__", None) or repr(function)
    owner = getattr(function, "__objclass__", None)
    if owner is not None:
        return f"torch.Tensor.{name}"
    if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return f"torch.ops.{function}"  # its own module, torch._ops.aten, has no attributes
    module = getattr(function, "__module__", None)
    for public in (torch.linalg, torch.special, torch.fft, torch.sparse):
        prefix = public.__name__.rpartition(".")[2] + "_"  # torch._C._linalg.linalg_norm
        bare = name.lstrip("_").removeprefix(prefix)
        if getattr(public, bare, None) is function:
            return f"{public.__name__}.{bare}"
    if module in (None, "torch._C._nn", "torch._C", "torch.functional"):
        found = getattr(torch.nn.functional, name, None) is function
        module = "torch.nn.functional" if found else "torch"
    return f"{module}.{name}"


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
    for space, path in (
        (torch, "torch"),
        (torch.nn.functional, "torch.nn.functional"),
        (torch.Tensor, "torch.Tensor"),
    ):
        found = getattr(space, name, None)
        if found is not None and operator_of(found) is packet:
            return f"{path}.{name}"
    for part in ("linalg", "fft", "special"):
        bare = name.removeprefix(f"{part}_")
        if bare != name and hasattr(getattr(torch, part), bare):
            return f"torch.{part}.{bare}"
    return name_of(packet)


def operator_of(function: Function) -> Any:
    """Return the ATen operator behind a torch function or method, or the function itself.

    Examples
    --------
    >>> operator_of(torch.relu), operator_of(torch.Tensor.add_)
    (<OpOverloadPacket(op='aten.relu')>, <OpOverloadPacket(op='aten.add')>)
    """
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
