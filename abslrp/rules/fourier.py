"""Fourier transforms: a matrix product along each axis, of real and imaginary parts together."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from abslrp.registry import COMMON

aten = torch.ops.aten


def along(transform: Callable[[Tensor], Tensor], x: Tensor, dim: int) -> Tensor:
    """Write a transform of the last axis out as a product along an axis with its matrix."""
    moved = x.movedim(dim, -1)
    basis = torch.eye(moved.shape[-1], dtype=x.dtype, device=x.device)
    if x.is_complex():
        moved = torch.view_as_real(moved.resolve_conj()).flatten(-2)
        basis = torch.stack([basis, basis * 1j], 1).flatten(0, 1)
    matrix = transform(basis)
    if not matrix.is_complex():
        return (moved @ matrix).movedim(-1, dim)
    result = moved @ torch.view_as_real(matrix).flatten(-2)
    pairs = result.reshape(*result.shape[:-1], -1, 2)
    return torch.complex(pairs[..., 0], pairs[..., 1]).movedim(-1, dim)


@COMMON.decomposition("_fft_c2c")
def complex_to_complex(x: Tensor, dims: Sequence[int], *options: Any) -> Tensor:
    """Transform axis by axis."""
    for dim in dims:
        x = along(lambda basis: aten._fft_c2c(basis, [1], *options), x, dim)
    return x


@COMMON.decomposition("_fft_r2c")
def real_to_complex(x: Tensor, dims: Sequence[int], norm: int, onesided: bool) -> Tensor:
    """Transform the last of the axes, then the others."""
    x = along(lambda basis: aten._fft_r2c(basis, [1], norm, onesided), x, dims[-1])
    return complex_to_complex(x, dims[:-1], norm, True)


@COMMON.decomposition("_fft_c2r")
def complex_to_real(x: Tensor, dims: Sequence[int], norm: int, size: int) -> Tensor:
    """Transform the last of the axes after the others."""
    x = complex_to_complex(x, dims[:-1], norm, False)
    return along(lambda basis: aten._fft_c2r(basis, [1], norm, size), x, dims[-1])
