"""SPEC 2.1: the masking trajectory, one image and one feature at a time, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Array: TypeAlias = npt.NDArray[np.float64]
Gradient: TypeAlias = Callable[[Array], tuple[float, Array]]
Order: TypeAlias = Literal["morf", "lerf"]
Schedule: TypeAlias = Literal["reranked", "uniform"]


class Trajectory(NamedTuple):
    """States t = 0 .. T-1 of one order, for one image of shape ``shape``.

    ``outputs`` (T,): o_t; ``impacts`` (T, *shape): m_t, each of sum 1; ``states`` (T, *shape): x_t;
    ``masked_from`` (*shape), uint8: the first state in which the feature is 0, T if none is.
    """

    outputs: Array
    impacts: Array
    states: Array
    masked_from: npt.NDArray[np.uint8]


def torch_output_and_gradient(model: torch.nn.Module, x: Array, target: int) -> tuple[float, Array]:
    """f_c(x) and df_c/dx of a PyTorch model, for one image without batch axis."""
    inputs = torch.as_tensor(x[None], dtype=dtype_of(model)).requires_grad_()
    output = model(inputs)[0, target]
    (gradient,) = torch.autograd.grad(output, inputs)
    return float(output.detach()), gradient[0].double().numpy()


def torch_logits(model: torch.nn.Module, x: Array) -> Array:
    """The model's raw outputs for one image, (classes,)."""
    with torch.no_grad():
        logits: Array = model(torch.as_tensor(x[None], dtype=dtype_of(model)))[0].double().numpy()
    return logits


def dtype_of(model: torch.nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters()), torch.float64)


def impact(x: Array, output: float, gradient: Array) -> Array:
    """SPEC 2.1: m = | x * d|f_c| / dx |, scaled to sum 1 (all zero stays so)."""
    m: Array = np.abs(x * np.sign(output) * gradient)
    total = float(m.sum())
    return m / total if total != 0.0 else m


def masked_count(t: int, steps: int, features: int) -> int:
    """floor((t + 1) / T * D), in integers."""
    return (t + 1) * features // steps


def trajectory(
    grad: Gradient,
    x: Array,
    order: Order,
    steps: int = 10,
    schedule: Schedule = "reranked",
) -> Trajectory:
    """SPEC 2.1: the masking trajectory of one image in one order.

    Parameters
    ----------
    grad
        ``grad(x) -> (f_c(x), df_c/dx)`` for one image.
    x
        The image, any shape.
    order
        "morf": features of highest impact first; "lerf": of lowest.
    steps
        T, the number of states.
    schedule
        "reranked": after state t, mask the floor((t + 1) / T D) features that come first among
        all. "uniform": mask floor((t + 1) / T D) - floor(t / T D) features that come first among
        those not yet masked.
    """
    D = x.size
    masked_from = [steps] * D
    outputs, impacts, states = [], [], []
    for t in range(steps):
        state = np.array(
            [
                value if since > t else 0.0
                for value, since in zip(x.ravel(), masked_from, strict=True)
            ]
        ).reshape(x.shape)
        output, gradient = grad(state)
        m = impact(state, output, gradient)
        outputs.append(output)
        impacts.append(m)
        states.append(state)
        if t == steps - 1:
            break
        ranking = ranked(m, [since <= t for since in masked_from], order)
        if schedule == "reranked":
            chosen = ranking[: masked_count(t, steps, D)]
        else:
            free = [i for i in ranking if masked_from[i] > t]
            chosen = free[: masked_count(t, steps, D) - masked_count(t - 1, steps, D)]
        for i in chosen:
            masked_from[i] = min(masked_from[i], t + 1)
    return Trajectory(
        np.array(outputs, dtype=np.float64),
        np.stack(impacts),
        np.stack(states),
        np.array(masked_from, dtype=np.uint8).reshape(x.shape),
    )


def ranked(m: Array, masked: Sequence[bool], order: Order) -> list[int]:
    """Flat indices by impact; ties: already masked features first, then the lower index."""
    sign = -1.0 if order == "morf" else 1.0
    flat = m.ravel()
    return sorted(range(m.size), key=lambda i: (sign * flat[i], not masked[i], i))
