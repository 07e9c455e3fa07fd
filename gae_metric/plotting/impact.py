"""Figure 3: where masking changes a sample's output."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gae_metric.plotting import _style


def impact(
    image: NDArray[Any],
    lerf: NDArray[Any],
    morf: NDArray[Any],
    title: str = "",
    *,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw figure 3: image, impact summed along each order, the impact map I_c and its sign.

    Parameters
    ----------
    image
        Pixels (C, H, W) in [0, 1].
    lerf, morf
        Impact maps (C, H, W) summed over the states and scaled to sum 1: ``trajectory.impacts`` of
        :func:`gae_metric.functional.masking_trajectory` with ``keep_impacts=True``.
    title
        Title of the figure.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide, five panels. Maps are summed over channels for display; the sign shown is
        that of most channels (eq. 15 uses that of each).

    Raises
    ------
    ValueError
        If a shape is not as described.

    Examples
    --------
    >>> flat = np.full((3, 8, 8), 1 / 192)
    >>> [axes.get_title() for axes in impact(np.ones((3, 8, 8)), flat, flat).axes[:5]]
    ['image', 'LeRF sum', 'MoRF sum', 'impact map', 'sign']
    """
    lerf, morf = np.asarray(lerf, dtype=np.float64), np.asarray(morf, dtype=np.float64)
    if lerf.shape != morf.shape or lerf.shape[-2:] != np.shape(image)[-2:]:
        raise ValueError(
            f"lerf, morf: expected maps of the image's size {np.shape(image)}, got {lerf.shape} "
            f"and {morf.shape}"
        )
    difference = _style.channel_sum(lerf - morf, "lerf")
    votes = np.sign(_style.channel_sum(np.sign(lerf - morf), "lerf"))
    figure = _style.figure(_style.COLUMN_WIDTH, 2.5)
    axes = figure.subplots(2, 3).ravel()
    axes[0].imshow(_style.as_picture(image))
    sums = [_style.channel_sum(values, name) for values, name in ((lerf, "lerf"), (morf, "morf"))]
    # Few features hold most of the impact: without a cut, the rest would all look black.
    peak = max(float(np.quantile(values, 0.995)) for values in sums) or 1.0
    for panel, values in zip(axes[1:3], sums, strict=True):
        panel.imshow(values, cmap=_style.POSITIVE, vmin=0, vmax=peak)
    limit = float(np.quantile(np.abs(difference), 0.995)) or 1.0
    axes[3].imshow(difference, cmap=_style.SIGNED, vmin=-limit, vmax=limit)
    signs = axes[4].imshow(votes, cmap=_style.SIGNED, vmin=-1.5, vmax=1.5)
    names = ("image", "LeRF sum", "MoRF sum", "impact map", "sign")
    for panel, name in zip(axes[:5], names, strict=True):
        _style.image_axes(panel, name)
    axes[5].axis("off")
    for place, text, value in (
        (0.8, "LeRF higher", 1),
        (0.5, "equal", 0),
        (0.2, "MoRF higher", -1),
    ):
        axes[5].scatter(
            [0.08],
            [place],
            s=28,
            marker="s",
            color=signs.cmap(signs.norm(value)),
            edgecolors=_style.GRAY,
            linewidths=0.4,
            transform=axes[5].transAxes,
        )
        axes[5].text(
            0.2, place, text, fontsize=_style.SMALL, va="center", transform=axes[5].transAxes
        )
    return _style.finish(figure, title, path)
