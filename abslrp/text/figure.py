"""Figure 9 as a matplotlib figure and as PNG."""

from os import PathLike
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

from abslrp.text.result import Results, as_results

MARGIN = 8.0
LEADING, SPACE = 1.7, 0.32
"""Margin in points; distance of lines and width of a space in font sizes."""


def to_figure(
    results: Results,
    *,
    special: bool = True,
    captions: bool = True,
    width: float = 6.5,
    fontsize: float = 10.0,
) -> Figure:
    """Draw texts with their tokens coloured: red is for the target, blue against it.

    Parameters
    ----------
    results
        What :func:`abslrp.text.explain` returned, or one of it.
    special
        Whether special tokens are shown; they are grey.
    captions
        Whether the target and its probability stand above each text.
    width
        Inches; the height follows from the text.
    fontsize
        Points.

    Returns
    -------
    matplotlib.figure.Figure, not known to pyplot.

    Raises
    ------
    ValueError
        If ``results`` holds something else, or a size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from abslrp.text import TextRelevance
    >>> found = TextRelevance(("good",), np.array([1.0]), np.array([False]), 1, np.zeros(2))
    >>> to_figure(found).get_size_inches()[0].item()
    6.5
    """
    if width <= 0 or fontsize <= 0:
        raise ValueError(f"width, fontsize: expected positive sizes, got {width}, {fontsize}")
    figure = Figure(figsize=(width, 1), dpi=72)  # a pixel is a point
    figure.add_axes((0, 0, 1, 1)).set_axis_off()  # a notebook shows no figure without axes
    whole: Any = figure.transFigure
    top = figure.dpi_scale_trans + ScaledTranslation(0, 1, whole)  # in inches from there
    step, left, line = fontsize * LEADING, MARGIN, 0.0

    def put(text: str, gap: float, back: Any = None, **style: Any) -> None:
        nonlocal left, line
        drawn = figure.text(
            0, 0, text, transform=top, fontsize=fontsize, va="center_baseline", parse_math=False,
            **style,
        )  # fmt: skip
        wide = drawn.get_window_extent().width
        if left > MARGIN and left + gap + wide > width * 72 - MARGIN:
            left, line, gap = MARGIN, line + 1, 0.0
        start, middle = (left + gap) / 72, -(MARGIN + (line + 0.5) * step) / 72
        drawn.set_position((start, middle))
        if back is not None:
            low, size = (start, middle - step * 0.42 / 72), (wide / 72, step * 0.84 / 72)
            figure.add_artist(Rectangle(low, *size, transform=top, facecolor=back, linewidth=0))
        left += gap + wide

    for index, result in enumerate(as_results(results)):
        left, line = MARGIN, line + (index > 0) * 1.5
        if captions:
            put(result.caption, 0, weight="bold")
            left, line = MARGIN, line + 1
        for text, space, rgb, i in result.colored(special):
            back = [one / 255 for one in rgb]
            gap = SPACE * fontsize if space and left > MARGIN else 0
            put(text, gap, back, color="0.4" if result.special[i] else "black")
    figure.set_size_inches(width, ((line + 1) * step + 2 * MARGIN) / 72)
    return figure


def to_png(
    results: Results, path: str | PathLike[str], *, dpi: float = 150, **options: Any
) -> None:
    """Write :func:`to_figure`'s drawing to a PNG file.

    Parameters
    ----------
    results
        What :func:`abslrp.text.explain` returned, or one of it.
    path
        File to write.
    dpi
        Pixels per inch.
    **options
        Those of :func:`to_figure`.

    Raises
    ------
    ValueError
        As :func:`to_figure`.

    Examples
    --------
    >>> to_png(found, "review.png")  # doctest: +SKIP
    """
    to_figure(results, **options).savefig(path, format="png", dpi=dpi)
