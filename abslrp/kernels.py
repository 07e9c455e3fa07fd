"""Elementwise chains of the rules as one kernel each on a GPU, where torch can make it.

Written out in torch, a batch norm's gain reads and writes its tensor eleven times; it is the larger
part of an explanation's time on a GPU. torch compiles a line of C++ when it is used first
(``torch.cuda.jiterator``, NVRTC) and keeps the result on disk. The CPU's way is in the rules,
in pieces that fit its cache (:mod:`abslrp.blocks`), and says what these compute.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["elementwise"]

_ABS = "({0} < 0 ? -{0} : {0})"
_POSITIVE = "({0} > 0 ? {0} : T(0))"
_NORM = (
    "T centred = x - mean; "
    f"T share = centred / ({_ABS.format('centred')} + epsilon * deviation) * (weight / deviation); "
    f"T gain = {_POSITIVE.format('share')} * {_POSITIVE.format('x')} "
    f"/ ({_ABS.format('h')} + epsilon); "
)
_CODE = {
    "gain": ("h", f"return T(1) / ({_ABS.format('h')} + epsilon);"),
    "divided": ("x h", f"return x / ({_ABS.format('h')} + epsilon);"),
    "positive_share": ("x h", f"return {_POSITIVE.format('x')} / ({_ABS.format('h')} + epsilon);"),
    "of_either_sign": ("x plus minus", "return (x > 0 ? plus : minus) * x;"),
    "norm": ("x mean deviation weight h", f"{_NORM} return gain;"),
    "norm_of_product": (
        "x mean deviation weight h before",
        f"{_NORM} return gain / ({_ABS.format('before')} + epsilon);",
    ),
}


def elementwise(name: str, epsilon: float, *tensors: Tensor | None) -> Tensor | None:
    """Compute a chain in one kernel, or return None where that is not possible.

    Parameters
    ----------
    name
        One of those above.
    epsilon
        Stabiliser of eq. 12.
    *tensors
        Operands, which are broadcast. None if one is absent, which no kernel is for.
    """
    first = tensors[0]
    if first is None or not first.is_cuda or first.dtype not in (torch.float32, torch.float64):
        return None
    given = [one for one in tensors if one is not None and one.dtype == first.dtype and one.is_cuda]
    kernel = _kernel(name)
    if kernel is None or len(given) < len(tensors):
        return None
    result: Tensor = kernel(*given, epsilon=epsilon)
    return result


@cache
def _kernel(name: str) -> Callable[..., Any] | None:
    """Return the function that launches a kernel; None where torch has no such compiler."""
    operands, body = _CODE[name]
    declared = ", ".join(f"T {one}" for one in [*operands.split(), "epsilon"])
    try:
        create = torch.cuda.jiterator._create_jit_fn
        return create(f"template <typename T> T {name}({declared}) {{ {body} }}", epsilon=0.0)
    except (AttributeError, RuntimeError):
        return None
