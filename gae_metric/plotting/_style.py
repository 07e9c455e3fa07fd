"""Size, type and colours that the figures share; pyplot and its settings are not touched."""

import textwrap
from collections.abc import Mapping, Sequence, Sized
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from abslrp.arrays import as_numbers

#: Width of one column of a two-column page, in inches.
COLUMN_WIDTH = 3.3
#: Dots per inch of the files that are not vector graphics.
DPI = 300
#: Sizes of type in points.
TITLE, TEXT, SMALL = 8.0, 7.0, 6.0

# Okabe and Ito's palette: told apart with any of the common kinds of colour vision.
BLUE, ORANGE, GREEN, SKY, BLACK = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#000000"
GRAY = "#767676"
YELLOW, PURPLE = "#E69F00", "#CC79A7"
#: Methods in one plot: every colour comes with a shape of its own.
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY, "v"), (YELLOW, "P"))

#: Positive against negative, white at zero; blue and red of this map differ in lightness too.
SIGNED = "RdBu_r"
#: Zero to one; perceptually even, and readable in gray.
POSITIVE = "viridis"


def figure(width: float, height: float, given: Figure | None = None) -> Figure:
    """Return an empty figure (inches) that is not known to pyplot, or prepare a given one."""
    given = Figure(dpi=200) if given is None else given
    given.clear()
    given.set_size_inches(width, height)
    given.set_layout_engine("constrained")
    return given


def tight(figure: Figure) -> None:
    """Put little space between the panels of a sheet of images."""
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)


def finish(figure: Figure, title: str, path: str | PathLike[str] | None) -> Figure:
    """Put a title on a figure, which is broken into lines where it is too long, and save it."""
    if title:
        width, height = figure.get_size_inches()
        # A letter is about 0.64 of its size wide.
        lines = textwrap.wrap(title, int(width * 72 / (0.64 * TITLE)))
        figure.set_size_inches(width, height + (len(lines) - 1) * 1.2 * TITLE / 72)
        figure.suptitle("\n".join(lines), fontsize=TITLE)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # names with two dollars are names, and no formulas
    if path is not None:
        figure.savefig(path, dpi=DPI)
    return figure


def line_axes(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Dress the axes of a line or bar plot."""
    axes.set_title(title, fontsize=TEXT, loc="left")
    axes.set_xlabel(x_label, fontsize=TEXT)
    axes.set_ylabel(y_label, fontsize=TEXT)
    axes.tick_params(labelsize=SMALL, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def image_axes(axes: Axes, title: str = "", below: str = "", size: float = TEXT) -> None:
    """Dress the axes of an image, with a title of a size and small text below."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
        spine.set_color(GRAY)
    if title:
        axes.set_title(title, fontsize=size, pad=2)
    if below:
        axes.set_xlabel(below, fontsize=SMALL, labelpad=2)


def beside(axes: Axes, text: str) -> None:
    """Write small text on the left of an image."""
    axes.set_ylabel(text, fontsize=SMALL, labelpad=2, linespacing=1.0)


def label(text: str, width: float) -> str:
    r"""Break a label of small type into two lines of a width (inches); what is over ends in "…".

    A line break in it stays one, and there are two lines again behind it.

    Examples
    --------
    >>> label("Staffordshire bullterrier\n0.71", 0.6).splitlines()
    ['Staffordsh…', 'bullterrier', '0.71']
    """
    # A letter is at most about 0.65 of its size wide, on average.
    letters = max(4, int(width * 72 / (0.65 * SMALL)))
    wrapped = []
    for part in text.splitlines():
        words = (w if len(w) <= letters else f"{w[: letters - 1]}…" for w in part.split(" "))
        wrapped += textwrap.wrap(" ".join(words), letters, max_lines=2, placeholder="…")
    return "\n".join(wrapped)


def bands(names: Sequence[str], columns: int | None) -> list[list[str]]:
    """Cut columns of a sheet into as few bands as there must be, of about the same length.

    Raises
    ------
    ValueError
        If ``columns`` is not positive.

    Examples
    --------
    >>> bands("abcdefg", 3), bands("ab", None), bands("", 2)
    ([['a', 'b', 'c'], ['d', 'e', 'f'], ['g']], [['a', 'b']], [[]])
    >>> [len(band) for band in bands("abcdefgh", 5)]
    [4, 4]
    """
    if columns is not None and columns < 1:
        raise ValueError(f"columns: expected a positive integer or None, got {columns}")
    count = 1 if columns is None else max(1, -(-len(names) // columns))
    side = max(1, -(-len(names) // count))
    return [list(names[i * side : (i + 1) * side]) for i in range(count)]


def check_named(argument: str, given: Any) -> None:
    """Refuse what are no values by the names of methods."""
    if not hasattr(given, "items"):
        raise ValueError(f"{argument}: expected a mapping from names, got {type(given).__name__}")


def check_sheet(
    images: Any, attributions: Mapping[str, Any], texts: Mapping[str, Sized | None]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return images, and maps by name, as arrays.

    Refuse images that are none, and maps or texts, by name, that are not of their number.
    """
    images = as_numbers(images, "images")
    check_named("attributions", attributions)
    maps = {name: as_numbers(one, f"attributions[{name!r}]") for name, one in attributions.items()}
    shape = images.shape
    if len(shape) != 4 or shape[0] == 0:
        raise ValueError(f"images: expected pixels of shape (N, C, H, W), got {shape}")
    for name, values in maps.items():
        found = values.shape
        if found[:1] != shape[:1] or found[-2:] != shape[2:]:
            raise ValueError(
                f"attributions[{name!r}]: expected {shape[0]} maps of size {shape[2:]}, got {found}"
            )
    for name, given in texts.items():
        if given is not None and len(given) != shape[0]:
            raise ValueError(
                f"{name}: expected one for each of {shape[0]} images, got {len(given)}"
            )
    return images, maps


def as_picture(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn pixels (C, H, W) in [0, 1], C 1 or 3, into what ``imshow`` wants."""
    values = as_numbers(pixels, "image")
    if values.ndim != 3 or values.shape[0] not in (1, 3):
        raise ValueError(
            f"image: expected pixels of shape (1, H, W) or (3, H, W), got {values.shape}"
        )
    return np.moveaxis(np.broadcast_to(values, (3, *values.shape[1:])), 0, -1).clip(0, 1)


def picture(axes: Axes, pixels: NDArray[Any], title: str = "", size: float = TEXT) -> None:
    """Draw pixels (C, H, W) in [0, 1]."""
    axes.imshow(as_picture(pixels))
    image_axes(axes, title, size=size)


def channel_sum(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Sum a map (C, H, W) or (H, W) over its channels: (H, W)."""
    array = as_numbers(values, name)
    if array.ndim not in (2, 3):
        raise ValueError(f"{name}: expected shape (C, H, W) or (H, W), got {array.shape}")
    return array if array.ndim == 2 else array.sum(axis=0)


def signed_map(
    axes: Axes,
    values: NDArray[Any],
    method: str,
    title: str = "",
    below: str = "",
    size: float = TEXT,
) -> None:
    """Draw a method's map (C, H, W) or (H, W), summed over channels, white at zero."""
    image_axes(axes, title, below, size)
    summed = channel_sum(values, f"attributions[{method!r}]")
    if not np.isfinite(summed).all():
        centred: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "not\nfinite", fontsize=SMALL, **centred)
        return
    strength = np.abs(summed)
    # Few values may be far above the others, which would all look white.
    limit = float(np.quantile(strength, 0.995)) or float(strength.max()) or 1.0
    axes.imshow(summed, cmap=SIGNED, vmin=-limit, vmax=limit)
