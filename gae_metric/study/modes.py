"""Whether a model is in evaluation mode, as far as that matters."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

import torch
from torch import fx, nn

#: Methods that set or show the mode, and decide nothing by it.
_SETTERS = frozenset({"train", "eval", "extra_repr"})


def check_model(model: Any) -> None:
    """Refuse what is not a PyTorch model in evaluation mode.

    A layer in training mode below an evaluated model does no harm where its class never asks for
    the mode, such as an activation; any other is refused by name.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.RReLU()).eval()
    >>> check_model(model)
    >>> _ = model[1].train(), model[2].train()
    >>> check_model(model)
    Traceback (most recent call last):
    ...
    ValueError: model: expected evaluation mode, got training mode in its layer '2' (RReLU); call \
model.eval()
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if is_exported(model):
        return
    for name, module in model.named_modules():
        # A frozen TorchScript has no mode.
        if getattr(module, "training", False) and (module is model or _asks_for_mode(module)):
            layer = f" in its layer {name!r} ({type(module).__name__})" if name else ""
            remedy = "call model.eval()"
            if any(is_exported(each) for each in model.modules()):
                remedy = "set its training = False, as eval() is refused by the exported part"
            raise ValueError(f"model: expected evaluation mode, got training mode{layer}; {remedy}")


def is_exported(module: nn.Module) -> bool:
    """Whether a module is a program of ``torch.export``.

    It says that it is in training mode, whichever mode it was exported in, and refuses ``eval()``.
    """
    return isinstance(module, fx.GraphModule) and "eval" in vars(module)


def _asks_for_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase):  # which users train for cuDNN's sake
        return bool(module.dropout)
    if isinstance(module, torch.jit.ScriptModule):  # whose code is not Python's
        return True
    kinds = [kind for kind in type(module).__mro__ if kind not in (nn.Module, object)]
    members = {"forward": vars(module).get("forward")}
    for kind in kinds:
        members |= {name: value for name, value in vars(kind).items() if name not in members}
    members["forward"] = members["forward"] or type(module).forward
    return any(
        "training" in code.co_names
        for name, value in members.items()
        if name not in _SETTERS and not (name.startswith("__") and name != "__call__")
        for code in _codes(getattr(value, "fget", getattr(value, "__func__", value)))
    )


def _codes(function: Any) -> Iterator[CodeType]:
    """Byte code of a function, of what it decorates and of what it defines."""
    pending = [getattr(inspect.unwrap(function), "__code__", None)]
    for code in pending:
        if isinstance(code, CodeType):
            yield code
            pending += code.co_consts
