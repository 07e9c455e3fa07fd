"""An evaluation in one row for each method and metric."""

from __future__ import annotations

import pandas as pd

from gae_metric.comparison.intervals import compare
from gae_metric.comparison.results import Results


def summary(results: Results) -> pd.DataFrame:
    """Return each cell's mean, interval and comparison with the best method.

    Returns
    -------
    pandas.DataFrame
        :func:`gae_metric.compare` of the scores, and ``seconds``.

    Examples
    --------
    >>> import numpy as np
    >>> results = Results(("A", "B"), {"GAE": "higher"}, np.zeros(2, dtype=np.int64))
    >>> results.scores = {("A", "GAE"): np.array([0.0, 1.0]), ("B", "GAE"): np.zeros(2)}
    >>> summary(results)[["method", "mean", "standard_error", "best"]].values.tolist()
    [['A', 0.5, 0.5, True], ['B', 0.0, 0.0, False]]
    """
    table = compare(results)
    cells = zip(table["method"], table["metric"], strict=True)
    table["seconds"] = [results.seconds.get(cell, float("nan")) for cell in cells]
    return table
