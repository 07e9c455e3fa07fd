"""Which samples stand in which quadrants of every mosaic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MosaicPlan"]


@dataclass(frozen=True, eq=False)
class MosaicPlan:
    """One mosaic per sample of a data set: the sample itself and three others.

    Attributes
    ----------
    indices
        int64 array (N, 4): row i holds the data-set indices of mosaic i in row-major quadrant
        order (top left, top right, bottom left, bottom right).
    positive
        int64 array (N,): the quadrant of sample i in mosaic i, so that
        ``indices[i, positive[i]] == i``.

    Raises
    ------
    ValueError
        If the arrays are not such a plan, or a mosaic holds a sample twice.

    Examples
    --------
    >>> plan = MosaicPlan.draw(5, seed=0)
    >>> plan.indices.shape
    (5, 4)
    >>> bool((plan.indices[np.arange(5), plan.positive] == np.arange(5)).all())
    True
    """

    indices: NDArray[np.int64]
    positive: NDArray[np.int64]

    def __post_init__(self) -> None:
        indices, positive = _integers(self.indices, "indices"), _integers(self.positive, "positive")
        if indices.ndim != 2 or indices.shape[1] != 4:
            raise ValueError(f"indices: expected shape (N, 4), got {indices.shape}")
        if positive.shape != indices.shape[:1]:
            raise ValueError(f"positive: expected shape ({len(indices)},), got {positive.shape}")
        if (positive < 0).any() or (positive > 3).any():
            raise ValueError("positive: expected quadrants from 0 to 3")
        if (indices < 0).any() or (indices >= len(indices)).any():
            raise ValueError(f"indices: expected values from 0 to {len(indices) - 1}")
        own = np.arange(len(indices))
        for wrong, what in (
            (indices[own, positive] != own, "indices[i, positive[i]] == i"),
            (
                (np.diff(np.sort(indices, axis=1), axis=1) == 0).any(axis=1),
                "four different samples",
            ),
        ):
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise ValueError(
                    f"indices: expected {what} in every row, got {indices[row].tolist()} with "
                    f"positive {int(positive[row])} in row {row}"
                )
        indices.flags.writeable = positive.flags.writeable = False
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "positive", positive)

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def draw(cls, n: int, seed: int = 0, repeat: int = 0) -> MosaicPlan:
        """Draw a plan.

        Parameters
        ----------
        n
            Number of samples, at least 4.
        seed
            Non-negative seed: the plan depends on ``n``, ``seed`` and ``repeat`` only.
        repeat
            Number of the plan, for several mosaics per sample.

        Returns
        -------
        MosaicPlan
            Sample i with three others, drawn without replacement, in random quadrants.

        Raises
        ------
        ValueError
            If there are fewer than 4 samples or the seed is negative.

        Examples
        --------
        >>> len(MosaicPlan.draw(100, seed=1))
        100
        """
        if n < 4:
            raise ValueError(
                f"x_batch: a mosaic needs at least 4 samples (a positive and three others), got {n}"
            )
        if seed < 0 or repeat < 0:
            raise ValueError(f"seed: expected a non-negative integer, got {min(seed, repeat)}")
        rng = np.random.default_rng([seed, repeat])
        own = np.arange(n)
        # Three of the n - 1 others: each draw skips, in ascending order, what is taken.
        taken = own[:, None]
        for left in range(n - 1, n - 4, -1):
            drawn = rng.integers(left, size=n)
            for skipped in np.sort(taken, axis=1).T:
                drawn += drawn >= skipped
            taken = np.concatenate([taken, drawn[:, None]], axis=1)
        positive = rng.integers(4, size=n)
        # The quadrants after the positive's hold the others in the order drawn.
        places = (positive[:, None] + np.arange(4)) % 4
        indices = np.empty((n, 4), dtype=np.int64)
        np.put_along_axis(indices, places, taken, axis=1)
        return cls(indices, positive)

    def permute(self, order: ArrayLike) -> MosaicPlan:
        """Return the same mosaics for samples in another order.

        Parameters
        ----------
        order
            (N,) permutation: sample j of the new order is sample ``order[j]`` of this one's.

        Returns
        -------
        MosaicPlan
            So that ``x[order]`` with it gives the mosaics that ``x`` gives with this plan.

        Raises
        ------
        ValueError
            If ``order`` is not a permutation of N.

        Examples
        --------
        >>> plan = MosaicPlan.draw(4, seed=0)
        >>> bool((plan.permute([3, 2, 1, 0]).positive == plan.positive[::-1]).all())
        True
        """
        new = _integers(order, "order")
        if new.shape != (len(self),) or (np.sort(new) != np.arange(len(self))).any():
            raise ValueError(f"order: expected a permutation of {len(self)} samples")
        place = np.argsort(new)
        return MosaicPlan(place[self.indices[new]], self.positive[new])


def substitute(
    indices: NDArray[np.int64],
    usable: NDArray[np.bool_],
    own: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Replace samples that cannot be used by the next ones that can.

    Parameters
    ----------
    indices
        (M, 4) rows of a plan.
    usable
        (N,) which samples may stand in a mosaic.
    own
        (M,) a sample of each row that must not be put in twice.

    Returns
    -------
    ndarray
        (M, 4). Each unusable index becomes the next usable one, cyclically, that its row does not
        hold yet, or else any usable one but ``own``; -1 where there is none.

    Examples
    --------
    >>> substitute(np.array([[0, 1, 2, 3]]), np.array([True, False, True, True, True]))
    array([[0, 4, 2, 3]])
    """
    result: NDArray[np.int64] = indices.copy()
    pool = np.flatnonzero(usable)
    for row, column in np.argwhere(~usable[indices]):
        candidates = np.roll(pool, -int(np.searchsorted(pool, indices[row, column])))
        if own is not None:
            candidates = candidates[candidates != own[row]]
        fresh = candidates[~np.isin(candidates, result[row])]
        result[row, column] = next(iter([*fresh[:1], *candidates[:1]]), -1)
    return result


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.array(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: expected integers, got {array.dtype}")
    result: NDArray[np.int64] = array.astype(np.int64)
    return result
