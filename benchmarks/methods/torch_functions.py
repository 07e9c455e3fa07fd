"""What can be told of a torch function from the outside: its effects and its body."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

__all__ = ["is_inplace", "opened", "writes"]


def is_inplace(function: Callable[..., Any]) -> bool:
    """Whether a torch function overwrites its first argument, by torch's naming convention.

    Examples
    --------
    >>> import torch
    >>> is_inplace(torch.Tensor.relu_), is_inplace(torch.Tensor.__iadd__), is_inplace(torch.relu)
    (True, True, False)
    """
    name = getattr(function, "__name__", "")
    if name.startswith("__"):
        return name == "__setitem__" or (
            name.startswith("__i") and name not in ("__invert__", "__int__", "__index__")
        )
    return name.endswith("_") and name != "requires_grad_"


def writes(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Whether a call overwrites its first argument."""
    if is_inplace(func):
        return True
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    position = _inplace_position(func)
    return position is not None and len(args) > position and bool(args[position])


@functools.cache
def _inplace_position(func: Callable[..., Any]) -> int | None:
    code = getattr(func, "__code__", None)
    if code is None or "inplace" not in code.co_varnames[: code.co_argcount]:
        return None
    return int(code.co_varnames.index("inplace"))


@functools.cache
def opened(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a Python function of torch that runs its body, whose calls a mode then sees.

    Torch's own functions ask first whether they are overridden; a copy of the function whose
    globals say no goes straight to its body. Torch itself is left as it is.
    """
    if not isinstance(func, types.FunctionType) or func.__closure__:
        return None
    if "handle_torch_function" not in func.__code__.co_names:
        return None
    scope = dict(func.__globals__)
    for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        scope[name] = lambda *_: False
    copy = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy
