"""Parts of a tensor that fit a processor's cache, for work that passes over it several times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

ENTRIES = 2**17
"""Entries of a block: half a megabyte of float32."""

Index = tuple[slice, ...]


def blocks(shape: Sequence[int], device: torch.device) -> Iterator[Index]:
    """Yield indices of parts that together are a tensor of some shape; on a GPU, all of it.

    Examples
    --------
    >>> [index for index in blocks((2, 3), torch.device("cpu"))]
    [()]
    >>> len(list(blocks((4, 256, 56, 56), torch.device("cpu"))))
    28
    """
    count = torch.Size(shape).numel()
    if device.type != "cpu" or count <= ENTRIES:
        yield ()
        return
    inner = count // shape[0]
    if inner >= ENTRIES and len(shape) > 1:
        for first in range(shape[0]):
            for rest in blocks(shape[1:], device):
                yield slice(first, first + 1), *rest
        return
    step = max(1, ENTRIES // max(1, inner))
    for first in range(0, shape[0], step):
        yield (slice(first, first + step),)


def cut(tensor: Tensor, index: Index, ndim: int) -> Tensor:
    """Return a block of a tensor that broadcasts to ``ndim`` axes."""
    if not index or tensor.ndim == 0:
        return tensor
    missing = ndim - tensor.ndim
    return tensor[
        tuple(
            one if tensor.shape[axis - missing] > 1 else slice(None)
            for axis, one in enumerate(index)
            if axis >= missing
        )
    ]
