"""Mosaics for Focus: two images of the target class and two of other classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FocusPlan"]


@dataclass(frozen=True)
class FocusPlan:
    """Which images stand in which quadrants of every sample's mosaic.

    Attributes
    ----------
    indices
        int64 array (N, 4): row i holds the data-set indices of mosaic i in row-major quadrant
        order (top left, top right, bottom left, bottom right). A row of -1: no mosaic.
    target
        bool array (N, 4): True in the two quadrants that show sample i's class; one of them holds
        sample i.

    Raises
    ------
    ValueError
        If the arrays are not such a plan.

    Examples
    --------
    >>> plan = FocusPlan.draw([0, 0, 1, 1, 2, 2], seed=0)
    >>> plan.indices.shape, plan.target.sum(axis=1).tolist()
    ((6, 4), [2, 2, 2, 2, 2, 2])
    """

    indices: NDArray[np.int64]
    target: NDArray[np.bool_]

    def __post_init__(self) -> None:
        indices, target = np.asarray(self.indices), np.asarray(self.target)
        if (
            indices.ndim != 2
            or indices.shape[1] != 4
            or not np.issubdtype(indices.dtype, np.integer)
        ):
            raise ValueError(
                f"indices must be integers of shape (N, 4), got {indices.dtype} {indices.shape}"
            )
        if target.shape != indices.shape or target.dtype != np.bool_:
            raise ValueError(
                f"target must be booleans of shape {indices.shape}, "
                f"got {target.dtype} {target.shape}"
            )
        size = len(indices)
        drawn = indices[:, 0] >= 0
        fits = (indices[drawn] >= 0).all() and (indices < size).all() and (indices >= -1).all()
        own = (indices == np.arange(size)[:, None]) & target
        if not fits or (target[drawn].sum(axis=1) != 2).any() or not own[drawn].any(axis=1).all():
            raise ValueError(
                "a plan's row i must hold four indices below N, exactly two target quadrants and i "
                "itself in one of them (or -1 four times)"
            )
        object.__setattr__(self, "indices", indices.astype(np.int64))
        object.__setattr__(self, "target", target)

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def draw(cls, targets: ArrayLike, seed: int, usable: ArrayLike | None = None) -> FocusPlan:
        """Draw one mosaic for every sample.

        Sample i's mosaic holds i, another sample of i's class and two different samples of other
        classes (twice the same one where there is no second), each drawn uniformly, in random
        quadrants. The draw of a sample depends on ``seed``, its index and ``targets`` only.

        Parameters
        ----------
        targets
            Classes (N,).
        seed
            Non-negative seed.
        usable
            Booleans (N,), default all True: samples that no other sample's mosaic may hold (say,
            because of a NaN). Draws that meet none of them are as without this argument.

        Returns
        -------
        FocusPlan
            With a row of -1 for a sample whose class has no other (usable) member.

        Raises
        ------
        ValueError
            If all samples are of one class.
        """
        y = np.asarray(targets)
        everyone = np.ones(len(y), dtype=bool)
        good = everyone if usable is None else np.asarray(usable, dtype=bool)
        if len(np.unique(y)) < 2:
            raise ValueError(
                "Focus needs samples of at least two classes in y_batch, got "
                f"{len(y)} samples of {len(np.unique(y))} class"
            )
        all_pool, good_pool = _Pool(y, everyone), _Pool(y, good)
        indices = np.full((len(y), 4), -1, dtype=np.int64)
        target = np.zeros((len(y), 4), dtype=bool)
        for i in range(len(y)):
            rng = np.random.default_rng([seed, i])
            quadrants = rng.permutation(4)
            row = all_pool.draw(i, rng)
            if row is not None and not good[row[row != i]].all():
                row = good_pool.draw(i, rng)
            if row is not None:
                indices[i, quadrants] = row
                target[i, quadrants[:2]] = True
        return cls(indices, target)


class _Pool:
    """The samples to draw from, sorted by class so that a class is one contiguous block."""

    def __init__(self, y: NDArray[np.int64], allowed: NDArray[np.bool_]) -> None:
        order = np.argsort(y, kind="stable")
        self.order = order[allowed[order]]
        self.start = np.searchsorted(y[self.order], y, side="left")
        self.stop = np.searchsorted(y[self.order], y, side="right")

    def draw(self, i: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Sample i, a mate and two others; None where there is no mate or no other."""
        start, stop = int(self.start[i]), int(self.stop[i])
        block = self.order[start:stop]
        mates = block[block != i]
        others = len(self.order) - len(block)
        if len(mates) == 0 or others == 0:
            return None
        drawn = rng.choice(others, 2, replace=others < 2)
        drawn = np.where(drawn < start, drawn, drawn + len(block))  # jump over i's own class
        return np.array([i, rng.choice(mates), *self.order[drawn]])
