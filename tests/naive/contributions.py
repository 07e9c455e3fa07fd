"""Eq. 12 and its relatives (SPEC 1.1, 3) as explicit sums of contributions, in float64.

Every linear operation is written as h_j = sum_k z_jk + b_j with the contributions
z_jk = x_k w_jk. A *share* turns (z, b, R) into messages R_{k<-j}, one per contribution; summing
the messages of input k over all outputs j is its relevance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
Share: TypeAlias = Callable[[Array, "Array | float", Array], Array]
Sizes: TypeAlias = "int | Sequence[int]"

EPSILON = 1e-9
"""SPEC 1.1: the epsilon of eq. 12."""


def absolute_share(z: Array, bias: Array | float, R: Array) -> Array:
    """Eq. 12: z^+ / (|h| + 1e-9) * R with h = sum(z) + bias.

    ``z`` is (..., J, K), K contributions to each of J outputs; ``bias`` and ``R`` are (..., J).
    The bias counts in h only. Returns messages (..., J, K).
    """
    h = z.sum(axis=-1) + bias
    s = R / (np.abs(h) + EPSILON)
    messages: Array = np.maximum(z, 0.0) * s[..., None]
    return messages


def epsilon_share(epsilon: float = EPSILON) -> Share:
    """LRP-epsilon (SPEC 3): z / (h + epsilon sign(h)) * R, sign(0) = +1, the bias within h."""

    def share(z: Array, bias: Array | float, R: Array) -> Array:
        h = z.sum(axis=-1) + bias
        stabilised = h + epsilon * np.where(h >= 0.0, 1.0, -1.0)
        messages: Array = z * (R / stabilised)[..., None]
        return messages

    return share


def alpha_beta_share(
    alpha: float, beta: float, epsilon: float = 0.0, bias_in_sums: bool = True
) -> Share:
    """LRP-alpha-beta (SPEC 3): alpha z^+ / sum(z^+) - beta z^- / sum(z^-), times R.

    x_0 = 1 makes the bias one of the contributions, so by default its positive (negative) part
    counts in the positive (negative) sum. ``epsilon`` moves both sums away from 0; 0/0 := 0.
    """

    def share(z: Array, bias: Array | float, R: Array) -> Array:
        kept = np.asarray(bias, dtype=np.float64) if bias_in_sums else np.zeros(())
        positive, negative = np.maximum(z, 0.0), np.minimum(z, 0.0)
        positive_sum = positive.sum(axis=-1) + np.maximum(kept, 0.0) + epsilon
        negative_sum = negative.sum(axis=-1) + np.minimum(kept, 0.0) - epsilon
        positive_part = positive * divide(R, positive_sum)[..., None]
        negative_part = negative * divide(R, negative_sum)[..., None]
        return alpha * positive_part - beta * negative_part

    return share


def divide(a: Array, b: Array) -> Array:
    """a / b with x / 0 := 0 (used only where b = 0 implies that a's factor is 0 too)."""
    a, b = np.broadcast_arrays(a, b)
    out = np.zeros(a.shape)
    np.divide(a, b, out=out, where=b != 0.0)
    return out


def linear(
    x: Array, weight: Array, bias: Array | None, R: Array, share: Share = absolute_share
) -> Array:
    """Relevance of ``x`` (..., K) through h = x W^T + b with W (J, K); ``R`` is (..., J)."""
    z = x[..., None, :] * weight
    relevance: Array = share(z, 0.0 if bias is None else bias, R).sum(axis=-2)
    return relevance


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """h = x W^T + b."""
    h: Array = (x[..., None, :] * weight).sum(axis=-1)
    return h if bias is None else h + bias


def spread(value: Sizes, n: int) -> tuple[int, ...]:
    """One number per spatial axis."""
    values = (value,) * n if isinstance(value, int) else tuple(value)
    return values * n if len(values) == 1 else values


class _Windows:
    """The geometry of an n-dimensional convolution, position by position."""

    def __init__(
        self,
        x: Array,
        weight: Array,
        stride: Sizes,
        padding: Sizes | str,
        dilation: Sizes,
        groups: int,
    ) -> None:
        n = weight.ndim - 2
        self.kernel = weight.shape[2:]
        self.stride, self.dilation = spread(stride, n), spread(dilation, n)
        if padding == "same":
            # PyTorch puts the odd element of the padding at the end.
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
            self.pads = [(t // 2, t - t // 2) for t in totals]
        else:
            amounts: Sizes = 0 if padding == "valid" or isinstance(padding, str) else padding
            self.pads = [(p, p) for p in spread(amounts, n)]
        self.padded = np.pad(x, [(0, 0), (0, 0), *self.pads])
        self.sizes = tuple(
            (length - d * (k - 1) - 1) // s + 1
            for length, d, k, s in zip(
                self.padded.shape[2:], self.dilation, self.kernel, self.stride, strict=True
            )
        )
        inputs, outputs = x.shape[1] // groups, weight.shape[0] // groups
        self.groups = [
            (slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs))
            for g in range(groups)
        ]

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Every output position with the window of the padded input that it sees."""
        for position in np.ndindex(*self.sizes):
            yield (
                position,
                tuple(
                    slice(p * s, p * s + d * (k - 1) + 1, d)
                    for p, s, d, k in zip(
                        position, self.stride, self.dilation, self.kernel, strict=True
                    )
                ),
            )

    def crop(self, padded: Array) -> Array:
        """Without the padding."""
        keep = [
            slice(lo, size - hi) for (lo, hi), size in zip(self.pads, padded.shape[2:], strict=True)
        ]
        inside = (slice(None), slice(None), *keep)
        return padded[inside]


def conv(
    x: Array,
    weight: Array,
    bias: Array | None,
    R: Array,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    share: Share = absolute_share,
) -> Array:
    """Relevance of ``x`` (B, C, *size) through conv1d/2d/3d; weight (O, C/groups, *kernel)."""
    windows = _Windows(x, weight, stride, padding, dilation, groups)
    relevance = np.zeros_like(windows.padded)
    for position, window in windows:
        for inputs, outputs in windows.groups:
            seen = (slice(None), inputs, *window)
            patch = windows.padded[seen]
            w = weight[outputs]
            z = patch.reshape(len(x), 1, -1) * w.reshape(1, len(w), -1)
            b = 0.0 if bias is None else bias[outputs]
            at: tuple[slice | int, ...] = (slice(None), outputs, *position)
            messages = share(z, b, R[at])
            relevance[seen] += messages.sum(axis=1).reshape(patch.shape)
    return windows.crop(relevance)


def conv_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation as PyTorch defines it, position by position."""
    windows = _Windows(x, weight, stride, padding, dilation, groups)
    h = np.zeros((len(x), len(weight), *windows.sizes))
    for position, window in windows:
        for inputs, outputs in windows.groups:
            seen = (slice(None), inputs, *window)
            at: tuple[slice | int, ...] = (slice(None), outputs, *position)
            patch = windows.padded[seen]
            w = weight[outputs]
            z = patch.reshape(len(x), 1, -1) * w.reshape(1, len(w), -1)
            h[at] = z.sum(axis=-1)
    return h if bias is None else h + bias.reshape(1, -1, *[1] * (x.ndim - 2))


def conv_transpose_matrix(
    sizes: Sequence[int],
    weight: Array,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> tuple[Array, tuple[int, ...]]:
    """The transposed convolution as one dense matrix, and its spatial output size.

    ``weight`` is (C, O/groups, *kernel). Input position p and kernel offset k meet output
    position p * stride + k * dilation - padding. The matrix is (O * outputs, C * inputs).
    """
    n = weight.ndim - 2
    kernel = weight.shape[2:]
    stride, padding = spread(stride, n), spread(padding, n)
    output_padding, dilation = spread(output_padding, n), spread(dilation, n)
    out = tuple(
        (sizes[a] - 1) * stride[a]
        - 2 * padding[a]
        + dilation[a] * (kernel[a] - 1)
        + output_padding[a]
        + 1
        for a in range(n)
    )
    channels, outputs = weight.shape[0], weight.shape[1] * groups
    matrix = np.zeros((outputs, *out, channels, *sizes))
    for p, k in itertools.product(np.ndindex(*sizes), np.ndindex(*kernel)):
        q = tuple(p[a] * stride[a] + k[a] * dilation[a] - padding[a] for a in range(n))
        if any(not 0 <= q[a] < out[a] for a in range(n)):
            continue
        for c in range(channels):
            group = c // (channels // groups)
            for o in range(weight.shape[1]):
                row = group * weight.shape[1] + o
                met, offset = (row, *q, c, *p), (c, o, *k)
                matrix[met] += weight[offset]
    return matrix.reshape(outputs * math.prod(out), channels * math.prod(sizes)), out


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None,
    R: Array,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
    share: Share = absolute_share,
) -> Array:
    """Relevance of ``x`` (B, C, *size) through conv_transpose1d/2d/3d, by its dense matrix."""
    matrix, out = conv_transpose_matrix(
        x.shape[2:], weight, stride, padding, output_padding, groups, dilation
    )
    b = None if bias is None else np.repeat(bias, math.prod(out))
    flat = linear(x.reshape(len(x), -1), matrix, b, R.reshape(len(x), -1), share)
    return flat.reshape(x.shape)


def conv_transpose_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Array:
    """Transposed convolution by its dense matrix."""
    matrix, out = conv_transpose_matrix(
        x.shape[2:], weight, stride, padding, output_padding, groups, dilation
    )
    b = None if bias is None else np.repeat(bias, math.prod(out))
    return linear_forward(x.reshape(len(x), -1), matrix, b).reshape(len(x), -1, *out)
