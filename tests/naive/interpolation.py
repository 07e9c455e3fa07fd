"""SPEC 1.2, interpolation as an explicit linear map, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.naive.contributions import Array, Share, Sizes, absolute_share, spread
from tests.naive.pooling import spatial_map


def interpolation_weights(
    size: int,
    out: int,
    mode: str,
    align_corners: bool = False,
    scale_factor: float | None = None,
) -> Array:
    """One axis of torch.nn.functional.interpolate as (out, size).

    ``mode``: "nearest", "nearest-exact", "linear" (also "bilinear", "trilinear") or "bicubic".
    """
    scale = size / out if scale_factor is None else 1.0 / scale_factor
    matrix = np.zeros((out, size))
    for i in range(out):
        if mode in ("nearest", "nearest-exact"):
            where = i + (0.5 if mode == "nearest-exact" else 0.0)
            exact = where * size / out if scale_factor is None else where * scale
            matrix[i, min(math.floor(exact), size - 1)] = 1.0
            continue
        if align_corners:
            source = i * (size - 1) / (out - 1) if out > 1 else 0.0
        else:
            source = (i + 0.5) * scale - 0.5
        if mode == "bicubic":
            first, t = math.floor(source), source - math.floor(source)
            for offset, weight in zip(range(-1, 3), _cubic(t), strict=True):
                matrix[i, min(max(first + offset, 0), size - 1)] += weight
        else:
            source = max(source, 0.0)
            first = min(math.floor(source), size - 1)
            t = source - first
            matrix[i, first] += 1.0 - t
            matrix[i, min(first + 1, size - 1)] += t
    return matrix


def _cubic(t: float, a: float = -0.75) -> list[float]:
    """Keys' cubic convolution weights of the four neighbours at distances 1+t, t, 1-t, 2-t."""

    def near(d: float) -> float:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: float) -> float:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(1 + t), near(t), near(1 - t), far(2 - t)]


def interpolation_matrix(
    sizes: Sequence[int],
    mode: str,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    align_corners: bool = False,
) -> tuple[Array, tuple[int, ...]]:
    """Interpolation of one channel as (outputs, inputs): the Kronecker product of its axes."""
    n = len(sizes)
    factors: list[float | None] = [None] * n
    if size is not None:
        out = spread(size, n)
    else:
        assert scale_factor is not None
        given = [scale_factor] * n if isinstance(scale_factor, int | float) else list(scale_factor)
        out = tuple(math.floor(length * f) for length, f in zip(sizes, given, strict=True))
        factors = list(given)
    axes = [
        interpolation_weights(sizes[a], out[a], mode, align_corners, factors[a]) for a in range(n)
    ]
    matrix: Array = np.ones((1, 1))
    for axis in axes:
        matrix = np.kron(matrix, axis).astype(np.float64)
    return matrix, out


def interpolate(
    x: Array,
    R: Array,
    mode: str,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    align_corners: bool = False,
    share: Share = absolute_share,
) -> Array:
    """Interpolation: eq. 12 with the interpolation's weights."""
    matrix, _ = interpolation_matrix(x.shape[2:], mode, size, scale_factor, align_corners)
    return spatial_map(x, matrix, R, share)
