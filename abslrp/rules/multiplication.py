"""Elementwise products and quotients: scaling by constants, gates, denominators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from abslrp.linear_maps import unbroadcast
from abslrp.operation import Operation, passes
from abslrp.registry import ABSLRP, COMMON, Backward, spellings
from abslrp.rules.absolute import gain


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
    """A constant factor: unchanged. Two activations (a gate): eq. 12 for each operand."""
    if not operation.is_active(other):
        return _scaled(operation, input, other)
    if not operation.is_active(input):
        return _scaled(operation, other, input)
    shapes = input.shape, other.shape
    operation.keeps_sign()
    output = operation.forward()
    share = output.clamp(min=0).mul_(gain(output))

    def backward(relevance: Tensor) -> tuple[Tensor, ...]:
        each = relevance * share
        return tuple(unbroadcast(each, shape) for shape in shapes)

    return backward


@COMMON.rule(
    spellings("div", "divide", "true_divide", "truediv"),
    [f for f in (getattr(Tensor, n, None) for n in ("__rdiv__", "__rtruediv__")) if f is not None],
)
def div(operation: Operation, input: Any, other: Any, **kwargs: Any) -> Backward:
    """A denominator is held constant; the numerator's relevance is unchanged."""
    if operation.function in REVERSED:
        input, other = other, input
    if operation.is_active(input) and operation.is_active(other):
        shape = input.shape
        operation.forward()
        return lambda relevance: (unbroadcast(relevance, shape), None)
    return _scaled(operation, operation.active[0], None if operation.is_active(other) else other)


REVERSED = {
    f for f in (getattr(Tensor, n, None) for n in ("__rdiv__", "__rtruediv__")) if f is not None
}


@COMMON.rule(spellings("lerp", "addcmul", "addcdiv"))
def unsupported(operation: Operation, *args: Any, **kwargs: Any) -> Backward:
    """Refuse fused forms that no known model uses on activations."""
    raise NotImplementedError(
        f"{operation.name}: write it as products and sums, or register a rule with "
        "@abslrp.rule(...)"
    )


__all__ = ["div", "mul", "torch"]
