"""GAE (SPEC 2), one image, one state, one pixel at a time, in float64.

Every division that the formulas write carries + 1e-9 (``EPSILON``). Scaling a map to maximum 1 or
to sum 1 is exact, with 0/0 := 0: so a score does not change when a map is multiplied by a positive
number, however small. Pass ``scale_epsilon=1e-9`` to :func:`scaled_map` for the other reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from tests.naive.gae_trajectory import (
    Array,
    Gradient,
    Order,
    Schedule,
    Trajectory,
    dtype_of,
    torch_logits,
    torch_output_and_gradient,
    trajectory,
)

Integers: TypeAlias = npt.NDArray[np.int64]
Explain: TypeAlias = Callable[..., Any]

EPSILON = 1e-9

__all__ = [
    "EPSILON",
    "Array",
    "Gradient",
    "Order",
    "Schedule",
    "Trajectory",
    "consistency_parts",
    "contrastiveness",
    "contrastiveness_of",
    "explain_one",
    "gae",
    "halves",
    "impact_map",
    "lc_faithfulness",
    "lc_robustness",
    "local_consistency",
    "mosaic",
    "nearest",
    "norm",
    "output_differences",
    "scaled_map",
    "score_map",
    "similarity",
    "softmax",
    "torch_logits",
    "torch_output_and_gradient",
    "trajectory",
]


def scaled_map(a: Any, shape: Sequence[int], scale_epsilon: float = 0.0) -> Array:
    """A^+ / max(A^+) of one sample's map, broadcast to the input's ``shape`` first.

    All zero stays so. A map with a NaN or an infinity becomes NaN throughout.
    """
    a = np.broadcast_to(np.asarray(a, dtype=np.float64), tuple(shape))
    if not np.isfinite(a).all():
        return np.full(a.shape, np.nan)
    positive: Array = np.maximum(a, 0.0)
    top = float(positive.max())
    return positive / (top + scale_epsilon) if top != 0.0 else positive


def similarity(a: Array, b: Array) -> float:
    """Eq. 13: 1 - |A - B| / (|A| + |B|) of two scaled maps."""
    return 1.0 - norm(a - b) / (norm(a) + norm(b) + EPSILON)


def norm(a: Array) -> float:
    """The sum of absolute values over all features."""
    return float(np.abs(a).sum())


def lc_robustness(d_output: Array, d_similarity: Array) -> float:
    """Eq. 14, from d^o_t and d^A_t, t = 1 .. T-1."""
    distance = norm(d_output - d_similarity)
    return 1.0 - 2.0 * distance / (norm(d_output) + norm(d_similarity) + EPSILON)


def output_differences(morf: Array, lerf: Array) -> Array:
    """d^o_t = (o_t^Le - o_t^Mo) / o_init, t = 1 .. T-1, from the outputs (T,) of both orders."""
    differences: Array = (lerf[1:] - morf[1:]) / (lerf[0] + EPSILON)
    return differences


def impact_map(morf: Array, lerf: Array) -> Array:
    """I_c = sum_t m_t^Le / |.| - sum_t m_t^Mo / |.|, from both orders' impacts (T, *shape)."""
    le, mo = lerf.sum(axis=0), morf.sum(axis=0)
    difference: Array = le / (norm(le) + EPSILON) - mo / (norm(mo) + EPSILON)
    return difference


def lc_faithfulness(a_init: Array, impact_c: Array) -> float:
    """Eq. 15: sum A_init sign(I_c) / |A_init|."""
    return float((a_init * np.sign(impact_c)).sum()) / (norm(a_init) + EPSILON)


def local_consistency(robustness: float, faithfulness: float) -> float:
    """Eq. 16: ((LC_R + LC_F) / 2)^+; NaN stays NaN."""
    value = (robustness + faithfulness) / 2.0
    return value if math.isnan(value) else max(value, 0.0)


