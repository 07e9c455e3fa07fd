"""How the scores of samples are distributed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gae_metric._names import NO_SCORES, two_lines
from gae_metric.plotting import _style


def distribution(
    results: Mapping[str, Sequence[float]] | pd.DataFrame,
    title: str = "",
    *,
    path: str | PathLike[str] | None = None,
    figure: Figure | None = None,
    **kwargs: Any,
) -> Figure:
    """Draw every sample's score, and a box of quartiles with the mean, one row for each entry.

    Parameters
    ----------
    results
        Scores (N,) by name: of several methods, or a metric's ``components``. Scores that are not
        finite are left out.
    title
        Title of the figure.
    path
        File to save the figure in too; its ending says the format.
    figure
        Figure to draw in, which is emptied and resized, such as one of pyplot's; by default a new
        one.
    **kwargs
        Passed to ``matplotlib.axes.Axes.boxplot``.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide.

    Raises
    ------
    ValueError
        If there are no scores.

    Examples
    --------
    >>> figure = distribution({"Saliency": [0.1, 0.2], "absLRP": [0.3, 0.5]})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['Saliency', 'absLRP']
    """
    wanted = {str(name): values for name, values in results.items() if name not in NO_SCORES}
    scores = {name: np.asarray(values, dtype=float) for name, values in wanted.items()}
    scores = {name: values[np.isfinite(values)] for name, values in scores.items()}
    if not any(map(len, scores.values())):
        raise ValueError("results: expected scores by name, got none; call the metric first")
    figure = _style.figure(_style.COLUMN_WIDTH, 0.65 + 0.32 * len(scores), figure)
    axes = figure.add_subplot()
    for place, values in enumerate(scores.values()):
        # Spread evenly by the golden ratio and not at random, so that figures are reproducible.
        spread = (np.arange(len(values)) * 0.618034) % 1 - 0.5
        axes.scatter(
            values, place + 0.6 * spread, s=5, color=_style.BLUE, alpha=0.5, linewidths=0, zorder=1
        )
    options: dict[str, Any] = {
        "orientation": "horizontal",
        "widths": 0.6,
        "showfliers": False,
        "showmeans": True,
        "medianprops": {"color": _style.BLACK, "linewidth": 1},
        "boxprops": {"linewidth": 0.7},
        "whiskerprops": {"linewidth": 0.7},
        "capprops": {"linewidth": 0.7},
        "meanprops": {
            "marker": "D",
            "markersize": 4,
            "markerfacecolor": _style.ORANGE,
            "markeredgecolor": _style.BLACK,
            "markeredgewidth": 0.5,
        },
        **kwargs,
    }
    axes.boxplot(list(scores.values()), positions=range(len(scores)), zorder=2, **options)
    _style.line_axes(axes, "", "score")
    axes.set_yticks(range(len(scores)), [_label(name) for name in scores], fontsize=_style.SMALL)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.axvline(0, color=_style.GRAY, linewidth=0.4, zorder=0)
    return _style.finish(figure, title, path)


def _label(name: str) -> str:
    """Break a name into lines, at the spaces or underscores if it has some."""
    words = name.replace("_", " ")
    return "\n".join(textwrap.wrap(words, 14)) if " " in words else two_lines(name, 16)
