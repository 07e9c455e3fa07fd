"""Scanned digits of scikit-learn on a 48x48 three-channel canvas, split once and for all.

The data set is the one that ``sklearn.datasets.load_digits`` carries: 1,797 digits written by 13
people, scanned and reduced to 8x8 counts of 0..16 (UCI "Optical Recognition of Handwritten
Digits", test part). A digit of scale 1 is 40 pixels high in the middle of the canvas, so that
halving the canvas for a mosaic leaves one of 20 pixels.
"""

from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Split = Literal["train", "test"]
Array = TypeVar("Array", Tensor, "npt.NDArray[Any]")

CANVAS = 48
"""Side of the canvas in pixels."""

DIGIT = 40
"""Side of a digit of scale 1 in pixels."""

CHANNELS = 3
"""Channels of the canvas; all three carry the same ink, as a scan of black ink does."""

CLASSES = 10
"""Number of classes: the digits 0 to 9."""

MEAN = 0.0
"""Ink (0 paper, 1 full) that the networks see as 0: to mask a pixel is to wipe it."""

STD = 1.0
"""Ink that one unit of the networks' input stands for."""

_NEAR = 1e-4
"""Ink that is none: interpolation leaves 1e-6 where the scan has only paper."""

_TEST_FRACTION = 0.25
_SPLIT_SEED = 20240415


