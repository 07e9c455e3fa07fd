"""The global random number generators, for a while: Quantus's metrics draw from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gae_metric.explainers import captum


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators, and put them back as they were.

    Examples
    --------
    >>> values = []
    >>> for _ in range(2):
    ...     with seeded(0, 1):
    ...         values.append(random.random())
    >>> values[0] == values[1]
    True
    """
    seed = int(np.random.SeedSequence(list(key)).generate_state(1)[0])
    python = random.getstate()
    with captum.seeded(seed):
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
