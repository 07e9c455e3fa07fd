"""Figures 2 to 4, of one sample: what masking does to it, and a mosaic that shows it."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from abslrp.arrays import as_numbers
from gae_metric._names import two_lines
from gae_metric.functional.mosaic import quadrants
from gae_metric.plotting import _style

#: Two curves in each panel.
_KEYS = (
    *("output_lerf", "output_morf", "similarity_lerf", "similarity_morf"),
    *("output_difference", "similarity_difference"),
)


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
        array = as_numbers(values[key], f"values[{key!r}]")
        if array.ndim != 2 or sample not in range(len(array)):
            raise ValueError(
                f"values[{key!r}]: expected shape (N, T) with sample {sample} in it, "
                f"got {array.shape}"
            )
        rows[key] = array[int(sample)]
    figure = _style.figure(_style.COLUMN_WIDTH, 3.6, figure)
    panels = figure.subplots(3, 1, sharex=True)
    orders = (("LeRF", _style.BLUE, "o"), ("MoRF", _style.ORANGE, "s"))
    differences = (("output", _style.BLACK, "o"), ("similarity", _style.GREEN, "s"))
    left = iter(_KEYS)
    for axes, looks in zip(panels, (orders, orders, differences), strict=True):
        for label, color, marker in looks:
            (line,) = axes.plot(rows[next(left)], label=label, color=color, linewidth=1)
            line.set(marker=marker, markersize=2.5)
        axes.axhline(0, color=_style.GRAY, linewidth=0.4)
        axes.legend(fontsize=_style.SMALL, frameon=False, loc="best")
    _style.line_axes(panels[0], "Output", y_label="logit")
    _style.line_axes(panels[1], "Similarity of the map")
    _style.line_axes(panels[2], "Difference, LeRF - MoRF", "masking state")
    ends = [rows[key].astype(float) for key in _KEYS[4:]]
    shade: dict[str, Any] = {"color": _style.GRAY, "alpha": 0.2, "linewidth": 0}
    panels[2].fill_between(range(len(ends[0])), *ends, **shade)
    panels[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    return _style.finish(figure, title, path)


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
    lerf, morf = as_numbers(lerf, "lerf"), as_numbers(morf, "morf")
    if lerf.shape != morf.shape or lerf.shape[-2:] != np.shape(image)[-2:]:
        raise ValueError(
            f"lerf, morf: expected maps of the image's size {np.shape(image)}, got {lerf.shape} "
            f"and {morf.shape}"
        )
    votes = np.sign(_style.channel_sum(np.sign(lerf - morf), "lerf"))
    figure = _style.figure(_style.COLUMN_WIDTH, 2.5)
    axes = figure.subplots(2, 3).ravel()
    _style.picture(axes[0], image, "image")
    sums = [_style.channel_sum(values, name) for values, name in ((lerf, "lerf"), (morf, "morf"))]
    # Few features hold most of the impact: without a cut, the rest would all look black.
    peak = max(float(np.quantile(values, 0.995)) for values in sums) or 1.0
    for panel, values, name in zip(axes[1:3], sums, ("LeRF sum", "MoRF sum"), strict=True):
        panel.imshow(values, cmap=_style.POSITIVE, vmin=0, vmax=peak)
        _style.image_axes(panel, name)
    _style.signed_map(axes[3], lerf - morf, "impact", "impact map")
    signs = axes[4].imshow(votes, cmap=_style.SIGNED, vmin=-1.5, vmax=1.5)
    _style.image_axes(axes[4], "sign")
    axes[5].axis("off")
    signed = {"LeRF higher": 1, "equal": 0, "MoRF higher": -1}
    colors = signs.cmap(signs.norm(list(signed.values())))
    look: dict[str, Any] = {"edgecolor": _style.GRAY, "linewidth": 0.4}
    keys = [Patch(facecolor=c, label=text, **look) for c, text in zip(colors, signed, strict=True)]
    axes[5].legend(handles=keys, fontsize=_style.SMALL, frameon=False, loc="center", handlelength=1)
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
    count = 1 + len(attributions)
    cell = max(0.8, _style.COLUMN_WIDTH / count)
    shape = picture.shape[0] / picture.shape[1]
    names = [two_lines(method) for method in attributions]
    lines = 1 + any("\n" in name for name in names)
    height = cell * shape + 0.12 * lines + (0.17 if scores else 0.05) + (0.2 if title else 0)
    figure = _style.figure(count * cell, height)
    panels = figure.subplots(1, count, squeeze=False)[0]
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
            rows, columns = places[int(positive)]
            corner = (columns.start - 0.5, rows.start - 0.5)
            size = (columns.stop - columns.start, rows.stop - rows.start)
            frame = Rectangle(corner, *size, fill=False, edgecolor=_style.BLACK, linewidth=1.2)
            seen = withStroke(linewidth=2.4, foreground="white")  # on any picture
            panel.add_patch(frame).set(clip_on=False, path_effects=[seen])
    look: dict[str, Any] = {"fontsize": _style.SMALL, "linespacing": 1.0, "va": "top"}
    look["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}
    for (rows, columns), label in zip(places, labels or (), strict=False):
        text = _style.label(label, 0.5 * cell)
        panels[0].text(columns.start, rows.start, text, clip_on=True, **look)
    return _style.finish(figure, title, path)
