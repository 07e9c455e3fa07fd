"""Mosaics of four samples, and the score map S of a mosaic."""

from collections.abc import Sequence
from itertools import pairwise
from types import EllipsisType
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as nnf

from gae_metric.functional.precision import wide_dtype

Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "none"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "area", "none")


def quadrants(shape: Sequence[int]) -> tuple[tuple[slice, ...], ...]:
    """Where the four parts of a mosaic lie.

    Parameters
    ----------
    shape
        (H, W) of images, (..., H, W) of volumes and video, or (L,) of time series.

    Returns
    -------
    tuple
        Four tuples of slices of the last two axes, or of a series' one: quadrants row by row, or
        quarters. Where a side does not divide evenly the first parts are one longer.

    Raises
    ------
    ValueError
        If a side is too short, or there is none.

    Examples
    --------
    >>> quadrants((3, 2))[3]
    (slice(2, 3, None), slice(1, 2, None))
    """
    if len(shape) >= 2 and min(shape[-2:]) >= 2:
        rows, columns = _cut(shape[-2], 2), _cut(shape[-1], 2)
        return tuple((row, column) for row in rows for column in columns)
    if len(shape) == 1 and shape[0] >= 4:
        return tuple((part,) for part in _cut(shape[0], 4))
    raise ValueError(
        "x_batch: mosaics need images (N, C, H, W) or volumes (N, C, D, H, W) with H, W >= 2 or "
        f"time series (N, C, L) with L >= 4, got samples with "
        f"{'no' if not shape else tuple(shape)} positions"
    )


