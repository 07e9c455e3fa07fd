"""The plot that ``metric.plot()`` draws unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def plot_scores(results: Mapping[str, Sequence[float]] | pd.DataFrame, **kwargs: Any) -> None:
    """Draw the distribution of scores, one box for each entry.

    Parameters
    ----------
    results
        Scores by name: of several methods, or a metric's ``components``.
    **kwargs
        Passed to ``matplotlib.axes.Axes.boxplot``.

    Raises
    ------
    ValueError
        If there are no scores.

    Examples
    --------
    >>> plot_scores({"Saliency": [0.1, 0.2], "absLRP": [0.3, 0.5]})
    """
    import matplotlib.pyplot as plt

    scores = {str(name): np.asarray(values, dtype=float) for name, values in results.items()}
    scores = {name: values[np.isfinite(values)] for name, values in scores.items()}
    if not any(map(len, scores.values())):
        raise ValueError("results: expected scores by name, got none; call the metric first")
    _, axes = plt.subplots(figsize=(1.2 + 0.9 * len(scores), 3.2), layout="constrained")
    options: dict[str, Any] = {"showmeans": True, "medianprops": {"color": "black"}, **kwargs}
    axes.boxplot(list(scores.values()), tick_labels=list(scores), **options)
    axes.tick_params(axis="x", rotation=30)
    axes.set_ylabel("score")
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
