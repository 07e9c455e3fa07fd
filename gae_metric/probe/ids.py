"""Names of the items of a probe set.

>>> import numpy as np
>>> from gae_metric.study.study import Items
>>> column = lambda *values: np.array(values)
>>> items = Items(column(0, 0, 0), column(-1, 1, -1), column(0, 3, -1), column(-1, -1, 0))
>>> item_ids(items, np.array([7]))
['7-original', '7-morf-3', '7-mosaic-0']
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gae_metric.functional.masking import LERF
from gae_metric.study.study import NONE, Items


def item_ids(items: Items, samples: NDArray[np.int64]) -> list[str]:
    """Return the items' names.

    Parameters
    ----------
    items
        Items of scored samples.
    samples
        Data-set index of each scored sample.

    Returns
    -------
    list of str
        ``7-original``, ``7-lerf-3`` and ``7-morf-3`` (state 3 of that order) or ``7-mosaic-0``,
        7 being the data-set index of the sample.
    """
    columns = (samples[items.row], items.order, items.state, items.mosaic)
    return [
        f"{sample}-original"
        if state == 0
        else f"{sample}-mosaic-{mosaic}"
        if mosaic != NONE
        else f"{sample}-{'lerf' if order == LERF else 'morf'}-{state}"
        for sample, order, state, mosaic in zip(*(c.tolist() for c in columns), strict=True)
    ]


def item_table(items: Items, samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return items as rows (sample, order, state, mosaic), (n, 4)."""
    return np.stack([samples[items.row], items.order, items.state, items.mosaic], axis=1)


def items_of_table(table: NDArray[np.int64], samples: NDArray[np.int64]) -> Items:
    """Turn :func:`item_table` back, given ascending samples that hold all of the table's."""
    row = np.searchsorted(samples, table[:, 0])
    return Items(row, table[:, 1], table[:, 2], table[:, 3])
