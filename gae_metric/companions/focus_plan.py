"""Which images stand in which quadrants of Focus's mosaics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gae_metric.functional.draws import NEVER, Candidates, checked_order, take


@dataclass(frozen=True, eq=False)
class FocusPlan:
    """One mosaic per sample: two images of its class, itself one of them, and two of others.

    Attributes
    ----------
    indices
        int64 array (N, 4): row i holds the data-set indices of mosaic i in row-major quadrant
        order (top left, top right, bottom left, bottom right). A row of -1: no mosaic.
    target
        bool array (N, 4): the two quadrants that show sample i's class.

    Raises
    ------
    ValueError
        If the arrays are not such a plan.

    Examples
    --------
    >>> plan = FocusPlan.draw(np.arange(6), [0, 0, 1, 1, 2, 2])
    >>> plan.indices.shape, plan.target.sum(axis=1).tolist()
    ((6, 4), [2, 2, 2, 2, 2, 2])
    """

    indices: NDArray[np.int64]
    target: NDArray[np.bool_]

    def __post_init__(self) -> None:
        indices, target = np.array(self.indices), np.array(self.target)
        if indices.ndim != 2 or indices.shape[1] != 4 or indices.dtype.kind not in "iu":
            raise ValueError(
                f"indices: expected integers (N, 4), got {indices.dtype} {indices.shape}"
            )
        if target.shape != indices.shape or target.dtype != np.bool_:
            raise ValueError(
                f"target: expected booleans {indices.shape}, got {target.dtype} {target.shape}"
            )
        size = len(indices)
        fits = ((indices >= 0) & (indices < size)).all(axis=1)
        own = ((indices == np.arange(size)[:, None]) & target).any(axis=1)
        good = (fits & own & (target.sum(axis=1) == 2)) | (indices == -1).all(axis=1)
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise ValueError(
                f"indices: expected in row {row} four indices from 0 to {size - 1} with {row} in "
                f"one of two target quadrants, or -1 four times, got {indices[row].tolist()} with "
                f"target {target[row].tolist()}"
            )
        indices = indices.astype(np.int64)
        indices.flags.writeable = target.flags.writeable = False
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "target", target)

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def draw(
        cls, contents: ArrayLike, targets: ArrayLike, seed: int = 0, usable: ArrayLike | None = None
    ) -> FocusPlan:
        """Draw one mosaic for every sample.

        Sample i's mosaic holds i, another sample of i's class and two different samples of other
        classes (twice the same one where there is no second): the first in i's order of candidates
        (:class:`gae_metric.functional.draws.Candidates`). So a mosaic does not depend on the order
        of the samples, and another sample changes only the mosaics that it enters.

        Parameters
        ----------
        contents
            (N,) integers: :func:`gae_metric.functional.content_hashes` of the samples, or anything
            that tells them apart.
        targets
            (N,) classes.
        seed
            Non-negative seed.
        usable
            (N,) booleans, default all True: which samples may stand in others' mosaics.

        Returns
        -------
        FocusPlan
            With a row of -1 for a sample for whose class there is no other (usable) sample.

        Raises
        ------
        ValueError
            If all samples are of one class, or an argument is not as described.

        Examples
        --------
        >>> FocusPlan.draw([7, 8, 9], [0, 0, 1], seed=0).indices[2]
        array([-1, -1, -1, -1])
        """
        y = np.asarray(targets)
        if len(np.unique(y)) < 2:
            raise ValueError(
                "y_batch: Focus needs samples of at least two classes, as half of a mosaic shows "
                f"other classes, got {len(y)} samples of one"
            )
        candidates = Candidates(contents, y, seed, "focus", usable=usable)
        places = candidates.places()
        indices = np.full((len(y), 4), -1, dtype=np.int64)
        target = np.zeros((len(y), 4), dtype=bool)
        for i in range(len(y)):
            keys = candidates.keys(i)
            mates = take(np.where(y == y[i], keys, NEVER), 1)
            others = take(np.where(y == y[i], NEVER, keys), 2)
            if mates and others:
                indices[i, places[i]] = [i, *mates, others[0], others[-1]]
                target[i, places[i, :2]] = True
        return cls(indices, target)

    def permute(self, order: ArrayLike) -> FocusPlan:
        """Return the same mosaics for samples in another order.

        Parameters
        ----------
        order
            (N,) permutation: sample j of the new order is sample ``order[j]`` of this one's.

        Returns
        -------
        FocusPlan
            So that ``x[order]`` with it gives the mosaics that ``x`` gives with this plan.

        Raises
        ------
        ValueError
            If ``order`` is not a permutation of N.

        Examples
        --------
        >>> plan = FocusPlan.draw(np.arange(4), [0, 0, 1, 1])
        >>> bool((plan.permute([3, 2, 1, 0]).target == plan.target[::-1]).all())
        True
        """
        new = checked_order(order, len(self))
        indices = self.indices[new]
        return FocusPlan(np.where(indices < 0, -1, np.argsort(new)[indices]), self.target[new])
