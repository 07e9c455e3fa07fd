"""A table of results as bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gae_metric.plotting import _style

__all__ = ["bars"]


def bars(summary: pd.DataFrame, title: str = "", columns: int = 2) -> Figure:
    """Draw one panel per metric with a bar per method: its mean, and the standard error.

    Parameters
    ----------
    summary
        One row per method and metric, with columns ``method``, ``metric``, ``mean``,
        ``standard_error`` and, optionally, ``better`` ("higher" or "lower", shown as an arrow)
        and ``best`` (whether the bar is drawn in another colour).
    title
        Title of the figure.
    columns
        Panels side by side.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide for two panels side by side.

    Raises
    ------
    ValueError
        If a column is missing or there are no rows.

    Examples
    --------
    >>> table = pd.DataFrame({"method": ["absLRP", "Random"], "metric": "GAE",
    ...                       "mean": [0.3, 0.0], "standard_error": [0.02, 0.0]})
    >>> bars(table).axes[0].get_title(loc="left")
    'GAE'
    """
    absent = {"method", "metric", "mean", "standard_error"} - set(summary.columns)
    if absent or summary.empty:
        raise ValueError(
            f"summary: expected rows with the columns method, metric, mean, standard_error; "
            f"{'no rows' if not absent else 'missing: ' + ', '.join(sorted(absent))}"
        )
    metrics = list(dict.fromkeys(summary["metric"]))
    methods = list(dict.fromkeys(summary["method"]))
    columns = min(columns, len(metrics))
    rows = -(-len(metrics) // columns)
    width = _style.COLUMN_WIDTH * max(1.0, columns / 2)
    figure = _style.figure(width, rows * (0.45 + 0.14 * len(methods)) + (0.2 if title else 0))
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    places = np.arange(len(methods))
    for panel, metric in zip(panels.ravel(), metrics, strict=False):
        chosen = summary[summary["metric"] == metric].set_index("method").reindex(methods)
        best = chosen.get("best", pd.Series(False, index=chosen.index)).fillna(False).astype(bool)
        panel.barh(
            places,
            chosen["mean"].to_numpy(dtype=float),
            xerr=chosen["standard_error"].fillna(0).to_numpy(dtype=float),
            color=[_style.ORANGE if value else _style.BLUE for value in best],
            height=0.7,
            error_kw={"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7, "ecolor": _style.BLACK},
        )
        better = chosen["better"].dropna() if "better" in chosen else pd.Series(dtype=str)
        arrow = {"higher": " ↑", "lower": " ↓"}.get(better.iloc[0], "") if len(better) else ""
        _style.line_axes(panel, f"{metric}{arrow}")
        panel.set_yticks(places, methods, fontsize=_style.SMALL)
        panel.set_ylim(len(methods) - 0.4, -0.6)
    for panel in panels.ravel()[len(metrics) :]:
        panel.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=_style.TITLE)
    return figure
