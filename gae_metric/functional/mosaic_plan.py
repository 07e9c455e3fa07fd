"""Which samples stand in which quadrants of every mosaic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gae_metric.functional.draws import NEVER, Candidates, checked_order, take


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
    >>> plan = MosaicPlan.draw(np.arange(5), seed=0)
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
        elsewhere = indices[own, positive] != own
        twice = (np.diff(np.sort(indices, axis=1), axis=1) == 0).any(axis=1)
        faults = {"indices[i, positive[i]] == i": elsewhere, "four different samples": twice}
        for what, wrong in faults.items():
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
    def draw(
        cls, contents: ArrayLike, classes: ArrayLike | None = None, seed: int = 0, repeat: int = 0
    ) -> MosaicPlan:
        """Draw a plan, as metrics do.

        Parameters
        ----------
        contents
            (N,) integers, N at least 4: :func:`gae_metric.functional.content_hashes` of the
            samples, or anything that tells them apart.
        classes
            (N,) classes, so that each mosaic shows another one where there is another; by default
            all are different.
        seed
            Non-negative seed.
        repeat
            Number of the plan, for several mosaics per sample.

        Returns
        -------
        MosaicPlan
            See :func:`draw_mosaics`.

        Raises
        ------
        ValueError
            If there are fewer than 4 samples or an argument is not as described.

        Examples
        --------
        >>> len(MosaicPlan.draw(np.arange(100), seed=1))
        100
        """
        given = np.arange(np.asarray(contents).size) if classes is None else classes
        return cls(*draw_mosaics(contents, given, seed, repeat))

    def subset(self, samples: ArrayLike) -> MosaicPlan:
        """Return the mosaics of some samples, in any order.

        Parameters
        ----------
        samples
            (M,) different indices of this plan's samples, M at least 4.

        Returns
        -------
        MosaicPlan
            For ``x[samples]``. Mosaics of samples that are all among them stay; a sample that is
            not gives its place to the next one that is and is not in the mosaic yet.

        Raises
        ------
        ValueError
            If ``samples`` are no such indices.

        Examples
        --------
        >>> plan = MosaicPlan.draw(np.arange(9), seed=0)
        >>> plan.subset([8, 3, 4, 0, 1]).indices.max()
        np.int64(4)
        """
        chosen = _integers(samples, "samples")
        inside = (chosen >= 0) & (chosen < len(self))
        if chosen.ndim != 1 or not inside.all() or len(np.unique(chosen)) < max(4, len(chosen)):
            raise ValueError(
                f"samples: expected at least 4 different indices from 0 to {len(self) - 1}"
            )
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        indices = substitute(self.indices[chosen], place >= 0, chosen)
        return MosaicPlan(place[indices], self.positive[chosen])

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
        >>> plan = MosaicPlan.draw(np.arange(4), seed=0)
        >>> bool((plan.permute([3, 2, 1, 0]).positive == plan.positive[::-1]).all())
        True
        """
        return self.subset(checked_order(_integers(order, "order"), len(self)))


def draw_mosaics(
    contents: ArrayLike,
    classes: ArrayLike,
    seed: int = 0,
    repeat: int = 0,
    usable: ArrayLike | None = None,
    labels: ArrayLike | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw which samples stand in which quadrants of every sample's mosaic.

    Each sample orders the others by a hash of seed, its content and theirs, and takes the first
    three; quadrants come from a hash, too. So a mosaic does not depend on the order of the samples,
    and another sample changes only the mosaics that it enters. Where all three are of the sample's
    class, the next one of another class takes the place of the third.

    Parameters
    ----------
    contents
        (N,) integers: :func:`content_hashes`, or anything that tells samples apart.
    classes
        (N,) classes.
    seed, repeat
        Non-negative seed, and the number of the draw, for several mosaics per sample.
    usable
        (N,) booleans, by default all True: which samples may stand in others' mosaics.
    labels
        (N, K) booleans: which samples show which class, where they may show several. By default
        each shows its own.

    Returns
    -------
    indices
        int64 (N, 4), in row-major quadrant order. Where fewer than three others may stand in a
        mosaic one stands there again; -1 where none may.
    positive
        int64 (N,): the quadrant of sample i in mosaic i.

    Raises
    ------
    ValueError
        If there are fewer than 4 samples or an argument is not as described.

    Notes
    -----
    Cost: N(N - 1) hashes of 64 bits for a draw, half a second for 10,000 samples.

    Examples
    --------
    >>> indices, positive = draw_mosaics(np.arange(5), np.arange(5), seed=0)
    >>> bool((indices[np.arange(5), positive] == np.arange(5)).all())
    True
    """
    y = np.asarray(classes)
    candidates = Candidates(contents, y, seed, "mosaic", repeat, usable=usable)
    if len(y) < 4:
        raise ValueError(
            "x_batch: a mosaic needs at least 4 samples (a positive and three others), got "
            f"{len(y)}"
        )
    drawn = np.full((len(y), 4), -1)
    for i in range(len(y)):
        keys = candidates.keys(i)
        others = take(keys, 3)
        same = y == y[i] if labels is None else np.asarray(labels)[:, y[i]]
        if others and same[others].all():
            keys[same] = NEVER
            others[2:] = take(keys, 1) or others[2:]
        drawn[i] = [i, *others, *[*others[:1], -1][:1] * (3 - len(others))]
    places = candidates.places()
    indices = np.empty_like(drawn)
    np.put_along_axis(indices, places, drawn, axis=1)
    return indices, places[:, 0]


def substitute(
    indices: NDArray[np.int64], usable: NDArray[np.bool_], own: NDArray[np.int64] | None = None
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
    return array.astype(np.int64)
