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
def interpolate(operation: Operation, input: Tensor, **options: Any) -> Backward:
    """``R = x+ W+^T s + x- W-^T s``; only bicubic weights have two signs.

    torch passes all options by name, the ones that were not given, too.
    """
    if options["mode"] != "bicubic":
        return positive_weights(operation, input, **options)
    return _bicubic(operation, input, options)


def _bicubic(operation: Operation, input: Tensor, options: dict[str, Any]) -> Backward:
    """Bicubic weights are a product of one matrix per axis, and so is their absolute value."""
    inverse = gain(operation.forward())
    transpose = transpose_of(operation.function, input, (), options)
    assert operation.output is not None
    sizes = operation.output.shape[2:]
    scale, exact = options["scale_factor"], options["recompute_scale_factor"]
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
            align_corners=options["align_corners"],
            antialias=options["antialias"],
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
