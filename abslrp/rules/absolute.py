"""Eq. 12 for products: with a parameter, and of two activations."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from abslrp import linear_maps, products
from abslrp.blocks import blocks
from abslrp.kernels import elementwise
from abslrp.linear_maps import LinearMap, unbroadcast
from abslrp.operation import Operation, UncoveredError
from abslrp.precision import alike, working
from abslrp.registry import ABSLRP, Backward, spellings

EPSILON = 1e-9
"""Stabiliser of eq. 12."""


def gain(output: Tensor) -> Tensor:
    """``1 / (|h| + epsilon)``: all that eq. 12 needs of the pre-activation, for any relevance."""
    fused = elementwise("gain", EPSILON, output)
    if fused is not None:
        return fused
    result = torch.empty_like(output, dtype=working(output.dtype))
    for rows in blocks(output):
        torch.abs(output[rows].to(result.dtype), out=result[rows]).add_(EPSILON).reciprocal_()
    return result


def linear_map(operation: Operation, call: LinearMap) -> Backward:
    """Eq. 12 for a linear layer or a convolution.

    One transposed product with the positive weights where the input is known to have no negative
    entry, else one more with the negative weights.
    """
    operation.fresh = True
    nonnegative = operation.is_nonnegative(call.input)
    x = operation.joined(call.input)
    if x is None:
        x = claimed(operation, call.input)
    call = replace(call, input=x)  # the other's memory need not be kept
    inverse = operation.postpone(gain)

    def backward(relevance: Tensor) -> tuple[Tensor]:
        factor = inverse.factor()
        s = relevance if factor is None else operation.scaled(relevance, factor)
        if nonnegative:
            return (products.positive(call, s, operation.scratch).mul_(x),)
        # Each input entry has one sign, so it takes one of the two products.
        plus, minus = products.of_either_sign(call, s, operation.scratch)
        fused = elementwise("of_either_sign", EPSILON, x, plus, minus)
        if fused is not None:
            return (fused,)
        memory = operation.scratch(x)
        plus.mul_(torch.clamp(x, min=0, out=memory))
        # torch.where takes four times as long on a CPU.
        return (plus.addcmul_(minus, torch.clamp(x, max=0, out=memory)),)

    return backward


def claimed(operation: Operation, input: Tensor) -> Tensor:
    """Return ``x / (|h| + epsilon)`` where ``x`` comes, by activations only, from a product ``h``.

    It has the sign of ``x``, which is all that eq. 12 needs besides. Without such a product, or
    where its relevance is wanted by itself, it is ``x``.
    """
    share: list[Tensor] = []

    def undo(value: Tensor) -> None:
        share[0].mul_(value.abs().add_(EPSILON))

    before = operation.claim(input, undo)
    if before is None:
        return input
    fused = elementwise("divided", EPSILON, input, before)
    if fused is not None:
        share.append(fused)
        return fused
    share.append(torch.empty_like(input))
    for rows in blocks(input):
        one = torch.abs(before[rows].to(input.dtype), out=share[0][rows]).add_(EPSILON)
        torch.div(input[rows], one, out=one)
    return share[0]


linear_maps.register(ABSLRP, linear_map)


@ABSLRP.rule(spellings("matmul", "mm", "bmm", "mv", "dot", inplace=False))
@linear_maps.two_operands
def matmul(operation: Operation, input: Tensor, other: Tensor) -> Backward:
    """Eq. 12 once for each operand, with the other as weights."""
    if not (operation.is_active(input) and operation.is_active(other)):
        return linear_maps.product(linear_map, operation, input, other)
    operation.fresh = True
    inverse = operation.postpone(gain)
    left, right = operation.is_nonnegative(input), operation.is_nonnegative(other)
    if input.ndim < 2 or other.ndim < 2:
        raise UncoveredError(
            f"{operation.name}: a product of two activations needs two axes each, got shapes "
            f"{tuple(input.shape)} and {tuple(other.shape)}"
        )

    # The operands' signed parts are made here, not kept: q, k and v share the memory of the
    # projection they are views of.
    def backward(relevance: Tensor) -> tuple[Tensor, Tensor]:
        factor = inverse.factor()
        s = relevance if factor is None else operation.scaled(relevance, factor)
        s, a, b = alike(s, input, other)
        a_plus = a if left else a.clamp(min=0)
        b_plus = b if right else b.clamp(min=0)
        to_input = (s @ b_plus.mT).mul_(a_plus)
        to_other = (a_plus.mT @ s).mul_(b_plus)
        if not (left or right):
            a_minus, b_minus = a.clamp(max=0), b.clamp(max=0)
            to_input += (s @ b_minus.mT).mul_(a_minus)
            to_other += (a_minus.mT @ s).mul_(b_minus)
        return unbroadcast(to_input, input.shape), unbroadcast(to_other, other.shape)

    return backward
