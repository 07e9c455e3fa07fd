"""Elementwise products and quotients: scaling by constants, gates, denominators."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from abslrp.linear_maps import unbroadcast
from abslrp.operation import Operation, passes
from abslrp.registry import ABSLRP, COMMON, Backward, spellings


def _scaled(operation: Operation, active: Tensor, other: Any) -> Backward:
    """One-to-one: unchanged, summed where the operand was broadcast."""
    if isinstance(other, (int, float)) and other >= 0:
        operation.keeps_sign()
    output = operation.forward()
    if output.shape == active.shape:
        return passes(operation)
    shape = active.shape
    return lambda relevance: (unbroadcast(relevance, shape),)


@ABSLRP.rule(spellings("mul", "multiply"), Tensor.__rmul__)
def mul(operation: Operation, input: Any, other: Any) -> Backward:
    """Pass a constant's factor unchanged; two activations (a gate): eq. 12 for each operand."""
    if not operation.is_active(other):
        return _scaled(operation, input, other)
    if not operation.is_active(input):
        return _scaled(operation, other, input)
    shapes = input.shape, other.shape
    operation.keeps_sign()
    output = operation.forward()
    share = (output > 0).to(output.dtype)

    def backward(relevance: Tensor) -> tuple[Tensor, ...]:
        each = relevance * share
        return tuple(unbroadcast(each, shape) for shape in shapes)

    return backward


_REVERSED = [
    getattr(Tensor, name) for name in ("__rdiv__", "__rtruediv__") if hasattr(Tensor, name)
]


@COMMON.rule(spellings("div", "divide", "true_divide", "truediv"))
def div(operation: Operation, input: Any, other: Any, **kwargs: Any) -> Backward:
    """Hold the denominator constant; the numerator's relevance is unchanged."""
    if operation.is_active(input) and operation.is_active(other):
        shape = input.shape
        operation.forward()
        return lambda relevance: (unbroadcast(relevance, shape), None)
    return _scaled(operation, operation.active[0], None if operation.is_active(other) else other)


@COMMON.rule(_REVERSED)
def rdiv(operation: Operation, input: Any, other: Any) -> Backward:
    """Divide with the operands exchanged."""
    return div(operation, other, input)
