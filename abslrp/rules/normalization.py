"""Batch, layer, group, instance and RMS norm: two layers of eq. 12, statistics held constant."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from abslrp.blocks import blocks
from abslrp.kernels import elementwise
from abslrp.norms import Norm, register
from abslrp.operation import Operation
from abslrp.precision import working
from abslrp.record import Options
from abslrp.registry import ABSLRP, Backward
from abslrp.rules.absolute import EPSILON


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
    weight = norm.weight
    single = x.dtype == output.dtype == dtype == torch.float32 and weight is not None
    # A GPU that has no kernels for this would be waited for.
    upward = weight is not None and x.device.type == "cpu" and bool(weight.min() >= 0)
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
    is negative (``upward``), all that are 1 or 0 are 1 above one bound.
    """
    x = norm.input
    assert norm.weight is not None
    slope = norm.weight.abs() / norm.deviation
    if not rectified:
        torch.abs(output, out=share).add_(EPSILON)
        torch.div(slope, share, out=share)
    gain = slope.expand_as(share) if rectified else share
    if upward:
        bound = _bound(norm, rectified=rectified)
        _keep_positive(gain, torch.sub(x, bound, out=memory), out=share)
    else:
        if rectified:
            _keep_positive(gain, output, out=share)
        centred = x if norm.mean is None else torch.sub(x, norm.mean, out=memory)
        _keep_positive(share, torch.mul(centred, norm.weight, out=memory), out=share)
    if before is None or before.data_ptr() != x.data_ptr():
        share.mul_(x)
        if before is not None:
            share.div_(torch.abs(before, out=memory).add_(EPSILON))
    if not upward:
        _keep_positive(share, x, out=share)


def _bound(norm: Norm, *, rectified: bool) -> Tensor:
    """Return what ``x`` is above where it, ``h1`` and, if that is rectified, ``h2`` are positive.

    For weights that are not negative. One of 0, whose bound may be NaN, has a slope of 0 anyway.
    """
    mean = norm.deviation.new_zeros(()) if norm.mean is None else norm.mean
    bound = mean.clamp(min=0)
    if norm.bias is None or norm.weight is None or not rectified:
        return bound
    return torch.maximum(bound, mean - norm.bias * norm.deviation / norm.weight)


def _keep_positive(share: Tensor, of: Tensor, *, out: Tensor) -> None:
    """Write zero where a value is not positive, ``share`` elsewhere and where it is NaN."""
    torch.ops.aten.threshold_backward.grad_input(share, of, 0, grad_input=out)


def _cut(norm: Norm, index: Any) -> Norm:
    if index == slice(0, len(norm.input)):
        return norm
    slices = (index,) if isinstance(index, slice) else index

    def of(value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
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
