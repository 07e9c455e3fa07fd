"""Figure 4: a mosaic, and where methods see the positive class in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from gae_metric._names import two_lines
from gae_metric.functional.mosaic import quadrants
from gae_metric.plotting import _style


def mosaic(
    image: NDArray[Any],
    attributions: Mapping[str, NDArray[Any]],
    positive: int | None = None,
    labels: Sequence[str] | None = None,
    title: str = "",
    scores: Mapping[str, float] | None = None,
    *,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw figure 4: a mosaic of four samples, and methods' maps for the positive one's class.

    A contrastive method's map lies in the quadrant of the positive, which has a frame. Maps are
    summed over channels and each is scaled on its own: red is positive, blue negative, and the
    0.5 % of strongest values are cut off.

    Parameters
    ----------
    image
        The mosaic's pixels (C, H, W) in [0, 1]: :func:`gae_metric.functional.mosaics` of the images
        and ``metric.mosaic_indices``.
    attributions
        Maps (C, H, W), (1, H, W) or (H, W) of the mosaic by method.
    positive
        Quadrant of the positive, 0 to 3 row by row (``metric.mosaic_positive``); None for no frame.
    labels
        Four names of classes, written into the quadrants.
    title
        Title of the figure.
    scores
        Contrastiveness by method, written under its map; methods may be missing.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide for up to three methods, a panel more than there are methods.

    Raises
    ------
    ValueError
        If a shape, the quadrant or the number of labels is not as described.

    Examples
    --------
    >>> import torch
    >>> from gae_metric.functional import mosaics
    >>> images = torch.rand(4, 3, 8, 8)
    >>> pixels = mosaics(images, [[2, 0, 1, 3]])[0].numpy()
    >>> figure = mosaic(pixels, {"absLRP": pixels, "GradCAM": pixels[:1]}, positive=0)
    >>> [axes.get_title() for axes in figure.axes]
    ['mosaic', 'absLRP', 'GradCAM']
    """
    picture = _style.as_picture(image)
    places = quadrants(picture.shape[:2])
    if positive is not None and positive not in range(4):
        raise ValueError(f"positive: expected a quadrant from 0 to 3 or None, got {positive}")
    if labels is not None and len(labels) != 4:
        raise ValueError(f"labels: expected four, one for each quadrant, got {len(labels)}")
    columns = 1 + len(attributions)
    cell = max(0.8, _style.COLUMN_WIDTH / columns)
    shape = picture.shape[0] / picture.shape[1]
    names = [two_lines(method) for method in attributions]
    lines = 1 + any("\n" in name for name in names)
    height = cell * shape + 0.12 * lines + (0.17 if scores else 0.05) + (0.2 if title else 0)
    figure = _style.figure(columns * cell, height)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    _style.picture(panels[0], image, "mosaic")
    for panel, name, (method, values) in zip(panels[1:], names, attributions.items(), strict=True):
        if np.shape(values)[-2:] != picture.shape[:2]:
            raise ValueError(
                f"attributions[{method!r}]: expected a map of size {picture.shape[:2]}, got "
                f"{np.shape(values)}"
            )
        score = f"C = {scores[method]:.3f}" if scores and method in scores else ""
        _style.signed_map(panel, values, method, name, score)
    for panel in panels:
        panel.set(xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
        if positive is not None:
            _frame(panel, places[positive])
    for place, label in zip(places, labels or (), strict=False):
        panels[0].text(
            place[1].start,
            place[0].start,
            _style.label(label, 0.5 * cell),
            fontsize=_style.SMALL,
            linespacing=1.0,
            va="top",
            clip_on=True,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8},
        )
    return _style.finish(figure, title, path)


def _frame(axes: Axes, place: tuple[slice, ...]) -> None:
    rows, columns = place
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    for color, width in (("white", 2.4), (_style.BLACK, 1.2)):  # seen on any picture
        axes.add_patch(
            Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=width, clip_on=False)
        )
