"""The inputs that must be explained, each told by sample, order and state, or mosaic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gae_metric.functional.masking import LERF, MORF

#: Entry of :class:`Items` for what does not apply.
NONE = -1


@dataclass(frozen=True, eq=False)
class Items:
    """Inputs that must be explained, one entry each.

    Attributes
    ----------
    row
        Which of the scored samples it belongs to.
    order
        ``LERF`` or ``MORF``; -1 for originals and mosaics.
    state
        State of the trajectory: 0 for originals; -1 for mosaics.
    mosaic
        Which of the sample's mosaics; -1 for originals and states.
    """

    row: NDArray[np.int64]
    order: NDArray[np.int64]
    state: NDArray[np.int64]
    mosaic: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Items:
        return Items(self.row[chosen], self.order[chosen], self.state[chosen], self.mosaic[chosen])


def items_of_each(originals: bool, steps: int, mosaics: int) -> NDArray[np.int64]:
    """List what must be explained of each sample: rows (order, state, mosaic), the original first.

    ``steps``: T; perturbed states are 1 to T-1 of both orders, and with 1 there are none.

    Examples
    --------
    >>> items_of_each(True, 1, 1).tolist()
    [[-1, 0, -1], [-1, -1, 0]]
    """
    each: list[tuple[int, int, int]] = [(NONE, 0, NONE)] if originals else []
    each += [(order, state, NONE) for order in (LERF, MORF) for state in range(1, steps)]
    each += [(NONE, NONE, mosaic) for mosaic in range(mosaics)]
    return np.array(each, dtype=np.int64).reshape(-1, 3)
