"""Checks and conversions of what users pass to the public functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def select_logits(result: Any, output: Callable[[Any], Tensor] | None, samples: int) -> Tensor:
    """Take the logits from what a model returned, and check their shape."""
    logits = output(result) if output is not None else getattr(result, "logits", result)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"model: expected it to return a tensor of logits, got {type(logits).__name__}; "
            "pass output= to select the logits"
        )
    if logits.ndim != 2 or len(logits) != samples:
        raise ValueError(
            f"model: expected logits of shape ({samples}, classes), got {tuple(logits.shape)}"
        )
    return logits


def check_model(model: Any) -> None:
    """Refuse what is not a PyTorch model in evaluation mode."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if model.training:
        raise ValueError("model: expected evaluation mode, got training mode; call model.eval()")


def as_input(model: nn.Module, inputs: Any) -> Tensor:
    """Return inputs as a tensor on the model's device, in its floating-point type."""
    if not isinstance(inputs, (np.ndarray, Tensor)):
        raise ValueError(f"inputs: expected an array or a tensor, got {type(inputs).__name__}")
    x = torch.as_tensor(inputs)
    if not x.is_floating_point():
        raise ValueError(
            f"inputs: expected floating-point values, got {x.dtype}; for token ids, explain the "
            "embeddings (see abslrp.text)"
        )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"inputs: expected a batch axis and at least one sample, got {tuple(x.shape)}"
        )
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return x if parameter is None else x.to(device=parameter.device, dtype=parameter.dtype)


def as_targets(targets: Any, samples: int) -> Tensor:
    """Return targets as (B,) int64."""
    chosen = torch.as_tensor(targets)
    if chosen.ndim == 0:
        chosen = chosen.expand(samples)
    if chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool:
        raise ValueError(f"targets: expected integers, got {chosen.dtype}")
    if chosen.shape != (samples,):
        raise ValueError(f"targets: expected shape ({samples},), got {tuple(chosen.shape)}")
    return chosen.long()


def check_targets(targets: Tensor, logits: Tensor) -> None:
    """Refuse classes that the logits do not have."""
    classes = logits.shape[1]
    wrong = (targets < 0) | (targets >= classes)
    if wrong.any():
        raise ValueError(
            f"targets: expected classes from 0 to {classes - 1}, got {int(targets[wrong][0])} at "
            f"position {int(wrong.nonzero()[0])}"
        )


def like(maps: Tensor, inputs: Any) -> Any:
    """Return maps as the inputs were: array or tensor, dtype, device."""
    if isinstance(inputs, Tensor):
        return maps.detach().to(device=inputs.device, dtype=inputs.dtype)
    return maps.detach().cpu().numpy().astype(inputs.dtype, copy=False)
