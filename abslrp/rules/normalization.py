"""Batch, layer, group, instance and RMS norm: two layers of eq. 12, statistics held constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.blocks import blocks
from abslrp.kernels import elementwise
from abslrp.operation import Operation
from abslrp.precision import working
from abslrp.record import Options
from abslrp.registry import ABSLRP, Backward, RuleSet
from abslrp.rules.absolute import EPSILON


@dataclass(frozen=True)
class Norm:
    """``h1 = (x - mean) / deviation``, then ``h2 = h1 * weight + bias``.

    ``mean``, ``deviation``, ``weight`` and ``bias`` broadcast against ``input``; None stands for
    an absent term.
    """

    input: Tensor
    mean: Tensor | None
    deviation: Tensor
    weight: Tensor | None
    bias: Tensor | None


NormRule = Callable[[Operation, Norm], Backward]


def register(rules: RuleSet, rule: NormRule) -> None:
    """Make ``rule`` the rule set's rule for every kind of normalisation."""

    @rules.rule(F.batch_norm)
    def batch_norm(
        operation: Operation,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Backward:
        if training or running_mean is None or running_var is None:
            raise ValueError(
                "model: a batch norm uses the statistics of the batch, so that samples depend on "
                "one another; expected one in evaluation mode with running statistics"
            )
        shape = [1, -1] + [1] * (input.ndim - 2)
        return rule(
            operation,
            Norm(
                input,
                running_mean.reshape(shape),
                (running_var + eps).sqrt().reshape(shape),
                *(None if p is None else p.reshape(shape) for p in (weight, bias)),
            ),
        )

    @rules.rule(F.layer_norm)
    def layer_norm(
        operation: Operation,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Backward:
        axes = list(range(-len(normalized_shape), 0))
        variance, mean = torch.var_mean(input, axes, correction=0, keepdim=True)
        return rule(operation, Norm(input, mean, (variance + eps).sqrt(), weight, bias))

    @rules.rule(F.group_norm)
    def group_norm(
        operation: Operation,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Backward:
        shape = [1, -1] + [1] * (input.ndim - 2)
        grouped = input.reshape(input.shape[0], num_groups, -1)
        variance, mean = torch.var_mean(grouped, 2, correction=0)
        repeat = input.shape[1] // num_groups
        each = [input.shape[0], input.shape[1]] + [1] * (input.ndim - 2)
        return rule(
            operation,
            Norm(
                input,
                mean.repeat_interleave(repeat, 1).reshape(each),
                (variance + eps).sqrt().repeat_interleave(repeat, 1).reshape(each),
                *(None if p is None else p.reshape(shape) for p in (weight, bias)),
            ),
        )

    @rules.rule(F.instance_norm)
    def instance_norm(
        operation: Operation,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Backward:
        if not use_input_stats:
            return batch_norm(
                operation, input, running_mean, running_var, weight, bias, False, momentum, eps
            )
        return group_norm(operation, input, input.shape[1], weight, bias, eps)

    @rules.rule(F.rms_norm)
    def rms_norm(
        operation: Operation,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Backward:
        axes = list(range(-len(normalized_shape), 0))
        eps = torch.finfo(input.dtype).eps if eps is None else eps
        root = (input.square().mean(axes, keepdim=True) + eps).sqrt()
        return rule(operation, Norm(input, None, root, weight, None))


def absolute(operation: Operation, norm: Norm) -> Backward:
    """Eq. 12 for the two layers, collapsed into one gain.

    First layer: ``(x / deviation)+ / (|h1| + epsilon)`` with the mean as bias; second:
    ``(h1 weight)+ / (|h2| + epsilon)``. A product before leaves its own factor to this one, and a
    product after a ReLU takes the gain in.
    """
    x = norm.input
    made: list[Tensor] = []

    def undo(value: Tensor) -> None:
        before.clear()
        for share in made:
            share.mul_(value.abs().add_(EPSILON))

    before = [h for h in [operation.claim(x, undo)] if h is not None]
    options = operation.options  # not the operation, which keeps this function: that is a cycle

    def share_of(output: Tensor, rectified: Tensor | None = None) -> Tensor:
        made[:] = [_share(options, norm, output, before[0] if before else None, rectified)]
        if rectified is None:  # for good
            before.clear()
        return made[-1]

    postponed = operation.postpone_gain(share_of, lambda y: share_of(y, rectified=y))

    def backward(relevance: Tensor) -> tuple[Tensor]:
        share = postponed.factor()
        operation.fresh = share is not None or operation.owns_relevance
        return (relevance if share is None else operation.scaled(relevance, share),)

    return backward


def _share(
    options: Options,
    norm: Norm,
    output: Tensor,
    before: Tensor | None,
    rectified: Tensor | None,
) -> Tensor:
    """Return the gain of both layers and of the product before, times the ReLU's output if any."""
    x = norm.input
    fused = _fused(norm, output, before)
    if fused is not None:
        return fused if rectified is None else fused.mul_(rectified)
    dtype = torch.promote_types(working(x.dtype), norm.deviation.dtype)
    share = torch.empty_like(x, dtype=dtype)
    single = x.dtype == output.dtype == dtype == torch.float32 and norm.weight is not None
    # A GPU that has no kernels for this would be waited for.
    positive = norm.weight is not None and x.device.type == "cpu" and not (norm.weight < 0).any()
    upward = single and bool(positive)
    for rows in blocks(x):
        one = share[rows]
        cut, memory = _cut(norm, rows), options.scratch(one, 0)
        h = None if before is None else before[rows]
        if single:
            joins = rectified is not None
            _single_gain(cut, output[rows], h, memory, one, rectified=joins, upward=upward)
            continue
        _gain(cut, output[rows], memory, one)
        if h is not None:
            one.div_(torch.abs(h.to(one.dtype), out=memory).add_(EPSILON))
        if rectified is not None:
            one.mul_(rectified[rows])
    return share


def _fused(norm: Norm, output: Tensor, before: Tensor | None) -> Tensor | None:
    operands = norm.input, norm.mean, norm.deviation, norm.weight, output
    if before is None:
        return elementwise("norm", EPSILON, *operands)
    return elementwise("norm_of_product", EPSILON, *operands, before)


def _gain(norm: Norm, output: Tensor, memory: Tensor, share: Tensor) -> None:
    """Write the gain of both layers into ``share``."""
    x, deviation = norm.input.to(share.dtype), norm.deviation.to(share.dtype)
    if norm.mean is None:
        share.copy_(x)
    else:
        torch.sub(x, norm.mean, out=share)
    # (x / d)+ / (|h1| + e) = x+ / (|centred| + e d), and (h1 w)+ = (centred w / d)+
    torch.abs(share, out=memory).add_(EPSILON * deviation)
    if norm.weight is None and norm.bias is None:
        torch.clamp(x, min=0, out=share).div_(memory)
        return
    share.div_(memory).mul_(1 / deviation if norm.weight is None else norm.weight / deviation)
    share.clamp_(min=0).mul_(torch.clamp(x, min=0, out=memory))
    share.div_(torch.abs(output.to(share.dtype), out=memory).add_(EPSILON))


def _single_gain(
    norm: Norm,
    output: Tensor,
    before: Tensor | None,
    memory: Tensor,
    share: Tensor,
    *,
    rectified: bool,
    upward: bool,
) -> None:
    """Write the gain of both layers, and of the product before, into ``share``, in float32.

    ``|z| / (|z| + epsilon)`` is 1 there as far as ``z`` is known: epsilon is smaller than the
    rounding error of a sum. So ``(h1 weight)+ / (|h1| + epsilon)`` is ``|weight|`` or 0, the
    product's own ``x+ / (|x| + epsilon)`` is 1 or 0, and so is ``relu(h2) / (|h2| + epsilon)``
    if the gain is wanted times that (``rectified``): half the passes over memory. Where no weight
    is negative (``upward``), both of the former are 1 above one bound.
    """
    x = norm.input
    assert norm.weight is not None
    slope = norm.weight.abs() / norm.deviation
    if rectified:
        _keep_positive(slope.expand_as(share), output, out=share)
    else:
        torch.abs(output, out=share).add_(EPSILON)
        torch.div(slope, share, out=share)
    if upward:
        above = x if norm.mean is None else torch.sub(x, norm.mean.clamp(min=0), out=memory)
        _keep_positive(share, above)
    else:
        centred = x if norm.mean is None else torch.sub(x, norm.mean, out=memory)
        _keep_positive(share, torch.mul(centred, norm.weight, out=memory))
    if before is None or before.data_ptr() != x.data_ptr():
        share.mul_(x)
        if before is not None:
            share.div_(torch.abs(before, out=memory).add_(EPSILON))
    if not upward:
        _keep_positive(share, x)


def _keep_positive(share: Tensor, of: Tensor, out: Tensor | None = None) -> None:
    """Set to zero, in place by default, what belongs to a value that is not positive; NaN stays."""
    out = share if out is None else out
    torch.ops.aten.threshold_backward.grad_input(share, of, 0, grad_input=out)


def _cut(norm: Norm, index: Any) -> Norm:
    slices = (index,) if isinstance(index, slice) else index

    def of(value: Tensor | None) -> Tensor | None:
        if value is None or slices is ...:
            return value
        missing = norm.input.ndim - value.ndim
        # What is broadcast along an axis stays whole.
        return value[
            tuple(
                one if value.shape[axis - missing] > 1 else slice(None)
                for axis, one in enumerate(slices)
                if axis >= missing
            )
        ]

    deviation = of(norm.deviation)
    assert deviation is not None
    return Norm(norm.input[index], of(norm.mean), deviation, of(norm.weight), of(norm.bias))


register(ABSLRP, absolute)
