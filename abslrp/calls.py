"""What can be told of a torch function from the outside: its body, its effects, its caller."""

from __future__ import annotations

import functools
import os
import traceback
import types
from collections.abc import Callable
from typing import Any

import torch

from abslrp.registry import is_inplace


@functools.cache
def _inplace_position(func: Callable[..., Any]) -> int | None:
    code = getattr(func, "__code__", None)
    if code is None or "inplace" not in code.co_varnames[: code.co_argcount]:
        return None
    return int(code.co_varnames.index("inplace"))


def writes(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Whether a call overwrites its first argument."""
    if is_inplace(func):
        return True
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    position = _inplace_position(func)
    return position is not None and len(args) > position and bool(args[position])


@functools.cache
def opened(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a Python function of torch that runs its body, whose calls are intercepted.

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


_HERE = os.path.dirname(os.path.abspath(__file__))
_TORCH = os.path.dirname(os.path.abspath(torch.__file__))


def call_site() -> str:
    """Return where in the user's model the present call was made, as ``file:line in function``."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith((_HERE, _TORCH)):
            return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return "an unknown place"
