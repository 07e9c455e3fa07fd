"""Transposed convolutions: the input gradients of convolutions, with any weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

POSITIONS = 128
"""Positions of a sample from which on a pointwise product is a matrix product on a CPU."""


def sizes_of(value: Any, n: int) -> list[int]:
    """Return a stride, padding or dilation as one number per axis."""
    return [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)] * n


def symmetric(
    padding: Any, weight: Tensor, dilation: list[int], n: int
) -> tuple[list[int], list[int]]:
    """Symmetric padding, and how many entries of the output it then has too many in front.

    ``"same"`` with an even kernel pads one more behind than in front.
    """
    if padding == "valid":
        return [0] * n, [0] * n
    if padding == "same":
        sizes = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        return [size - size // 2 for size in sizes], [size % 2 for size in sizes]
    return sizes_of(padding, n), [0] * n


def input_gradient(
    input: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    output_padding: list[int],
    *,
    transposed: bool,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return ``(s, weight) -> W^T s`` for inputs of the given one's size; channels as in weight."""
    n = len(stride)
    batched = input.ndim == n + 2
    skips = any(padding) or any(output_padding) or set(stride) != {1} or groups != 1
    plain = not (skips or transposed or input.is_cuda)
    # Only the shape of the input is needed, so that its memory is not kept.
    sizes = input.shape[-n:]
    samples = len(input) if batched else 1

    def transpose(s: Tensor, weight: Tensor) -> Tensor:
        if plain and weight[0, 0].numel() == 1 and sizes.numel() >= POSITIONS:
            # A library's convolution brings operands into an order of its own first.
            product = weight.flatten(1).T @ s.flatten(-n)
            return product.reshape(*product.shape[:-1], *sizes)
        channels = len(weight) if transposed else weight.shape[1] * groups
        like = s.new_empty(samples, channels, *sizes)  # nothing reads or writes it
        result: Tensor = torch.ops.aten.convolution_backward(
            s if batched else s.unsqueeze(0),
            like,
            weight,
            None,
            stride,
            padding,
            dilation,
            transposed,
            output_padding,
            groups,
            [True, False, False],
        )[0]
        return result if batched else result.squeeze(0)

    return transpose


def subsampled_gradient(
    input: Tensor, stride: list[int], groups: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """Transpose a pointwise convolution that skips positions: those get nothing."""
    n = len(stride)
    sizes = input.shape[-n:]
    kept: tuple[Any, ...] = (..., *(slice(None, None, one) for one in stride))
    small = input[kept]
    gradient = input_gradient(small, [1] * n, [0] * n, [1] * n, groups, [0] * n, transposed=False)

    def transpose(s: Tensor, weight: Tensor) -> Tensor:
        part = gradient(s, weight)
        whole = part.new_zeros(*part.shape[:-n], *sizes)
        whole[kept] = part
        return whole

    return transpose
