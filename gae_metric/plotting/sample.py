"""Figures 2 to 4, of one sample: what masking does to it, and a mosaic that shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gae_metric._names import two_lines
from gae_metric.functional.mosaic import quadrants
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
    places, there = {"LeRF higher": 0.8, "equal": 0.5, "MoRF higher": 0.2}, axes[5].transAxes
    axes[5].scatter(
        [0.08] * 3,
        [*places.values()],
        s=28,
        marker="s",
        c=signs.cmap(signs.norm([1, 0, -1])),
        edgecolors=_style.GRAY,
        linewidths=0.4,
        transform=there,
    )
    for text, place in places.items():
        axes[5].text(0.2, place, text, fontsize=_style.SMALL, va="center", transform=there)
    return _style.finish(figure, title, path)


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
