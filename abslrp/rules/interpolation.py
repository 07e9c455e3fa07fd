"""Interpolation and upsampling: eq. 12 with the interpolation's weights."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from abslrp.operation import Operation
from abslrp.registry import ABSLRP, Backward
from abslrp.rules.absolute import gain
from abslrp.rules.pooling import positive_weights
from abslrp.transposes import transpose_of


@ABSLRP.rule(F.interpolate)
def interpolate(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
    """``R = x+ W+^T s + x- W-^T s``; only bicubic weights have two signs."""
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "nearest")
    if mode != "bicubic":
        return positive_weights(operation, input, *args, **kwargs)
    return _bicubic(operation, input, args, kwargs)


def _bicubic(operation: Operation, input: Tensor, args: Any, kwargs: Any) -> Backward:
    """Bicubic weights are a product of one matrix per axis, and so is their absolute value."""
    inverse = gain(operation.forward())
    transpose = transpose_of(operation.function, input, args, kwargs)
    assert operation.output is not None
    sizes = operation.output.shape[2:]
    scale = kwargs.get("scale_factor", args[1] if len(args) > 1 else None)
    exact = kwargs.get("recompute_scale_factor", args[4] if len(args) > 4 else None)
    factors = scale if isinstance(scale, (tuple, list)) else [scale, scale]
    matrices = []
    for axis, size in enumerate(input.shape[2:]):
        # A line of one-hot rows, interpolated along one axis only, spells out the weights.
        eye = input.new_zeros(size, 1, size, 1)
        eye[range(size), 0, range(size), 0] = 1
        size_of = (
            {"size": (int(sizes[axis]), 1)}
            if scale is None or exact
            else {"scale_factor": (factors[axis], 1.0)}
        )
        line = F.interpolate(
            eye,
            mode="bicubic",
            align_corners=kwargs.get("align_corners", args[3] if len(args) > 3 else None),
            antialias=kwargs.get("antialias", False),
            **size_of,
        )
        matrices.append(line[:, 0, :, 0].abs())
    height, width = matrices
    absolute = input.abs()

    def backward(relevance: Tensor) -> tuple[Tensor]:
        s = relevance * inverse
        both = height @ s @ width.mT
        return ((input * transpose(s) + absolute * both).mul(0.5),)

    return backward


__all__ = ["interpolate"]
