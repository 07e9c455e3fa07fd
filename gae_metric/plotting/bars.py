"""Scores as bars with intervals, and one by one."""

import textwrap
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from abslrp.arrays import as_numbers
from gae_metric._names import NO_SCORES, two_lines
from gae_metric.errors import check_integer
from gae_metric.plotting import _style


def bars(
    summary: pd.DataFrame,
    title: str = "",
    columns: int = 2,
    *,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw one panel per metric with a bar per method: its mean, and an interval.

    The tables of the paper (1-13) as a picture.

    Parameters
    ----------
    summary
        One row per method and metric, as :func:`gae_metric.compare` returns them for one model:
        columns ``method``, ``metric``, ``mean``, and ``ci_low`` and ``ci_high`` (the ends of the
        line across the bar's end) or ``standard_error`` (mean ± standard error is drawn).
        Optional: ``better`` ("higher" or "lower", shown as an arrow), ``best`` (the bar is drawn in
        another colour) and ``tie`` (a ``*`` stands behind the bar).
    title
        Title of the figure.
    columns
        Panels side by side.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide for two panels side by side.

    Raises
    ------
    ValueError
        If a column is missing, there are no rows, or several of one method and metric.

    Examples
    --------
    >>> table = pd.DataFrame({"method": ["absLRP", "Random"], "metric": "GAE",
    ...                       "mean": [0.3, 0.0], "standard_error": [0.02, 0.0]})
    >>> bars(table).axes[0].get_title(loc="left")
    'GAE'
    """
    needed = ["method", "metric", "mean"]
    known = set(getattr(summary, "columns", ()))
    if not {"ci_low", "ci_high"} <= known:
        needed.append("standard_error")
    check_integer("columns", columns)
    absent = set(needed) - known
    if absent or summary.empty:
        raise ValueError(
            f"summary: expected rows with the columns {', '.join(needed)}; "
            f"{'no rows' if not absent else 'missing: ' + ', '.join(sorted(absent))}"
        )
    if "model" in summary and len(summary["model"].unique()) > 1:
        raise ValueError(
            "summary: expected the rows of one model, got those of "
            + ", ".join(map(str, summary["model"].unique()))
        )
    if (twice := summary.duplicated(["method", "metric"])).any():
        several = ", ".join(summary.loc[twice, ["method", "metric"]].iloc[0])
        raise ValueError(
            f"summary: expected one row for each method and metric, got several of {several}"
        )
    optional = [name for name in ("better", "best", "tie") if name not in summary]
    summary = summary.assign(**dict.fromkeys(optional, np.nan))
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
        means = chosen["mean"].to_numpy(dtype=float)
        if "ci_low" in chosen:
            ends = chosen[["ci_low", "ci_high"]].to_numpy(dtype=float).T
        else:
            ends = means + np.outer([-1, 1], chosen["standard_error"].to_numpy(dtype=float))
        errors = np.abs(np.where(np.isfinite(ends), ends, means) - means)
        colors = np.where(chosen["best"].eq(True), _style.ORANGE, _style.BLUE).tolist()
        look = {"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7, "ecolor": _style.BLACK}
        drawn = panel.barh(places, means, height=0.7, xerr=errors, color=colors, error_kw=look)
        arrows = chosen["better"].map({"higher": " ↑", "lower": " ↓"}).dropna()
        _style.line_axes(panel, f"{metric}{arrows.iloc[0] if len(arrows) else ''}")
        panel.set_yticks(places, methods, fontsize=_style.SMALL)
        panel.set_ylim(len(methods) - 0.4, -0.6)
        panel.margins(x=0.08)  # room for a star behind the longest line
        stars = ["*" if tie else "" for tie in chosen["tie"].eq(True)]
        panel.bar_label(drawn, stars, padding=1.5, fontsize=_style.TEXT)
    for panel in panels.ravel()[len(metrics) :]:
        panel.set_visible(False)
    return _style.finish(figure, title, path)


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
    _style.check_named("results", results)
    wanted = {str(name): values for name, values in results.items() if name not in NO_SCORES}
    scores = {name: as_numbers(given, f"results[{name!r}]") for name, given in wanted.items()}
    scores = {name: values[np.isfinite(values)] for name, values in scores.items()}
    if not any(map(len, scores.values())):
        raise ValueError(
            "results: expected scores by name, got none that is finite; call the metric first, "
            "or read what it warned of"
        )
    figure = _style.figure(_style.COLUMN_WIDTH, 0.65 + 0.32 * len(scores), figure)
    axes = figure.add_subplot()
    for place, values in enumerate(scores.values()):
        # Spread evenly by the golden ratio and not at random, so that figures are reproducible.
        spread = (np.arange(len(values)) * 0.618034) % 1 - 0.5
        axes.scatter(
            values, place + 0.6 * spread, s=5, color=_style.BLUE, alpha=0.5, linewidths=0, zorder=1
        )
    mean = {"marker": "D", "markersize": 4, "markerfacecolor": _style.ORANGE}
    options: dict[str, Any] = {
        "orientation": "horizontal",
        "widths": 0.6,
        "showfliers": False,
        "showmeans": True,
        "medianprops": {"color": _style.BLACK, "linewidth": 1},
        **{part: {"linewidth": 0.7} for part in ("boxprops", "whiskerprops", "capprops")},
        "meanprops": {**mean, "markeredgecolor": _style.BLACK, "markeredgewidth": 0.5},
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
