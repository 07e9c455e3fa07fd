"""Strips of images with maps below them: of one another's models, and of extreme scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from abslrp.arrays import as_numbers, as_tensor
from gae_metric._names import two_lines
from gae_metric.errors import check_integer
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
        texts = {"labels": self.labels} | {f"scores[{k!r}]": v for k, v in self.scores.items()}
        images, maps = _style.check_sheet(self.images, self.attributions, texts)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "attributions", maps)


def strips(
    given: Sequence[Strip], title: str = "", *, path: str | PathLike[str] | None = None
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
    again = [False]
    for above, strip in pairwise(given):
        labels = strip.labels is None or list(strip.labels) == list(above.labels or ())
        again.append(labels and np.array_equal(strip.images, above.images))
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
    """Draw strips, without images that are there again; leave inches for names and between them."""
    count = len(given[0].images)
    names = any(strip.name for strip in given)
    side = margin + (0.15 if names else 0)
    cell = min(1.0, max(0.6, (_style.COLUMN_WIDTH - side) / count))
    heights = [_height(s, cell, repeated) for s, repeated in zip(given, again, strict=True)]
    ratios = [part for height in heights for part in (height, gap)][:-1]
    width = max(_style.COLUMN_WIDTH, count * cell + side)
    figure = _style.figure(width, sum(ratios) + (0.2 if title else 0.02))
    _style.tight(figure)
    texts = [_row(strip, row, cell) for strip in given for row in strip.attributions]
    lines = max((text.count("\n") for text in texts), default=0)
    parts = figure.add_gridspec(len(ratios), 1, height_ratios=ratios)
    for place, (strip, repeated) in enumerate(zip(given, again, strict=True)):
        part = figure.add_subfigure(parts[2 * place])
        rows = len(strip.attributions) + (not repeated)
        if rows:
            _draw(list(part.subplots(rows, count, squeeze=False)), strip, cell, repeated, lines)
        if names:
            shape = strip.images.shape[2] / strip.images.shape[3]
            # Also an empty one, which keeps the strip below the others.
            name = _style.label(strip.name, rows * cell * shape) or " "
            part.supylabel(name, fontsize=_style.TEXT, linespacing=1.0)
    return _style.finish(figure, title, path)


def _height(strip: Strip, cell: float, repeated: bool) -> float:
    rows = len(strip.attributions) + (not repeated)
    labels = () if repeated else strip.labels or ()
    lines = max((_style.label(str(text), cell).count("\n") + 1 for text in labels), default=0)
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
            _style.picture(picture, strip.images[i])
            if strip.labels is not None:
                text = _style.label(str(strip.labels[i]), cell)
                picture.set_title(text, fontsize=_style.SMALL, pad=2, linespacing=1.0)
    for row, (name, maps) in zip(panels, strip.attributions.items(), strict=True):
        for i, panel in enumerate(row):
            score = f"{strip.scores[name][i]:.3f}" if name in strip.scores else ""
            _style.signed_map(panel, maps[i], name, below=score)
        text = _row(strip, name, cell)
        # Names of as many lines everywhere: strips are laid out one by one, and lie below another.
        _style.beside(row[0], "\n" * (lines - text.count("\n")) + text)


def top_and_bottom(scores: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples of the k highest and of the k lowest scores.

    Parameters
    ----------
    scores
        (N,) scores; NaN and infinite ones are left out.
    k
        How many of each; half of the samples where there are not twice as many.

    Returns
    -------
    tuple of ndarray
        Indices, highest first, and lowest first; of equal scores, the lower index first.

    Raises
    ------
    ValueError
        If there are fewer than two scores, or k is not positive.

    Examples
    --------
    >>> top_and_bottom([0.1, float("nan"), 0.5, 0.3, 0.3], 2)
    (array([2, 3]), array([0, 4]))
    """
    values = as_numbers(scores, "scores")
    check_integer("k", k)
    finite = pd.Series(values[np.isfinite(values)], np.flatnonzero(np.isfinite(values)))
    if values.ndim != 1 or len(finite) < 2:
        raise ValueError(
            f"scores: expected at least two finite scores of shape (N,), got shape {values.shape} "
            f"with {len(finite)}"
        )
    k = min(k, len(finite) // 2)
    top = finite.nlargest(k).index
    bottom = finite.drop(top).nsmallest(k).index  # where scores are equal none is shown twice
    return top.to_numpy(copy=True), bottom.to_numpy(copy=True)


def extremes(
    images: NDArray[Any],
    attributions: NDArray[Any] | Callable[[NDArray[np.int64]], NDArray[Any]],
    scores: ArrayLike,
    k: int = 5,
    labels: Sequence[str] | None = None,
    title: str = "",
    *,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw figures 11 and 14: a method's k best and k worst samples, with their maps.

    Parameters
    ----------
    images
        Pixels (N, C, H, W) in [0, 1].
    attributions
        The method's maps (N, C, H, W), (N, 1, H, W) or (N, H, W), or a function that returns those
        of the samples whose indices (M,) it is given: only 2k of the N are needed.
    scores
        (N,), higher is better, such as ``metric.components["gae"]``.
    k
        How many of each; half of the samples where there are not twice as many.
    labels
        N texts, such as classes, written above the images.
    title
        Title of the figure.
    path
        File to save the figure in too; its ending says the format.

    Returns
    -------
    matplotlib.figure.Figure
        One column wide up to k = 5: two rows of images with their maps for the best samples, the
        best one first, and two for the worst, the worst one first; the score is below each map.

    Raises
    ------
    ValueError
        If a shape is not as described or there are fewer than two scores.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).random((6, 3, 8, 8))
    >>> figure = extremes(pixels, lambda samples: pixels[samples], [0.1, 0.5, 0.3, 0.2, 0, 0.4], 2)
    >>> [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    ['0.500', '0.400', '0.000', '0.100']
    """
    pixels, values = as_tensor(images, "images"), as_numbers(scores, "scores")
    count = len(np.atleast_1d(values))
    if pixels.ndim != 4 or len(pixels) != count:
        raise ValueError(
            f"images: expected pixels (N, C, H, W) of {count} samples, as there are scores, got "
            f"{tuple(pixels.shape)}"
        )
    if labels is not None and len(labels) != count:
        raise ValueError(f"labels: expected one for each of {count} images, got {len(labels)}")
    top, bottom = top_and_bottom(values, k)
    shown = np.concatenate([top, bottom])
    given: Any = attributions
    given = given(shown) if callable(given) else as_tensor(given, "attributions")[shown]
    maps, size = as_numbers(given, "attributions"), tuple(pixels.shape[2:])
    if len(maps) != len(shown) or maps.shape[-2:] != size:
        raise ValueError(
            f"attributions: expected maps of {len(shown)} samples of size {size}, got {maps.shape}"
        )
    halves = []
    ends = zip(("highest", "lowest"), (top, bottom), np.split(maps, 2), strict=True)
    for name, samples, drawn in ends:
        texts = None if labels is None else [labels[i] for i in samples]
        below = {"": values[samples].tolist()}
        halves.append(Strip(pixels[samples].cpu().numpy(), {"": drawn}, name, texts, below))
    # A gap, so that the scores above are not read as part of the names below.
    return sheet(halves, [False, False], title, path, margin=0.1, gap=0.07)
