"""Mosaics of four samples, and the score map S of a mosaic (SPEC 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as nnf

from gae_metric.functional.mosaic_plan import MosaicPlan
from gae_metric.functional.precision import wide_dtype

__all__ = ["Interpolation", "MosaicPlan", "mosaics", "quadrant_scores", "score_map"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]
INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "area")


def quadrants(shape: Sequence[int]) -> tuple[tuple[slice, ...], ...]:
    """Where the four parts of a mosaic lie.

    Parameters
    ----------
    shape
        (H, W) of images or (L,) of time series.

    Returns
    -------
    tuple
        Four tuples of slices: an image's quadrants row by row, or a series' quarters. Where a side
        does not divide evenly the first parts are one longer.

    Raises
    ------
    ValueError
        If a side is too short, or the shape is neither an image's nor a series'.

    Examples
    --------
    >>> quadrants((3, 2))[3]
    (slice(2, 3, None), slice(1, 2, None))
    """
    if len(shape) == 2 and min(shape) >= 2:
        rows, columns = _cut(shape[0], 2), _cut(shape[1], 2)
        return tuple((row, column) for row in rows for column in columns)
    if len(shape) == 1 and shape[0] >= 4:
        return tuple((part,) for part in _cut(shape[0], 4))
    raise ValueError(
        "x_batch: mosaics need images (N, C, H, W) with H, W >= 2 or time series (N, C, L) with "
        f"L >= 4, got samples with {'no' if not shape else tuple(shape)} positions"
    )


def _cut(length: int, parts: int) -> list[slice]:
    """Cut a side into parts of which the first ``length % parts`` are one longer."""
    short, longer = divmod(length, parts)
    edges = [short * k + min(k, longer) for k in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def mosaics(
    x: Tensor, indices: ArrayLike | Tensor, interpolation: Interpolation = "nearest"
) -> Tensor:
    """Put four samples together, each shrunk to a quarter of its size.

    Parameters
    ----------
    x
        (N, C, H, W) images or (N, C, L) time series.
    indices
        (M, 4) rows of indices into ``x``. Images are placed row by row: top left, top right,
        bottom left, bottom right; time series one after the other.
    interpolation
        How a sample shrinks: ``"nearest"`` (default), ``"bilinear"`` (linear for time series),
        ``"bicubic"`` (images only) or ``"area"``.

    Returns
    -------
    Tensor
        (M, C, H, W) or (M, C, L), the dtype and device of ``x``. Where a side is odd, the top and
        left quadrants are one larger.

    Raises
    ------
    ValueError
        If ``x`` is neither images nor time series, or ``interpolation`` is unknown.

    Examples
    --------
    >>> x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    >>> mosaics(x, [[3, 2, 1, 0]])[0, 0]
    tensor([[3., 2.],
            [1., 0.]])
    """
    if isinstance(indices, Tensor):
        rows = indices.to(x.device)
    else:
        rows = torch.tensor(np.asarray(indices), device=x.device)
    shape = x.shape[2:]
    result = x.new_empty((len(rows), *x.shape[1:]))
    for k, place in enumerate(quadrants(shape)):
        size = [part.stop - part.start for part in place]
        result[_everywhere(place)] = _shrink(x[rows[:, k]], size, interpolation)
    return result


def _shrink(x: Tensor, size: Sequence[int], interpolation: Interpolation) -> Tensor:
    if interpolation == "nearest":
        # Integers, as floor(i * side / half) in float32 may fall one short.
        for axis, (old, new) in enumerate(zip(x.shape[2:], size, strict=True), start=2):
            x = x.index_select(axis, torch.arange(new, device=x.device) * old // new)
        return x
    if interpolation == "area":
        return nnf.interpolate(x, size=list(size), mode="area")
    if interpolation == "bilinear":
        mode = "bilinear" if x.ndim == 4 else "linear"
    elif interpolation == "bicubic" and x.ndim == 4:
        mode = "bicubic"
    else:
        raise ValueError(
            f"interpolation: expected one of {', '.join(INTERPOLATIONS)} (bicubic for images "
            f"only), got {interpolation!r}"
        )
    return nnf.interpolate(x, size=list(size), mode=mode, align_corners=False)


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
        (H, W) of images or (L,) of time series.
    centre_block
        Whether the 2x2 block in the centre (two values of a time series' middle) is 1, as in the
        authors' code.

    Returns
    -------
    Tensor
        (M, 1, H, W) or (M, 1, L).

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
        middle = tuple(slice(-(-side // 2) - 1, -(-side // 2) + 1) for side in shape)
        result[_everywhere(middle)] = 1
    return result


def _everywhere(place: tuple[slice, ...]) -> tuple[slice, ...]:
    """Index of a place in all samples and channels."""
    return (slice(None), slice(None), *place)


def _integers(values: ArrayLike, device: torch.device) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.int64), device=device)
