"""Figure 9 as a matplotlib figure and as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle

from abslrp.text.colors import as_results, caption, color, intensities
from abslrp.text.result import TextRelevance

MARGIN = 8.0
LEADING = 1.7
"""Margin in points, and distance of lines in font sizes."""


def to_figure(
    results: TextRelevance | Sequence[TextRelevance],
    *,
    special: bool = True,
    captions: bool = True,
    width: float = 6.5,
    fontsize: float = 10.0,
) -> Figure:
    """Draw texts with their tokens coloured: red speaks for the target, blue against it.

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
    figure = Figure(figsize=(width, 1), dpi=72)  # a pixel is a point while the text is measured
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    plain = FontProperties(size=fontsize)
    bold = FontProperties(size=fontsize, weight="bold")
    drawn: list[tuple[float, float, float, str, FontProperties, Any, str]] = []
    inner = width * 72 - 2 * MARGIN
    x, line = 0.0, 0.0

    def put(text: str, gap: float, font: FontProperties, back: Any, ink: str) -> None:
        nonlocal x, line
        wide = _width(renderer, text, font)
        if x and x + gap + wide > inner:
            x, line, gap = 0.0, line + 1, 0.0
        drawn.append((x + gap, line, wide, text, font, back, ink))
        x += gap + wide

    space = _width(renderer, "n n", plain) - _width(renderer, "nn", plain)
    for index, result in enumerate(as_results(results)):
        x, line = 0.0, line + (index > 0) * 1.5
        if captions:
            put(caption(result), 0, bold, None, "black")
            x, line = 0.0, line + 1
        for (text, gap), share, marked in zip(
            result.pieces, intensities(result), result.special, strict=True
        ):
            if marked and not special:
                continue
            back = [one / 255 for one in color(share)]
            put(text, space if gap and x else 0, plain, back, "0.4" if marked else "black")
    step = fontsize * LEADING
    height = (line + 1) * step + 2 * MARGIN
    figure.set_size_inches(width, height / 72)
    for left, row, wide, text, font, back, ink in drawn:
        start = (MARGIN + left) / (width * 72)
        middle = 1 - (MARGIN + (row + 0.5) * step) / height
        if back is not None:
            box = (start, middle - step * 0.42 / height)
            size = wide / (width * 72), step * 0.84 / height
            figure.add_artist(
                Rectangle(box, *size, transform=figure.transFigure, facecolor=back, linewidth=0)
            )
        figure.text(
            start,
            middle,
            text,
            fontproperties=font,
            va="center_baseline",
            color=ink,
            parse_math=False,
        )
    return figure


def to_png(
    results: TextRelevance | Sequence[TextRelevance],
    path: str | PathLike[str],
    *,
    dpi: float = 150,
    **options: Any,
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
    figure = to_figure(results, **options)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=dpi)


def _width(renderer: Any, text: str, font: FontProperties) -> float:
    """Width of a text in points."""
    wide, _, _ = renderer.get_text_width_height_descent(text, font, ismath=False)
    return float(wide)
