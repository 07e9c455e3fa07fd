"""Which samples a sheet shows, by no regard to what comes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(samples: NDArray[np.int64], classes: NDArray[np.int64], count: int) -> list[int]:
    """Choose samples at even distances, of different classes as far as there are any.

    Parameters
    ----------
    samples, classes
        The samples, in order, and the class of each.
    count
        How many; all where there are fewer.

    Examples
    --------
    >>> spread(np.arange(10), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2]), 3)
    [0, 3, 6]
    >>> spread(np.arange(4), np.zeros(4, dtype=int), 3)
    [0, 1, 2]
    """
    n = len(samples)
    chosen: list[int] = []
    for start in range(min(count, n)):
        first = start * n // min(count, n)
        order = [(first + i) % n for i in range(n)]
        left = [place for place in order if place not in chosen]
        seen = {int(classes[place]) for place in chosen}
        chosen.append(next((p for p in left if int(classes[p]) not in seen), left[0]))
    return [int(samples[place]) for place in sorted(chosen)]
