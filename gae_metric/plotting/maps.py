"""A sheet of images, each with every method's map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gae_metric._names import two_lines
from gae_metric.plotting import _style


def maps(
    images: NDArray[Any],
    attributions: Mapping[str, NDArray[Any]],
    labels: Sequence[str] | None = None,
    title: str = "",
    scores: Mapping[str, Sequence[float]] | None = None,
    *,
    columns: int | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw images in rows, and each method's maps in a column.

    Maps are summed over channels and scaled on their own: red is positive, blue negative, and the
    0.5 % of strongest values are cut off.

    Parameters
    ----------
    images
        Pixels (N, C, H, W) in [0, 1].
    attributions
        Maps (N, C, H, W), (N, 1, H, W) or (N, H, W) by method.
    labels
        Text beside each image, such as its class.
    title
        Title of the figure.
    scores
        Numbers (N,) by method, written under its maps; methods may be missing.
    columns
        Methods side by side; the others follow in further rows, beside the images again. By default
        all of them.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        0.75 inches for each column and row, but at least one column's width.

    Raises
    ------
    ValueError
        If there are no images, or a method's maps are not of the images' number and size.

    Examples
    --------
    >>> pixels = np.zeros((2, 3, 8, 8))
    >>> sheet = maps(pixels, {"absLRP": pixels, "Random": pixels[:, :1]}, labels=["one", "two"])
    >>> [axes.get_title() for axes in sheet.axes[:3]]
    ['image', 'absLRP', 'Random']
    """
    images = np.asarray(images)
    _style.check_sheet(images, attributions)
    bands = _style.bands(list(attributions), columns)
    rows, side = len(images), 1 + max(len(band) for band in bands)
    cell = max(0.75, _style.COLUMN_WIDTH / side)
    shape = images.shape[2] / images.shape[3]
    text = 0.12 if scores else 0.0
    height = len(bands) * (rows * (cell * shape + text) + 0.3) + 0.05
    figure = _style.figure(side * cell, height)
    panels = figure.subplots(len(bands) * rows, side, squeeze=False)
    for place, row in enumerate(panels):
        band, i = divmod(place, rows)
        row[0].imshow(_style.as_picture(images[i]))
        _style.image_axes(row[0], "image" if i == 0 else "")
        if labels is not None:
            row[0].set_ylabel(labels[i], fontsize=_style.SMALL, labelpad=2)
        for panel, method in zip(row[1:], bands[band], strict=False):
            values = np.asarray(attributions[method])[i]
            _style.signed_map(panel, values, f"attributions[{method!r}]")
            _style.image_axes(panel, two_lines(method) if i == 0 else "")
            if scores and method in scores:
                panel.set_xlabel(f"{scores[method][i]:.3f}", fontsize=_style.SMALL, labelpad=1)
        for panel in row[1 + len(bands[band]) :]:
            panel.set_visible(False)
    return _style.finish(figure, title, path)
