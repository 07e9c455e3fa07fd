"""Samples in whatever holds them, in memory or not, read a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.study.conversion import as_tensor


class Samples:
    """Samples (N, ...), read when they are asked for.

    Parameters
    ----------
    values
        An array or tensor, a memory map, a ``torch.utils.data.Dataset`` whose items are samples or
        tuples that begin with one, or anything with a length that gives items or slices.
    name
        The argument, for errors.

    Attributes
    ----------
    shape, dtype
        As of one tensor of them all.

    Raises
    ------
    ValueError
        If they are no numbers, or, when they are read, if one has another shape than the first.

    Examples
    --------
    >>> from torch.utils.data import TensorDataset
    >>> samples = Samples(TensorDataset(torch.eye(3), torch.arange(3)), "x_batch")
    >>> samples.shape, samples[np.array([2, 0])].tolist()
    (torch.Size([3, 3]), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    """

    def __init__(self, values: Any, name: str) -> None:
        if is_held(values):
            values = as_tensor(values, name)
        self._values, self._name, self._turned = values, name, False
        self._slices = hasattr(values, "shape") and hasattr(values, "dtype")
        if self._slices and not values.shape:  # one number
            values = self._values = as_tensor(values, name)[None]
        first = self._read(0, min(len(values), 1))
        self._form = first[0].shape if first else torch.Size(getattr(values, "shape", (0,))[1:])
        self.shape = torch.Size([len(values), *self._form])
        self.dtype = first[0].dtype if first else torch.get_default_dtype()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def channels_first(self, channel_first: bool | None) -> Samples:
        """Have the channels of (N, ..., C) samples read as their first axis."""
        if channel_first not in (None, True, False):
            raise ValueError(f"channel_first: expected True, False or None, got {channel_first!r}")
        if channel_first is False and self.ndim > 2:
            self._turned = True
            self.shape = torch.Size([len(self), self.shape[-1], *self.shape[1:-1]])
        return self

    def __getitem__(self, samples: NDArray[np.int64]) -> Tensor:
        """Read samples (n, ...), a copy of them, where they lie."""
        rows: list[Tensor] = []
        for run in np.split(samples, np.flatnonzero(np.diff(samples) != 1) + 1):
            rows += self._read(int(run[0]), int(run[-1]) + 1)
        for i, row in zip(samples.tolist(), rows, strict=True):
            if row.shape != self._form:
                raise ValueError(
                    f"{self._name}: expected samples of one shape, got {tuple(row.shape)} for "
                    f"sample {i} and {tuple(self._form)} for sample 0"
                )
        found = torch.stack(rows)
        # In one order of memory, so that no score depends on the caller's.
        return (found.movedim(-1, 1) if self._turned else found).contiguous()

    def _read(self, start: int, stop: int) -> list[Tensor]:
        if self._slices:
            return list(as_tensor(self._values[start:stop], self._name))
        return [as_tensor(x, self._name) for x in items(self._values, 0, range(start, stop))]


def is_held(values: Any) -> bool:
    """Whether values are made a tensor at once: lists, tables (whose items are columns), sparse."""
    if not (hasattr(values, "__len__") and hasattr(values, "__getitem__")):
        return True
    kinds = (Tensor, list, tuple, str, Mapping)
    return isinstance(values, kinds) or hasattr(values, "iloc") or hasattr(values, "toarray")


def items(values: Any, part: int, places: range) -> Iterator[Any]:
    """Yield items, or, of those that are tuples, a part: 0 the sample, 1 its class."""
    for i in places:
        try:
            item = values[i]
        except (AttributeError, TypeError):  # it takes slices alone
            item = values[i : i + 1][0]
        yield item[part] if isinstance(item, tuple) else item
