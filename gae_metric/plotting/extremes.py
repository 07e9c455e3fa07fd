"""Figures 11 and 14: the samples that a method explains best and worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from gae_metric.errors import check_integer
from gae_metric.plotting.strips import Strip, sheet


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
    values = np.asarray(scores, dtype=np.float64)
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
    return top.to_numpy(), bottom.to_numpy()


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
    images = np.asarray(images)
    if images.ndim != 4 or len(images) != len(np.atleast_1d(scores)):
        raise ValueError(
            f"images: expected pixels (N, C, H, W) of {len(np.atleast_1d(scores))} samples, as "
            f"there are scores, got {images.shape}"
        )
    values = np.asarray(scores, dtype=np.float64)
    top, bottom = top_and_bottom(values, k)
    shown = np.concatenate([top, bottom])
    maps = np.asarray(
        attributions(shown) if callable(attributions) else np.asarray(attributions)[shown]
    )
    if len(maps) != len(shown) or maps.shape[-2:] != images.shape[2:]:
        raise ValueError(
            f"attributions: expected maps of {len(shown)} samples of size {images.shape[2:]}, got "
            f"{maps.shape}"
        )
    halves = [
        Strip(
            images[samples],
            {"": drawn},
            name,
            None if labels is None else [labels[i] for i in samples],
            {"": values[samples].tolist()},
        )
        for name, samples, drawn in (
            ("highest", top, maps[: len(top)]),
            ("lowest", bottom, maps[len(top) :]),
        )
    ]
    # A gap, so that the scores above are not read as part of the names below.
    return sheet(halves, [False, False], title, path, margin=0.1, gap=0.07)
