"""Products with parameters, told apart from the rules that propagate through them.

Every rule set treats linear layers and convolutions alike, so a :class:`LinearMap` describes the
call once, and :func:`register` binds one rule to all of torch's functions of that kind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.convolution_gradients import (
    input_gradient,
    sizes_of,
    subsampled_gradient,
    symmetric,
)
from abslrp.operation import Operation, UncoveredError
from abslrp.precision import alike
from abslrp.registry import Backward, RuleSet, spellings


@dataclass(frozen=True)
class LinearMap:
    """``h = weight . input + bias``, as one rule sees it.

    Attributes
    ----------
    input
        The active operand.
    weight
        The constant operand.
    bias
        What is added, or None.
    transpose
        ``transpose(s, weight)``: the transposed product, shaped like the input.
    forward
        ``forward(input, weight)``: the product without bias.
    is_linear
        Whether the call is ``F.linear``, with a weight of (outputs, inputs).
    channel_axis
        For a convolution of all channels with all: the input's channel axis, which goes with
        axis 1 of the weight, so that weights may be stacked along it; else None.
    """

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    transpose: Callable[[Tensor, Tensor], Tensor]
    forward: Callable[[Tensor, Tensor], Tensor]
    is_linear: bool = False
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        """Let the products take operands of different types, as autocast leaves them."""
        for name in ("transpose", "forward"):
            object.__setattr__(self, name, _of_one_type(getattr(self, name)))


def _of_one_type(product: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda s, weight: product(*alike(s, weight))


LinearRule = Callable[[Operation, LinearMap], Backward]


def register(rules: RuleSet, rule: LinearRule) -> None:
    """Make ``rule`` the rule set's rule for every product with a parameter."""

    @rules.rule(F.linear)
    def linear(
        operation: Operation, input: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Backward:
        _refuse_active(operation, weight, "weight")
        if input.ndim > 2 and not input.is_contiguous():
            operation.output = linear_in_rows(input, weight, bias)
        return rule(
            operation,
            LinearMap(
                input,
                weight,
                bias,
                lambda s, w: linear_in_rows(s, w.mT),
                linear_in_rows,
                is_linear=True,
            ),
        )

    for dimensions, plain, transposed in (
        (1, torch.conv1d, torch.conv_transpose1d),
        (2, torch.conv2d, torch.conv_transpose2d),
        (3, torch.conv3d, torch.conv_transpose3d),
    ):
        rules.rule(plain)(_convolution(rule, dimensions))
        rules.rule(transposed)(_transposed_convolution(rule, dimensions))

    @rules.rule(spellings("addmm", inplace=False))
    def addmm(
        operation: Operation,
        input: Tensor,
        mat1: Tensor,
        mat2: Tensor,
        *,
        beta: float = 1,
        alpha: float = 1,
    ) -> Backward:
        _refuse_active(operation, mat2, "mat2")
        _refuse_active(operation, input, "input")
        return rule(
            operation,
            LinearMap(mat1, mat2 * alpha, beta * input, lambda s, w: s @ w.mT, lambda x, w: x @ w),
        )


def linear_in_rows(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` as one matrix product, whatever the memory's order.

    For an input whose axes are permuted, as in the attention of ``torch.nn``, torch multiplies
    each entry of the first axis with a copy of the weight, which takes four times as long.
    """
    rows = input.reshape(-1, input.shape[-1])
    return F.linear(rows, weight, bias).reshape(*input.shape[:-1], len(weight))


ProductRule = Callable[[Operation, Tensor, Tensor], Backward]


def two_operands(rule: ProductRule) -> Callable[..., Backward]:
    """Take the second operand by any of the names that torch's products give it."""

    @functools.wraps(rule)
    def named(operation: Operation, input: Tensor, *second: Tensor, **kwargs: Any) -> Backward:
        if len(second) + len(kwargs) != 1 or not kwargs.keys() <= {
            "other",
            "mat2",
            "vec",
            "tensor",
        }:
            raise UncoveredError(
                f"{operation.name}: expected two operands, got the keywords {sorted(kwargs)}"
            )
        return rule(operation, input, *second, *kwargs.values())

    return named


def product(rule: LinearRule, operation: Operation, input: Tensor, other: Tensor) -> Backward:
    """Apply a linear map's rule to ``matmul`` with one constant operand."""
    if operation.is_active(input):
        return rule(
            operation,
            LinearMap(input, other, None, lambda s, w: _right(s, w, input), lambda x, w: x @ w),
        )
    return rule(
        operation,
        LinearMap(other, input, None, lambda s, w: _left(s, w, other), lambda x, w: w @ x),
    )


def _right(s: Tensor, weight: Tensor, like: Tensor) -> Tensor:
    if weight.ndim == 1:
        return s.unsqueeze(-1) * weight
    return unbroadcast(
        s @ weight.mT if like.ndim > 1 else (s.unsqueeze(-2) @ weight.mT).squeeze(-2), like.shape
    )


def _left(s: Tensor, weight: Tensor, like: Tensor) -> Tensor:
    if like.ndim == 1:
        return unbroadcast(
            (weight.mT @ s.unsqueeze(-1)).squeeze(-1)
            if weight.ndim > 1
            else s.unsqueeze(-1) * weight,
            like.shape,
        )
    if weight.ndim == 1:
        return unbroadcast(weight.unsqueeze(-1) * s.unsqueeze(-2), like.shape)
    return unbroadcast(weight.mT @ s, like.shape)


def unbroadcast(relevance: Tensor, shape: torch.Size) -> Tensor:
    """Sum relevance over the axes along which an operand of ``shape`` was broadcast."""
    if relevance.shape == shape:
        return relevance
    return relevance.sum_to_size(shape)


def _refuse_active(operation: Operation, tensor: Any, name: str) -> None:
    if operation.is_active(tensor):
        raise UncoveredError(
            f"{operation.name}: expected a constant {name}, got one that depends on the input"
        )


def _convolution(rule: LinearRule, n: int) -> Callable[..., Backward]:
    functions = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}

    def convolution(
        operation: Operation,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Backward:
        _refuse_active(operation, weight, "weight")
        step, spread = sizes_of(stride, n), sizes_of(dilation, n)
        pad, surplus = symmetric(padding, weight, spread, n)
        if step != [1] * n and list(weight.shape[2:]) == [1] * n and not any(pad):
            gradient = subsampled_gradient(input, step, groups)
        else:
            gradient = input_gradient(input, step, pad, spread, groups, [0] * n, transposed=False)
        front = [size for one in reversed(surplus) for size in (one, 0)]

        def transpose(s: Tensor, w: Tensor) -> Tensor:
            return gradient(F.pad(s, front) if any(front) else s, w)

        def forward(x: Tensor, w: Tensor) -> Tensor:
            whole = functions[n](x, w, None, step, pad, spread, groups)
            for axis, size in enumerate(surplus):
                whole = whole.narrow(axis - n, size, whole.shape[axis - n] - size)
            return whole

        axis = -n - 1 if groups == 1 else None
        return rule(
            operation, LinearMap(input, weight, bias, transpose, forward, channel_axis=axis)
        )

    return convolution


def _transposed_convolution(rule: LinearRule, n: int) -> Callable[..., Backward]:
    functions = {
        1: torch.conv_transpose1d,
        2: torch.conv_transpose2d,
        3: torch.conv_transpose3d,
    }

    def transposed_convolution(
        operation: Operation,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Backward:
        _refuse_active(operation, weight, "weight")
        step, spread, pad = sizes_of(stride, n), sizes_of(dilation, n), sizes_of(padding, n)
        extra = sizes_of(output_padding, n)
        transpose = input_gradient(input, step, pad, spread, groups, extra, transposed=True)

        def forward(x: Tensor, w: Tensor) -> Tensor:
            return functions[n](x, w, None, step, pad, extra, groups, spread)

        return rule(operation, LinearMap(input, weight, bias, transpose, forward))

    return transposed_convolution
