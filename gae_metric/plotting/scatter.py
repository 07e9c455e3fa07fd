"""Local Consistency against Contrastiveness, with lines of equal GAE."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gae_metric._names import two_lines
from gae_metric.plotting import _style

_COLUMNS = ("contrastiveness", "local_consistency")


def scatter(
    components: pd.DataFrame | Mapping[str, pd.DataFrame],
    levels: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8),
    title: str = "",
    *,
    path: str | PathLike[str] | None = None,
    figure: Figure | None = None,
) -> Figure:
    """Draw LC against C of each sample, and lines along which GAE = LC · C is equal (eq. 18).

    Small marks are samples, large ones with a black edge a method's mean LC and mean C. (The mean
    of GAE is not the product of these means, as LC and C of a sample are related.)

    Parameters
    ----------
    components
        ``metric.components`` of a :class:`gae_metric.GAE` after a call, or several by method:
        columns ``local_consistency`` and ``contrastiveness``, in [0, 1]. Samples with NaN are left
        out.
    levels
        Values of GAE, between 0 and 1, that lines are drawn for.
    title
        Title of the figure.
    path
        File to save the figure in too; its ending says the format.
    figure
        Figure to draw in, which is emptied and resized, such as one of pyplot's; by default a new
        one.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide. Both axes go from 0 to 1.

    Raises
    ------
    ValueError
        If a column is missing, no sample has both scores, or a level is out of its range.

    Examples
    --------
    >>> parts = pd.DataFrame({"local_consistency": [0.5, 0.7], "contrastiveness": [0.9, 0.4]})
    >>> figure = scatter({"absLRP": parts})
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('Contrastiveness (C)', 'Local Consistency (LC)')
    """
    tables = {"": components} if isinstance(components, pd.DataFrame) else dict(components)
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong:
        raise ValueError(f"levels: expected values of GAE between 0 and 1, got {wrong[0]}")
    points = {}
    for name, table in tables.items():
        absent = [column for column in _COLUMNS if column not in table]
        if absent:
            raise ValueError(
                f"components: expected the columns {' and '.join(_COLUMNS)} of GAE, "
                f"{'' if not name else f'{name} '}lacks {' and '.join(absent)}"
            )
        values = table[list(_COLUMNS)].to_numpy(dtype=float)
        points[name] = values[np.isfinite(values).all(axis=1)]
    if not sum(map(len, points.values())):
        raise ValueError("components: no sample has both scores; call the metric first")
    rows = -(-sum(map(bool, points)) // 3)
    figure = _style.figure(_style.COLUMN_WIDTH, 3.1 + 0.22 * rows, figure)
    axes = figure.add_subplot()
    _contours(axes, levels)
    for i, (name, values) in enumerate(points.items()):
        color, marker = _style.SERIES[i % len(_style.SERIES)]
        # Past the sixth, marks are hollow.
        look: dict[str, Any] = {
            "marker": marker,
            "facecolors": color if i < len(_style.SERIES) else "white",
            "linewidths": 0.6,
            "clip_on": False,  # whole also on the edges of the axes
        }
        axes.scatter(
            values[:, 0], values[:, 1], s=9, alpha=0.45, edgecolors=color, zorder=3, **look
        )
        if len(values):
            text = two_lines(name, 18) if name else "mean"
            # A legend leaves out what begins with an underscore.
            look["label"] = f" {text}" if text.startswith("_") else text
            c, lc = values.mean(axis=0)
            axes.scatter(c, lc, s=38, edgecolors=_style.BLACK, zorder=4, **look)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _style.line_axes(axes, "", "Contrastiveness (C)", "Local Consistency (LC)")
    keys: dict[str, Any] = {"fontsize": _style.SMALL, "handletextpad": 0.2, "columnspacing": 1.0}
    figure.legend(loc="outside lower center", ncols=3, frameon=False, **keys)
    return _style.finish(figure, title, path)


def _contours(axes: Axes, levels: Sequence[float]) -> None:
    """Draw LC = GAE / C for each level, and write the level where the line leaves the axes."""
    for level in levels:
        x = np.geomspace(level, 1, 200)
        axes.plot(x, level / x, color=_style.GRAY, linewidth=0.6, zorder=1, gid=f"GAE={level}")
    look: dict[str, Any] = {"fontsize": _style.SMALL, "color": _style.GRAY, "va": "center"}
    look |= {"textcoords": "offset points", "annotation_clip": False}
    for text, height in [*((f"{level:g}", level) for level in levels), ("GAE", 1)]:
        axes.annotate(text, (1, height), (5, 0), **look)