def _cut(length: int, parts: int) -> list[slice]:
    """Cut a side into parts of which the first ``length % parts`` are one longer."""
    short, longer = divmod(length, parts)
    edges = [short * k + min(k, longer) for k in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def mosaics(
    x: Tensor, indices: ArrayLike | Tensor, interpolation: Interpolation = "nearest"
) -> Tensor:
    """Put four samples together, each shrunk to a quarter of its size or as it is.

    Parameters
    ----------
    x
        (N, C, H, W) images, (N, C, D, H, W) volumes or video, or time series, (N, C, L) or (N, L).
    indices
        (M, 4) rows of indices into ``x``. Images are placed row by row: top left, top right,
        bottom left, bottom right, and so is each slice of a volume and each frame; time series one
        after the other.
    interpolation
        How a sample shrinks: ``"nearest"`` (default), ``"bilinear"`` (linear for time series),
        ``"bicubic"`` (not for time series) or ``"area"``. ``"none"``: samples keep their size, and
        mosaics have twice the height and width, or four times the length.

    Returns
    -------
    Tensor
        (M, ...), the dtype and device of ``x``. Where a side is odd, the top and left quadrants are
        one larger.

    Raises
    ------
    ValueError
        If ``x`` or ``indices`` are none of these, or ``interpolation`` is unknown.

    Examples
    --------
    >>> x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    >>> mosaics(x, [[3, 2, 1, 0]])[0, 0]
    tensor([[3., 2.],
            [1., 0.]])
    """
    given = indices if isinstance(indices, Tensor) else np.array(indices)
    rows = torch.as_tensor(given, device=x.device)
    whole = rows.ndim == 2 and rows.shape[1] == 4 and not rows.is_floating_point()
    # What is on a GPU would have to be waited for.
    if not whole or (rows.is_cpu and bool(((rows < 0) | (rows >= len(x))).any())):
        raise ValueError(f"indices: expected integers (M, 4) from 0 to {len(x) - 1}, got {given}")
    sides = positions(x.shape)
    if interpolation == "none":
        times = 4 if len(sides) == 1 else 2
        sides = [*sides[:-2], *(times * side for side in sides[-2:])]
    result = x.new_empty((len(rows), *x.shape[1 : x.ndim - len(sides)], *sides))
    for k, place in enumerate(quadrants(sides)):
        size = [part.stop - part.start for part in place]
        result[_everywhere(place)] = _shrink(x[rows[:, k]], size, interpolation)
    return result


def positions(shape: Sequence[int]) -> Sequence[int]:
    """Sides of samples (N, C, ...), or (N, L), whose only axis they are."""
    return shape[min(2, max(1, len(shape) - 1)) :]


def _shrink(x: Tensor, size: Sequence[int], interpolation: Interpolation) -> Tensor:
    if interpolation == "none":
        return x
    if interpolation == "nearest":
        # Integers, as floor(i * side / half) in float32 may fall one short.
        for axis, new in enumerate(size, start=x.ndim - len(size)):
            chosen = torch.arange(new, device=x.device) * x.shape[axis] // new
            x = x.index_select(axis, chosen)
        return x
    modes = {"area": "area", "bilinear": "linear"}
    if len(size) == 2:
        modes |= {"bilinear": "bilinear", "bicubic": "bicubic"}
    if interpolation not in modes:
        raise ValueError(
            f"interpolation: expected one of {', '.join(INTERPOLATIONS)} (bicubic for images "
            f"only), got {interpolation!r}"
        )
    # Slices and frames beside channels.
    planes = x.reshape(len(x), -1, *x.shape[x.ndim - len(size) :])
    corners = None if interpolation == "area" else False
    planes = nnf.interpolate(planes, list(size), mode=modes[interpolation], align_corners=corners)
    return planes.reshape(*x.shape[: x.ndim - len(size)], *size)


def quadrant_scores(logits: Tensor, classes: ArrayLike, positive: ArrayLike) -> Tensor:
    """Values of the score map S in the four quadrants.

    Parameters
    ----------
    logits
        (M, K) the model's outputs for the full-size positives.
    classes
        (M, 4) classes of the four samples.
    positive
        (M,) which quadrant holds the positive.

    Returns
    -------
    Tensor
        (M, 4), in [-1, 1]: 1 for the positive, ``min(1, 2 s[c_n] / s[c_p] - 1)`` for a negative,
        s the softmax of ``logits``, whose ratios are ``exp(logit_n - logit_p)``. NaN where a logit
        that counts is NaN or infinite; one of a negative may be -infinite.

    Examples
    --------
    >>> quadrant_scores(torch.zeros(1, 3), [[0, 0, 1, 2]], [0])
    tensor([[1., 1., 1., 1.]], dtype=torch.float64)
    >>> quadrant_scores(torch.tensor([[50.0, 0.0]]), [[0, 0, 1, 1]], [0]).round(decimals=6)
    tensor([[ 1.,  1., -1., -1.]], dtype=torch.float64)
    """
    of_classes = logits.to(wide_dtype(logits.device)).gather(1, _integers(classes, logits.device))
    chosen = _integers(positive, logits.device)[:, None]
    of_positive = of_classes.gather(1, chosen)
    # s[c_n] / s[c_p], however unlikely the classes are.
    scores = (2 * (of_classes - of_positive).exp() - 1).clamp(max=1).scatter(1, chosen, 1.0)
    return torch.where(of_positive.isfinite() & (of_classes < torch.inf), scores, torch.nan)


def score_map(scores: Tensor, shape: Sequence[int], centre_block: bool = False) -> Tensor:
    """Score map S of mosaics.

    Parameters
    ----------
    scores
        (M, 4), see :func:`quadrant_scores`.
    shape
        (H, W) of images, (..., H, W) of volumes, or (L,) of time series.
    centre_block
        Whether the 2x2 block in the centre (two values of a time series' middle) is 1, as in the
        authors' code.

    Returns
    -------
    Tensor
        (M, 1, ...) of that shape.

    Examples
    --------
    >>> score_map(torch.tensor([[1.0, 0.5, -1.0, 0.0]]), (2, 4))[0, 0]
    tensor([[ 1.0000,  1.0000,  0.5000,  0.5000],
            [-1.0000, -1.0000,  0.0000,  0.0000]])
    """
    result = scores.new_empty((len(scores), 1, *shape))
    broadcast = (len(scores), 1, *[1] * len(shape))
    for k, place in enumerate(quadrants(shape)):
        result[_everywhere(place)] = scores[:, k].reshape(broadcast)
    if centre_block:
        middle = [slice(-(-side // 2) - 1, -(-side // 2) + 1) for side in shape[-2:]]
        result[_everywhere(middle)] = 1
    return result


def _everywhere(place: Sequence[slice]) -> tuple[EllipsisType | slice, ...]:
    """Index of a place on the last axes in all samples, channels and slices."""
    return (..., *place)


def _integers(values: ArrayLike, device: torch.device) -> Tensor:
    return torch.tensor(np.asarray(values).astype(np.int64, casting="same_kind"), device=device)