@lru_cache(maxsize=1)
def _data() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return all scans (1797, 8, 8) in [0, 1] and their classes (1797,), read once."""
    from sklearn.datasets import load_digits  # 0.5 s to import: only where digits are used

    bunch = load_digits()
    ink = (np.asarray(bunch.images) / 16.0).astype(np.float32)
    labels = np.asarray(bunch.target).astype(np.int64)
    ink.setflags(write=False)
    labels.setflags(write=False)
    return ink, labels


def _split_indices(split: Split) -> npt.NDArray[np.int64]:
    """Return the data-set indices of a split in ascending order: a quarter of each class is test.

    The split is fixed: no argument of the public functions moves an image from one side to the
    other, so that what the shipped networks were trained on stays apart from what they explain.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split: expected 'train' or 'test', got {split!r}")
    labels = _data()[1]
    rng = np.random.default_rng(_SPLIT_SEED)
    chosen: list[npt.NDArray[np.int64]] = []
    for digit in range(CLASSES):
        members = rng.permutation(np.flatnonzero(labels == digit))
        held_out = round(_TEST_FRACTION * len(members))
        chosen.append(members[:held_out] if split == "test" else members[held_out:])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _balanced(labels: npt.NDArray[np.int64], n: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw n positions, a round of all classes at a time, each round in a fresh order.

    Every prefix is balanced too, and the subset of a smaller n is a prefix of a larger one's.
    """
    rng = np.random.default_rng(seed)
    queues = [list(rng.permutation(np.flatnonzero(labels == digit))) for digit in range(CLASSES)]
    picked: list[int] = []
    while len(picked) < len(labels):
        picked += [int(queues[digit].pop()) for digit in rng.permutation(CLASSES) if queues[digit]]
    return np.asarray(picked[:n], dtype=np.int64)


def scans(split: Split = "test") -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return the 8x8 scans of a split as they are, in the data set's order.

    Parameters
    ----------
    split : {"test", "train"}
        The 450 held-out digits, or the 1,347 that the demo's networks were trained on.

    Returns
    -------
    ink : ndarray of float32, shape (N, 8, 8)
        Ink in [0, 1], 0 being paper.
    labels : ndarray of int64, shape (N,)
        The digit, 0 to 9.

    Raises
    ------
    ValueError
        If `split` is neither.

    Examples
    --------
    >>> ink, labels = scans("test")
    >>> ink.shape, labels.shape
    ((450, 8, 8), (450,))
    """
    chosen = _split_indices(split)
    ink, labels = _data()
    return ink[chosen], labels[chosen]


def render(ink: Tensor, scale: Tensor | float = 1.0, offset: Tensor | None = None) -> Tensor:
    """Draw 8x8 scans on the canvas, at a size and a place, and normalise them.

    The scan is enlarged by bicubic interpolation (two pixels of the canvas or more for each of
    the scan's, so nothing can alias) and the overshoot is cut off.

    Parameters
    ----------
    ink : Tensor, shape (N, 8, 8)
        Ink in [0, 1].
    scale : Tensor of shape (N,) or float
        Size of the digit: 1 is 40 of the canvas's 48 pixels.
    offset : Tensor of shape (N, 2), optional
        Horizontal and vertical shift of the digit's centre from the canvas's, in pixels.

    Returns
    -------
    Tensor, shape (N, 3, 48, 48)
        Normalised canvases: ``(ink - MEAN) / STD``.

    Examples
    --------
    >>> canvas = render(torch.ones(2, 8, 8), scale=0.5)
    >>> canvas.shape
    torch.Size([2, 3, 48, 48])
    >>> round(float(to_display(canvas)[0, 0].sum()), -1)  # 20 by 20 pixels of full ink
    400.0
    """
    n = len(ink)
    size = torch.as_tensor(scale, dtype=ink.dtype, device=ink.device).expand(n) * (DIGIT / CANVAS)
    shift = ink.new_zeros(n, 2) if offset is None else offset.to(ink.dtype)
    theta = ink.new_zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / size
    theta[:, :, 2] = -shift * (2 / CANVAS) / size[:, None]
    grid = F.affine_grid(theta, [n, 1, CANVAS, CANVAS], align_corners=False)
    canvas = F.grid_sample(
        ink[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False
    )
    # Exactly paper and full ink, on any processor: rounding would decide where a pool's maximum is.
    canvas = torch.where(canvas < _NEAR, 0.0, torch.where(canvas > 1 - _NEAR, 1.0, canvas))
    return ((canvas - MEAN) / STD).repeat(1, CHANNELS, 1, 1)


def load(
    split: Split = "test", n: int | None = None, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Load digits as the demo's networks take them.

    Parameters
    ----------
    split : {"test", "train"}
        The 450 held-out digits, or the 1,347 that the demo's networks were trained on. A quarter
        of each class is held out; the split is the same in every call and for every seed. Both
        sides hold digits of the same 13 writers.
    n : int, optional
        Number of digits. They are drawn a round of all ten classes at a time: classes differ by
        one digit at most (until the smallest class is used up), and a smaller `n` gives a prefix
        of a larger one's. By default the whole split in the data set's order.
    seed : int
        Seed of that draw; it has no effect where `n` is None.

    Returns
    -------
    x : ndarray of float32, shape (N, 3, 48, 48)
        Canvases, ``(ink - MEAN) / STD``.
    y : ndarray of int64, shape (N,)
        The digit, 0 to 9.

    Raises
    ------
    ValueError
        If `split` is neither, or `n` is not within 1 and the size of the split.

    Examples
    --------
    >>> x, y = load("test", n=20)
    >>> x.shape, x.dtype.name, np.bincount(y).tolist()
    ((20, 3, 48, 48), 'float32', [2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    ink, labels = scans(split)
    if n is not None:
        if not 1 <= n <= len(labels):
            raise ValueError(f"n: expected 1 to {len(labels)} digits of {split!r}, got {n}")
        chosen = _balanced(labels, n, seed)
        ink, labels = ink[chosen], labels[chosen]
    return render(torch.from_numpy(ink)).numpy(), labels


def to_display(x: Array) -> Array:
    """Undo the normalisation for plotting.

    Parameters
    ----------
    x : ndarray or Tensor, any shape
        Normalised canvases as `load` gives them; mosaics and masked canvases as well.

    Returns
    -------
    ndarray or Tensor, the kind, shape and axis order of `x` (channels first)
        Ink in [0, 1], white on black; `matplotlib` wants ``np.moveaxis(..., -3, -1)``.

    Examples
    --------
    >>> shown = to_display(load("test", n=10)[0])
    >>> shown.shape, float(shown.min()), float(shown.max())
    ((10, 3, 48, 48), 0.0, 1.0)
    """
    return (x * STD + MEAN).clip(0, 1)
