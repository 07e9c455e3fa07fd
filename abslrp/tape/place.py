"""Where the samples of a batch are in a tensor: followed exactly, never guessed from sizes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class SamplesMixedError(ValueError):
    """A call takes entries of several samples together, so that no sample has a map of its own."""


class LostPlaceError(Exception):
    """The samples can no longer be told from the order of a tensor's entries."""


class Place(NamedTuple):
    """Entry ``k`` of a tensor, in row-major order, belongs to sample ``(k // inner) % batch``.

    This holds for a batch axis anywhere, and for one that was merged with others by a view.

    Examples
    --------
    >>> Place(4, 6).axis((4, 2, 3))
    (0, 1)
    >>> Place(4, 6).axis((8, 3))  # samples and pairs merged: two rows a sample
    (0, 2)
    """

    batch: int
    inner: int

    @classmethod
    def of(cls, tensor: Tensor) -> Place:
        """Return the place of a batch whose samples are along the first axis."""
        return cls(len(tensor), max(1, tensor[0].numel()))

    def axis(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return the axis that holds the samples, and how many of its entries in a row are one's.

        Raises
        ------
        LostPlaceError
            If they are spread over several axes.
        """
        after = 1
        for axis in range(len(shape) - 1, -1, -1):
            size = shape[axis]
            if size > 1 and after <= self.inner < after * size:
                within, rest = divmod(self.inner, after)
                if rest or size % (within * self.batch):
                    raise LostPlaceError
                return axis, within
            after *= size
        raise LostPlaceError

    def moved(
        self, shape: Sequence[int], axes: Sequence[int | None] | None, to: Sequence[int]
    ) -> Place:
        """Return the place in a tensor of shape ``to`` whose axes come from this one's.

        Parameters
        ----------
        shape
            Of the tensor that the place is in.
        axes
            For each of its axes the one of the new tensor, None where entries were mixed; None in
            place of the list if the order of the entries is the same.
        to
            The new tensor's shape.

        Raises
        ------
        SamplesMixedError
            If the samples' axis was mixed.
        LostPlaceError
            If the samples are spread over several axes that were moved.
        """
        if self.batch == 1:
            return Place(1, 1)  # all is its own, whatever the input's size
        if axes is None:
            return self
        axis, within = self.axis(shape)
        target = axes[axis]
        if target is None or target >= len(to) or to[target] % (within * self.batch):
            raise SamplesMixedError
        return Place(self.batch, within * math.prod(to[target + 1 :]))

    def totals(self, relevance: Tensor) -> Tensor:
        """Return the sum of each sample: (S, *shape) to (S, batch), in memory of its own."""
        if relevance.is_complex():
            relevance = relevance.real + relevance.imag
        wide = torch.promote_types(relevance.dtype, torch.float32)
        if not relevance.numel():
            return relevance.new_zeros(len(relevance), self.batch, dtype=wide)
        if self.batch == 1:
            return relevance.reshape(len(relevance), -1).sum(1, dtype=wide)[:, None]
        shape = relevance.shape[1:]
        with contextlib.suppress(LostPlaceError):
            axis, _ = self.axis(shape)
            if shape[axis] == self.batch and len(shape) > 1:
                others = [one + 1 for one in range(len(shape)) if one != axis]
                return relevance.sum(others, dtype=wide)
        split = relevance.reshape(relevance.shape[0], -1, self.batch, self.inner)
        return split.sum((1, 3), dtype=wide)

    def spread(self, factor: Tensor, shape: Sequence[int]) -> Tensor:
        """Return (S, batch) factors so that they broadcast against (S, *shape)."""
        if self.batch == 1:
            return factor.reshape(-1, *[1] * len(shape))
        if 0 in shape:  # nothing is to be multiplied
            return factor.new_ones([1] * (len(shape) + 1))
        axis, within = self.axis(shape)
        outer = shape[axis] // (within * self.batch)
        whole = factor[:, None, :, None].expand(-1, outer, -1, within)
        return whole.reshape(-1, *[1] * axis, shape[axis], *[1] * (len(shape) - axis - 1))
