"""Render figures and look at the pixels; what the tests of figures share."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image


def render(figure: Figure) -> np.ndarray:
    """Pixels (H, W, 3) of a figure as it is saved, of the size it should have."""
    assert isinstance(figure, Figure)
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png")
        pixels = np.asarray(Image.open(stream).convert("RGB"))
    width, height = figure.get_size_inches()
    np.testing.assert_allclose(pixels.shape[:2], (height * figure.dpi, width * figure.dpi), atol=1)
    return pixels


def inside(axes: Axes, pixels: np.ndarray) -> np.ndarray:
    """Pixels within some axes."""
    box = axes.get_window_extent()
    height = len(pixels)
    rows = slice(max(0, round(height - box.y1)), round(height - box.y0))
    part = pixels[rows, max(0, round(box.x0)) : round(box.x1)]
    assert part.size
    return part


def drawn(axes: Axes, pixels: np.ndarray) -> float:
    """Share of the pixels within some axes that are not white."""
    return float((inside(axes, pixels) != 255).any(axis=-1).mean())


def check_text(figure: Figure) -> None:
    """See that no visible text is smaller than 6 points, leaves the figure or hides another."""
    render(figure)
    limits = figure.bbox
    boxes = []
    ticks, seen = _ticks(figure)
    hidden = {id(label) for label in ticks} - {id(label) for label in seen}
    for text in figure.findobj(Text):
        if id(text) in hidden or not text.get_visible() or not text.get_text().strip():
            continue
        if text.axes is not None and not text.axes.get_visible():
            continue
        box = text.get_window_extent()
        assert text.get_fontsize() >= 6, text
        assert box.x0 >= limits.x0 - 0.5, (text, box)
        assert box.x1 <= limits.x1 + 0.5, (text, box)
        assert box.y0 >= limits.y0 - 0.5, (text, box)
        assert box.y1 <= limits.y1 + 0.5, (text, box)
        boxes.append((box, text))
    assert boxes
    for i, (box, text) in enumerate(boxes):
        for other, second in boxes[:i]:
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert min(width, height) < 1.5, (text, second)


def _ticks(figure: Figure) -> tuple[list[Text], list[Text]]:
    """Labels of ticks: all, also those that are kept for later, and those that are drawn."""
    every = [label for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)]
    seen = []
    for axes in figure.findobj(Axes):
        if axes.get_visible() and axes.axison:
            for axis, place in ((axes.xaxis, 0), (axes.yaxis, 1)):
                low, high = sorted(axis.get_view_interval())
                slack = 1e-9 * (high - low)
                labels = axis.get_ticklabels()
                every += labels
                seen += [
                    label
                    for label in labels
                    if low - slack <= label.get_position()[place] <= high + slack
                ]
    return every, seen
