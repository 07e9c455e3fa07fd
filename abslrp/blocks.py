"""Elementwise work in pieces that fit into a CPU's cache.

A chain of ten elementwise operations on a large tensor reads and writes memory ten times; done
piece by piece it does so once. A GPU gets the whole tensor at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

ELEMENTS = 2**19
"""Elements of a piece."""


def blocks(x: Tensor) -> Iterator[Any]:
    """Return indices, slices of the first axis or of the first two, that together cover a tensor.

    Examples
    --------
    >>> import torch
    >>> [rows.stop - rows.start for rows in blocks(torch.empty(5, 2**18))]
    [2, 2, 1]
    >>> len(list(blocks(torch.empty(5, 3)))), len(list(blocks(torch.empty(5, 4, 2**18))))
    (1, 10)
    """
    if x.ndim == 0:
        yield ...
        return
    if x.is_cuda or x.ndim < 2 or x.numel() <= ELEMENTS:
        yield slice(0, len(x))
        return
    row = x.numel() // len(x)
    if row <= ELEMENTS or x.ndim == 2:
        yield from _slices(len(x), row)
        return
    for one in _slices(len(x), row):
        for part in _slices(x.shape[1], row // x.shape[1]):
            yield one, part


def _slices(length: int, size: int) -> Iterator[slice]:
    """Cut an axis whose entries have ``size`` elements each."""
    step = max(1, ELEMENTS // size)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
