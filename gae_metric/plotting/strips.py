"""Figures 5, 6, 10 and 15: images side by side, and maps below them, of one model or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gae_metric._names import two_lines
from gae_metric.plotting import _style


@dataclass(frozen=True, eq=False)
class Strip:
    """A row of images, and rows of maps below it.

    Attributes
    ----------
    images
        Pixels (N, C, H, W) in [0, 1].
    attributions
        Maps (N, C, H, W), (N, 1, H, W) or (N, H, W) by the name of their row, such as a method.
    name
        What stands beside the strip, such as the model.
    labels
        N texts above the images, such as the classes that are explained.
    scores
        Numbers (N,) by row, written under its maps; rows may be missing.

    Raises
    ------
    ValueError
        If there are no images, or a row's maps are not of the images' number and size.
    """

    images: NDArray[Any]
    attributions: Mapping[str, NDArray[Any]]
    name: str = ""
    labels: Sequence[str] | None = None
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _style.check_sheet(self.images, self.attributions)
        if self.labels is not None and len(self.labels) != len(self.images):
            raise ValueError(
                f"labels: expected one for each of {len(self.images)} images, got "
                f"{len(self.labels)}"
            )


def strips(
    given: Sequence[Strip],
    title: str = "",
    *,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw strips of images and maps below one another.

    Strips may be of images of different sizes: what one model sees in 576 patches, another may see
    in 49. Images that are those of the strip above, with the same labels, are not drawn again. Maps
    are summed over channels and each is scaled on its own: red is positive, blue negative, and the
    0.5 % of strongest values are cut off.

    Parameters
    ----------
    given
        The strips, all of the same number of images.
    title
        Title of the figure.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide for up to five images.

    Raises
    ------
    ValueError
        If there are no strips, or they are of different numbers of images.

    Examples
    --------
    >>> fine, coarse = np.random.default_rng(0).random((2, 3, 8, 8)), np.ones((2, 3, 4, 4))
    >>> figure = strips([
    ...     Strip(fine, {"absLRP": fine}, "ViT-B/16", ["cat", "dog"]),
    ...     Strip(coarse, {"absLRP": coarse}, "ViT-B/32"),
    ... ])
    >>> len(figure.axes), [axes.get_title() for axes in figure.axes if axes.get_title()]
    (8, ['cat', 'dog'])
    """
    counts = [len(strip.images) for strip in given]
    if len(set(counts)) != 1:
        raise ValueError(f"strips: expected strips of the same number of images, got {counts}")
    again = [False, *(_same(one, other) for one, other in zip(given[1:], given, strict=False))]
    return sheet(given, again, title, path)


def sheet(
    given: Sequence[Strip],
    again: Sequence[bool],
    title: str,
    path: str | PathLike[str] | None,
    *,
    margin: float = 0.25,
    gap: float = 0.0,
) -> Figure:
    """Draw strips of as many images, without the images of those that show the same again.

    ``margin`` and ``gap``, in inches, are for the names of rows and between strips.
    """
    count = len(given[0].images)
    names = any(strip.name for strip in given)
    side = margin + (0.15 if names else 0)
    cell = min(1.0, max(0.6, (_style.COLUMN_WIDTH - side) / count))
    heights = [_height(s, cell, repeated) for s, repeated in zip(given, again, strict=True)]
    ratios = [part for height in heights for part in (height, gap)][:-1]
    figure = _style.figure(
        max(_style.COLUMN_WIDTH, count * cell + side), sum(ratios) + (0.2 if title else 0.02)
    )
    _style.tight(figure)
    lines = max(
        (_row(s, row, cell).count("\n") for s in given for row in s.attributions), default=0
    )
    parts = figure.add_gridspec(len(ratios), 1, height_ratios=ratios)
    for place, (strip, repeated) in enumerate(zip(given, again, strict=True)):
        part = figure.add_subfigure(parts[2 * place])
        rows = len(strip.attributions) + (not repeated)
        if rows:
            panels = part.subplots(rows, count, squeeze=False)
            _draw(list(panels), strip, cell, repeated, lines)
        if names:
            shape = strip.images.shape[2] / strip.images.shape[3]
            # Also an empty one, which keeps the strip below the others.
            name = _style.label(strip.name, rows * cell * shape) or " "
            part.supylabel(name, fontsize=_style.TEXT, linespacing=1.0)
    return _style.finish(figure, title, path)


def _same(one: Strip, other: Strip) -> bool:
    """Whether a strip's images and labels are those of the one above."""
    labels = one.labels is None or list(one.labels) == list(other.labels or ())
    return labels and np.array_equal(one.images, other.images)


def _height(strip: Strip, cell: float, repeated: bool) -> float:
    rows = len(strip.attributions) + (not repeated)
    labels = () if repeated else strip.labels or ()
    lines = max((_style.label(text, cell).count("\n") + 1 for text in labels), default=0)
    scores = sum(row in strip.scores for row in strip.attributions)
    shape = float(strip.images.shape[2] / strip.images.shape[3])
    return rows * cell * shape + 0.1 * lines + 0.12 * scores + 0.05


def _row(strip: Strip, row: str, cell: float) -> str:
    """Break the name of a row."""
    return _style.label(two_lines(row), cell * strip.images.shape[2] / strip.images.shape[3])


def _draw(
    panels: list[NDArray[Any]], strip: Strip, cell: float, repeated: bool, lines: int
) -> None:
    if not repeated:
        for i, picture in enumerate(panels.pop(0)):
            picture.imshow(_style.as_picture(strip.images[i]))
            _style.image_axes(picture)
            if strip.labels is not None:
                text = _style.label(strip.labels[i], cell)
                picture.set_title(text, fontsize=_style.SMALL, pad=2, linespacing=1.0)
    for row, (name, maps) in zip(panels, strip.attributions.items(), strict=True):
        for i, panel in enumerate(row):
            _style.signed_map(panel, np.asarray(maps)[i], f"attributions[{name!r}]")
            _style.image_axes(panel)
            if name in strip.scores:
                panel.set_xlabel(f"{strip.scores[name][i]:.3f}", fontsize=_style.SMALL, labelpad=2)
        text = _row(strip, name, cell)
        # Names of as many lines everywhere: strips are laid out one by one, and lie below another.
        text = "\n" * (lines - text.count("\n")) + text
        row[0].set_ylabel(text, fontsize=_style.SMALL, labelpad=2, linespacing=1.0)
