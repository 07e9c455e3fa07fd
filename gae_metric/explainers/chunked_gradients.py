"""What the explanation functions share: chunks, checks, gradients, and the kind that comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = TypeVar("Array", Tensor, "NDArray[Any]")

DEFAULT_BATCH_SIZE = 64


def chunked(
    method: Callable[[nn.Module, Tensor, Tensor], Tensor],
    model: nn.Module,
    inputs: Array,
    targets: Any,
    batch_size: int | None,
    finish: Callable[[Tensor, Tensor], Tensor],
) -> Array:
    """Apply ``finish(method(model, x, target), x)`` to chunks, and return what the caller gave."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if getattr(model, "training", False):  # which a frozen TorchScript has not
        raise ValueError("model: expected evaluation mode, got training mode; call model.eval()")
    step = DEFAULT_BATCH_SIZE if batch_size is None else int(batch_size)
    if step < 1:
        raise ValueError(f"batch_size: expected a positive integer or None, got {batch_size!r}")
    x = as_input(model, inputs)
    target = as_targets(targets, len(x)).to(x.device)
    maps = [
        finish(method(model, x[i : i + step], target[i : i + step]), x[i : i + step])
        for i in range(0, len(x), step)
    ]
    result: Array = like(torch.cat(maps), inputs)
    return result


def gradient(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of each sample's target logit with respect to the sample."""
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        # A copy, so that a model that overwrites its input in place leaves the leaf alone.
        score = selected(model(leaf.clone()), target).sum()
        (result,) = torch.autograd.grad(score, leaf)
    return result


def selected(logits: Any, target: Tensor) -> Tensor:
    """Return the logit of each sample's target, (B,)."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(target):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model: expected logits of shape ({len(target)}, classes), got {got}")
    wrong = (target < 0) | (target >= logits.shape[1])
    if wrong.any():
        raise ValueError(
            f"targets: expected classes from 0 to {logits.shape[1] - 1}, "
            f"got {int(target[wrong][0])}"
        )
    return logits.gather(1, target[:, None])[:, 0]


def as_input(model: nn.Module, inputs: Any) -> Tensor:
    """Return inputs as a tensor on the model's device, in its floating-point type."""
    if not isinstance(inputs, (np.ndarray, Tensor)):
        raise ValueError(f"inputs: expected an array or a tensor, got {type(inputs).__name__}")
    x = torch.as_tensor(inputs)
    if x.ndim < 2 or len(x) == 0 or not x.is_floating_point():
        raise ValueError(
            "inputs: expected floating-point values of shape (B, ...), "
            f"got {x.dtype} {tuple(x.shape)}"
        )
    weights = next((p for p in model.parameters() if p.is_floating_point()), None)
    return x if weights is None else x.to(device=weights.device, dtype=weights.dtype)


def as_targets(targets: Any, samples: int) -> Tensor:
    """Return targets as (B,) int64."""
    chosen = torch.as_tensor(targets)
    if chosen.ndim == 0:
        chosen = chosen.expand(samples)
    if chosen.shape != (samples,) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise ValueError(
            f"targets: expected integers of shape ({samples},), "
            f"got {chosen.dtype} {tuple(chosen.shape)}"
        )
    return chosen.long()


def like(maps: Tensor, inputs: Any) -> Any:
    """Return maps as the inputs were: array or tensor, dtype, device."""
    if isinstance(inputs, Tensor):
        return maps.detach().to(device=inputs.device, dtype=inputs.dtype)
    return maps.detach().cpu().numpy().astype(inputs.dtype, copy=False)
