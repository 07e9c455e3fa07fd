"""SPEC 1.2, pooling, mean and sum as explicit linear maps, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.naive.contributions import Array, Share, Sizes, absolute_share, linear, spread


def pooled_size(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """PyTorch's output length; under ceil_mode no window may start beyond the input."""
    span = size + 2 * pad - dilation * (kernel - 1) - 1
    out = (-(-span // stride) if ceil else span // stride) + 1
    if ceil and (out - 1) * stride >= size + pad:
        out -= 1
    return out


def _windows(
    sizes: Sequence[int],
    kernel: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> tuple[tuple[int, ...], Iterator[tuple[tuple[int, ...], list[list[int]], int]]]:
    """The output size; per output: position, input coordinates per axis, padded window size."""
    n = len(sizes)
    kernel = spread(kernel, n)
    stride = kernel if stride is None else spread(stride, n)
    padding, dilation = spread(padding, n), spread(dilation, n)
    out = tuple(
        pooled_size(sizes[a], kernel[a], stride[a], padding[a], dilation[a], ceil_mode)
        for a in range(n)
    )

    def walk() -> Iterator[tuple[tuple[int, ...], list[list[int]], int]]:
        for position in np.ndindex(*out):
            inside, extent = [], 1
            for a in range(n):
                start = position[a] * stride[a] - padding[a]
                seen = [start + k * dilation[a] for k in range(kernel[a])]
                # A window of ceil_mode may hang over the end of the padded input.
                extent *= sum(i < sizes[a] + padding[a] for i in seen)
                inside.append([i for i in seen if 0 <= i < sizes[a]])
            yield position, inside, extent

    return out, walk()


def _flat(coordinates: Sequence[int], sizes: Sequence[int]) -> int:
    index = 0
    for i, size in zip(coordinates, sizes, strict=True):
        index = index * size + i
    return index


def _product(lists: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """All coordinates in row-major order."""
    for choice in np.ndindex(*[len(values) for values in lists]):
        yield tuple(values[c] for values, c in zip(lists, choice, strict=True))


def avg_pool_matrix(
    sizes: Sequence[int],
    kernel: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Array, tuple[int, ...]]:
    """Average pooling of one channel as (outputs, inputs), and the spatial output size."""
    out, walk = _windows(sizes, kernel, stride, padding, 1, ceil_mode)
    matrix = np.zeros((math.prod(out), math.prod(sizes)))
    for position, inside, extent in walk:
        count = math.prod(len(values) for values in inside)
        divisor = divisor_override or (extent if count_include_pad else count)
        for coordinates in _product(inside):
            matrix[_flat(position, out), _flat(coordinates, sizes)] = 1.0 / divisor
    return matrix, out


def adaptive_avg_pool_matrix(
    sizes: Sequence[int], output_size: Sizes
) -> tuple[Array, tuple[int, ...]]:
    """Adaptive average pooling: output i averages floor(i n / m) .. ceil((i + 1) n / m) - 1."""
    out = spread(output_size, len(sizes))
    matrix = np.zeros((math.prod(out), math.prod(sizes)))
    for position in np.ndindex(*out):
        inside = _adaptive(position, sizes, out)
        count = math.prod(len(values) for values in inside)
        for coordinates in _product(inside):
            matrix[_flat(position, out), _flat(coordinates, sizes)] = 1.0 / count
    return matrix, out


def _adaptive(
    position: Sequence[int], sizes: Sequence[int], out: Sequence[int]
) -> list[Sequence[int]]:
    return [
        range(p * n // m, -(-(p + 1) * n // m))
        for p, n, m in zip(position, sizes, out, strict=True)
    ]


def spatial_map(x: Array, matrix: Array, R: Array, share: Share = absolute_share) -> Array:
    """Eq. 12 of a linear map (outputs, inputs) that acts on each channel of (B, C, *size)."""
    flat = x.reshape(*x.shape[:2], -1)
    return linear(flat, matrix, None, R.reshape(*R.shape[:2], -1), share).reshape(x.shape)


def spatial_map_forward(x: Array, matrix: Array, out: Sequence[int]) -> Array:
    """The linear map of :func:`spatial_map`."""
    h: Array = (x.reshape(*x.shape[:2], -1) @ matrix.T).reshape(*x.shape[:2], *out)
    return h


def avg_pool(
    x: Array,
    R: Array,
    kernel: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    share: Share = absolute_share,
) -> Array:
    """Average pool: eq. 12 with constant positive weights."""
    matrix, _ = avg_pool_matrix(
        x.shape[2:], kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return spatial_map(x, matrix, R, share)


def adaptive_avg_pool(
    x: Array, R: Array, output_size: Sizes, share: Share = absolute_share
) -> Array:
    """Adaptive average pool: eq. 12 with constant positive weights."""
    return spatial_map(x, adaptive_avg_pool_matrix(x.shape[2:], output_size)[0], R, share)


def mean(
    x: Array,
    R: Array,
    axes: Sequence[int],
    keepdims: bool = False,
    share: Share = absolute_share,
) -> Array:
    """Mean over ``axes``: eq. 12 with weights 1/n."""
    return _reduction(x, R, axes, keepdims, lambda n: 1.0 / n, share)


def total(
    x: Array,
    R: Array,
    axes: Sequence[int],
    keepdims: bool = False,
    share: Share = absolute_share,
) -> Array:
    """Sum over ``axes``: eq. 12 with weights 1."""
    return _reduction(x, R, axes, keepdims, lambda _: 1.0, share)


def _reduction(
    x: Array,
    R: Array,
    axes: Sequence[int],
    keepdims: bool,
    weight: Callable[[int], float],
    share: Share,
) -> Array:
    axes = sorted(a % x.ndim for a in axes)
    if not keepdims:
        R = np.expand_dims(R, tuple(axes))
    last = list(range(x.ndim - len(axes), x.ndim))
    moved = np.moveaxis(x, axes, last)
    kept = moved.shape[: x.ndim - len(axes)]
    flat = moved.reshape(*kept, -1)
    matrix = np.full((1, flat.shape[-1]), weight(flat.shape[-1]))
    relevance = linear(flat, matrix, None, R.reshape(*kept, 1), share)
    return np.moveaxis(relevance.reshape(moved.shape), last, axes)


def _winners(
    x: Array, out: Sequence[int], walk: Iterator[tuple[tuple[int, ...], Sequence[Sequence[int]]]]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(index of the output, index of its winner): the first of the greatest, row by row."""
    for position, inside in walk:
        for b in range(x.shape[0]):
            for c in range(x.shape[1]):
                winner: tuple[int, ...] | None = None
                for coordinates in _product(inside):
                    here = (b, c, *coordinates)
                    if winner is None or x[here] > x[winner]:
                        winner = here
                assert winner is not None
                yield (b, c, *position), winner


def max_pool(
    x: Array,
    R: Array | None,
    kernel: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Array:
    """Max pool: R to the winner, the first in case of ties. With R = None: the forward value."""
    out, walk = _windows(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    pairs = _winners(x, out, ((position, inside) for position, inside, _ in walk))
    return _route_to_winners(x, R, out, pairs)


def adaptive_max_pool(x: Array, R: Array | None, output_size: Sizes) -> Array:
    """Adaptive max pool: R to the winner. With R = None: the forward value."""
    out = spread(output_size, x.ndim - 2)
    walk = ((position, _adaptive(position, x.shape[2:], out)) for position in np.ndindex(*out))
    return _route_to_winners(x, R, out, _winners(x, out, walk))


def _route_to_winners(
    x: Array,
    R: Array | None,
    out: Sequence[int],
    pairs: Iterator[tuple[tuple[int, ...], tuple[int, ...]]],
) -> Array:
    result = np.zeros((*x.shape[:2], *out)) if R is None else np.zeros_like(x)
    for output, winner in pairs:
        if R is None:
            result[output] = x[winner]
        else:
            result[winner] += R[output]
    return result
