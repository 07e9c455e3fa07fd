"""Elementwise work in pieces that fit into a CPU's cache.

A chain of ten elementwise operations on a large tensor reads and writes memory ten times; done
piece by piece it does so once. A GPU gets the whole tensor at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

ELEMENTS = 2**17
"""Elements of a piece."""


def blocks(x: Tensor) -> Iterator[Any]:
    """Return indices, slices of the first axis, that together cover a tensor.

    Examples
    --------
    >>> import torch
    >>> [rows.stop - rows.start for rows in blocks(torch.empty(5, 2**16))]
    [2, 2, 1]
    >>> len(list(blocks(torch.empty(5, 3))))
    1
    """
    if x.ndim == 0:
        yield ...
        return
    whole = x.is_cuda or x.ndim < 2 or x.numel() <= ELEMENTS
    rows = max(1, len(x) if whole else len(x) * ELEMENTS // x.numel())
    for start in range(0, len(x), rows):
        yield slice(start, min(start + rows, len(x)))
