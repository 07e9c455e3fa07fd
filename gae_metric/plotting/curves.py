"""Figure 2: what a sample's output and map do along the masking trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gae_metric.plotting import _style

_KEYS = [f"{w}_{of}" for w in ("output", "similarity") for of in ("lerf", "morf", "difference")]


def curves(
    values: Mapping[str, NDArray[Any]],
    sample: int = 0,
    title: str = "",
    *,
    path: str | PathLike[str] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw figure 2: output curves, similarity curves and difference curves of one sample.

    The closer the two difference curves lie, the higher LC_R (eq. 14).

    Parameters
    ----------
    values
        ``metric.curves`` of a :class:`gae_metric.GAE` or :class:`gae_metric.LocalConsistency`
        after a call: ``output_lerf``, ``output_morf``, ``output_difference``, and the same three
        of ``similarity``, each (N, T).
    sample
        Row of the sample.
    title
        Title of the figure, such as the method's name.
    path
        File to save the figure in too; its ending says the format.
    figure
        Figure to draw in, which is emptied and resized, such as one of pyplot's; by default a new
        one.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide, three panels.

    Raises
    ------
    ValueError
        If a curve is missing or has no such sample.

    Examples
    --------
    >>> steps = np.linspace(1, 0, 10)[None]
    >>> names = [f"{what}_{how}" for what in ("output", "similarity")
    ...          for how in ("lerf", "morf", "difference")]
    >>> figure = curves(dict.fromkeys(names, steps), title="absLRP")
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Output', 'Similarity of the map', 'Difference, LeRF - MoRF']
    """
    missing = [key for key in _KEYS if key not in values]
    if missing:
        raise ValueError(f"values: curves {', '.join(missing)} are missing; the metric gives none")
    rows = {}
    for key in _KEYS:
        array = np.asarray(values[key])
        if array.ndim != 2 or not 0 <= sample < len(array):
            raise ValueError(
                f"values[{key!r}]: expected shape (N, T) with sample {sample} in it, "
                f"got {array.shape}"
            )
        rows[key] = array[sample]
    figure = _style.figure(_style.COLUMN_WIDTH, 3.6, figure)
    outputs, similarities, differences = figure.subplots(3, 1, sharex=True)
    state = np.arange(len(rows["output_lerf"]))
    for axes, what, name in (
        (outputs, "output", "Output"),
        (similarities, "similarity", "Similarity of the map"),
    ):
        _line(axes, state, rows[f"{what}_lerf"], "LeRF", _style.BLUE, "o")
        _line(axes, state, rows[f"{what}_morf"], "MoRF", _style.ORANGE, "s")
        _style.line_axes(axes, name, y_label="logit" if what == "output" else "")
    _line(differences, state, rows["output_difference"], "output", _style.BLACK, "o")
    _line(differences, state, rows["similarity_difference"], "similarity", _style.GREEN, "s")
    differences.fill_between(
        state,
        rows["output_difference"].astype(float),
        rows["similarity_difference"].astype(float),
        color=_style.GRAY,
        alpha=0.2,
        linewidth=0,
    )
    _style.line_axes(differences, "Difference, LeRF - MoRF", "masking state")
    differences.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (outputs, similarities, differences):
        axes.axhline(0, color=_style.GRAY, linewidth=0.4)
        axes.legend(fontsize=_style.SMALL, frameon=False, loc="best")
    return _style.finish(figure, title, path)


def _line(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], label: str, color: str, marker: str
) -> None:
    axes.plot(x, y, label=label, color=color, marker=marker, markersize=2.5, linewidth=1)