def nearest(image: Array, height: int, width: int) -> Array:
    """Nearest sampling of (C, H, W): pixel i of n comes from pixel floor(i H / n)."""
    C, H, W = image.shape
    small = np.zeros((C, height, width))
    for i in range(height):
        for j in range(width):
            small[:, i, j] = image[:, i * H // height, j * W // width]
    return small


def halves(size: int) -> tuple[int, int]:
    """The two parts of a side: ceil, floor."""
    return size - size // 2, size // 2


def mosaic(images: Sequence[Array]) -> Array:
    """SPEC 2.3: four images (C, H, W), halved, placed row by row."""
    C, H, W = images[0].shape
    out = np.zeros((C, H, W))
    (top, bottom), (left, right) = halves(H), halves(W)
    out[:, :top, :left] = nearest(images[0], top, left)
    out[:, :top, left:] = nearest(images[1], top, right)
    out[:, top:, :left] = nearest(images[2], bottom, left)
    out[:, top:, left:] = nearest(images[3], bottom, right)
    return out


def softmax(logits: Array) -> Array:
    """s."""
    e: Array = np.exp(logits - logits.max())
    return e / float(e.sum())


def score_map(size: tuple[int, int], logits: Array, classes: Sequence[int], positive: int) -> Array:
    """S (H, W): 1 in the positive quadrant, min(1, 2 s[c_n] / s[c_p] - 1) in a negative's.

    s is the softmax of the logits, whose ratio is exact: the sum over classes cancels.
    ``classes``: the four quadrants' classes; ``positive``: the positive's quadrant, 0 .. 3.
    """
    H, W = size
    top, left = halves(H)[0], halves(W)[0]
    S = np.zeros(size)
    for i in range(H):
        for j in range(W):
            quadrant = 2 * (i >= top) + (j >= left)
            if quadrant == positive:
                S[i, j] = 1.0
            else:
                difference = float(logits[classes[quadrant]] - logits[classes[positive]])
                S[i, j] = 1.0 if difference >= 0 else 2.0 * math.exp(difference) - 1.0
    return S


def contrastiveness(a_mosaic: Array, S: Array) -> float:
    """Eq. 17: (sum A S / |A|)^+ of a scaled map; NaN stays NaN."""
    value = float((a_mosaic * S).sum()) / (norm(a_mosaic) + EPSILON)
    return value if math.isnan(value) else max(value, 0.0)


def explain_one(model: torch.nn.Module, explain: Explain, x: Array, target: int) -> Array:
    """The map of one image by a Quantus explain_func, in the shape it came, without batch axis."""
    inputs = torch.as_tensor(x[None], dtype=dtype_of(model)).numpy()
    a = explain(model, inputs, np.array([target]))
    if isinstance(a, torch.Tensor):
        a = a.detach().cpu().numpy()
    result: Array = np.asarray(a, dtype=np.float64)[0]
    return result


def consistency_parts(
    model: torch.nn.Module,
    explain: Explain,
    x: Array,
    target: int,
    steps: int = 10,
    schedule: Schedule = "reranked",
) -> dict[str, float]:
    """lc_robustness, lc_faithfulness, local_consistency of one image (NaN: SPEC 2.5)."""

    def grad(state: Array) -> tuple[float, Array]:
        return torch_output_and_gradient(model, state, target)

    morf = trajectory(grad, x, "morf", steps, schedule)
    lerf = trajectory(grad, x, "lerf", steps, schedule)
    usable = all(
        np.isfinite(values).all()
        for values in (x, morf.outputs, lerf.outputs, morf.impacts, lerf.impacts)
    )
    if not usable:
        return dict.fromkeys(("lc_robustness", "lc_faithfulness", "local_consistency"), math.nan)
    a_init = scaled_map(explain_one(model, explain, x, target), x.shape)
    similarities = {}
    for name, path in (("morf", morf), ("lerf", lerf)):
        similarities[name] = np.array(
            [
                similarity(a_init, scaled_map(explain_one(model, explain, state, target), x.shape))
                for state in path.states[1:]
            ]
        )
    robustness = lc_robustness(
        output_differences(morf.outputs, lerf.outputs), similarities["lerf"] - similarities["morf"]
    )
    faithfulness = lc_faithfulness(a_init, impact_map(morf.impacts, lerf.impacts))
    return {
        "lc_robustness": robustness,
        "lc_faithfulness": faithfulness,
        "local_consistency": local_consistency(robustness, faithfulness),
    }


def contrastiveness_of(
    model: torch.nn.Module,
    explain: Explain,
    images: Sequence[Array],
    classes: Sequence[int],
    positive: int,
) -> float:
    """C of one mosaic of four images, whose quadrant ``positive`` is explained (NaN: SPEC 2.5)."""
    logits = torch_logits(model, images[positive])
    if not np.isfinite(logits).all() or not all(np.isfinite(x).all() for x in images):
        return math.nan
    picture = mosaic(images)
    a = scaled_map(explain_one(model, explain, picture, classes[positive]), picture.shape)
    S = score_map((picture.shape[1], picture.shape[2]), logits, classes, positive)
    return contrastiveness(a, S)


def gae(
    model: torch.nn.Module,
    explain: Explain,
    x_batch: Array,
    y_batch: Integers,
    indices: Integers,
    positive: Integers,
    steps: int = 10,
    schedule: Schedule = "reranked",
) -> dict[str, Array]:
    """Eq. 18 and its parts for every sample.

    Parameters
    ----------
    model
        In eval mode; called with one image at a time, in its own floating point type.
    explain
        A Quantus explain_func, called with one image at a time.
    x_batch, y_batch
        (N, C, H, W) and (N,): images and the classes that are explained.
    indices, positive
        (N, 4) and (N,): the samples of each mosaic, row by row, and the positive's quadrant;
        ``indices[i, positive[i]] == i``.
    steps, schedule
        As for :func:`trajectory`.

    Returns
    -------
    dict
        "lc_robustness", "lc_faithfulness", "local_consistency", "contrastiveness", "gae": (N,).
    """
    columns: dict[str, list[float]] = {
        name: []
        for name in (
            "lc_robustness", "lc_faithfulness", "local_consistency", "contrastiveness", "gae",
        )
    }  # fmt: skip
    for i in range(len(x_batch)):
        assert indices[i, positive[i]] == i
        x = np.asarray(x_batch[i], dtype=np.float64)
        row = consistency_parts(model, explain, x, int(y_batch[i]), steps, schedule)
        row["contrastiveness"] = contrastiveness_of(
            model,
            explain,
            [np.asarray(x_batch[j], dtype=np.float64) for j in indices[i]],
            [int(y_batch[j]) for j in indices[i]],
            int(positive[i]),
        )
        row["gae"] = row["local_consistency"] * row["contrastiveness"]
        for name, values in columns.items():
            values.append(row[name])
    return {name: np.array(values) for name, values in columns.items()}
