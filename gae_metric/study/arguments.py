"""The checked arguments of a metric's call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gae_metric.study.conversion import as_maps, as_tensor
from gae_metric.study.devices import sent
from gae_metric.study.logits import LogitsModel, Output
from gae_metric.study.modes import check_model

#: Samples that are looked at together where all of them are.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Data:
    """A model and the samples that it is evaluated on."""

    model: LogitsModel
    #: (N, C, ...) or (N, F), as given: any real dtype, wherever it lies.
    x: Tensor
    #: int64 (N,) on the CPU; None where classes are the model's predictions.
    y: Tensor | None
    #: Whether all features of a sample are finite, (N,).
    finite: NDArray[np.bool_]
    device: torch.device
    #: What the model computes in.
    dtype: torch.dtype
    batch_size: int

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, samples: NDArray[np.int64]) -> Tensor:
        """Return samples in the model's type, where they lie."""
        return self.x[torch.from_numpy(samples).to(self.x.device)].to(self.dtype)

    def inputs(self, samples: NDArray[np.int64]) -> Tensor:
        """Return samples as the model takes them, on its device."""
        return sent(self.rows(samples), self.device)


def check_data(
    model: Any,
    x_batch: Any,
    y_batch: Any,
    *,
    channel_first: bool | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    output: Output = None,
    model_predict_kwargs: Mapping[str, Any] | None = None,
    predicted: bool = False,
) -> Data:
    """Check what is evaluated; see :class:`GAE` for the arguments.

    Raises
    ------
    ValueError
        If an argument is not as described there.
    """
    check_model(model)
    home = next((value.device for value in model.parameters()), None)
    where = home or torch.device("cpu")
    if device is not None and torch.device(device) != torch.device(where.type):
        where = torch.device(device)
    x = channels_first(as_tensor(x_batch, "x_batch"), channel_first, "x_batch")
    if x.is_complex() or x.ndim not in (2, 3, 4) or x.numel() == 0:
        raise ValueError(
            "x_batch: expected images (N, C, H, W), time series (N, C, L) or tabular data (N, F) "
            f"with at least one sample, got {x.dtype} {tuple(x.shape)}"
        )
    if channel_first is None and x.ndim == 4:
        _, first, height, last = x.shape
        if last in (1, 3) and first > 4 and height > 4:
            raise ValueError(
                f"x_batch: shape {tuple(x.shape)} looks channel-last; pass channel_first=False "
                "(or True if it is not)"
            )
    y = None if predicted and y_batch is None else as_classes(y_batch, len(x))
    if not is_integer(batch_size, 1):
        raise ValueError(f"batch_size: expected a positive integer, got {batch_size!r}")
    data = Data(
        model=LogitsModel(model, output, model_predict_kwargs),
        x=x,
        y=y,
        finite=np.ones(len(x), dtype=bool),
        device=where,
        dtype=_dtype(model, x),
        batch_size=int(batch_size),
    )
    for start in range(0, len(x), _BLOCK):
        samples = np.arange(start, min(start + _BLOCK, len(x)))
        rows = data.x[start : start + _BLOCK].to(data.dtype)
        data.finite[samples] = rows.isfinite().flatten(1).all(1).cpu().numpy()
    return data


def is_integer(value: Any, least: int) -> bool:
    """Whether a value is a whole number, which a truth value is not, and not below another."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and bool(value >= least)


def _dtype(model: nn.Module, x: Tensor) -> torch.dtype:
    """Return the parameters' floating-point type, or that of the inputs."""
    values = [*model.parameters(), *model.buffers()]
    for value in values:
        if value.is_floating_point():
            return value.dtype
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()


def channels_first(values: Tensor, channel_first: bool | None, name: str) -> Tensor:
    """Move the channels of (N, ..., C) values to the front."""
    if channel_first not in (None, True, False):
        raise ValueError(f"channel_first: expected True, False or None, got {channel_first!r}")
    if channel_first is False and values.ndim > 2:
        return values.movedim(-1, 1)
    return values


def as_classes(values: Any, count: int) -> Tensor:
    """Check classes (N,) and return them as int64 on the CPU."""
    if values is None:
        raise ValueError(
            f"y_batch: expected {count} integer classes, got None; metrics that have "
            'targets="predicted" explain the model\'s own predictions'
        )
    y = as_tensor(values, "y_batch").cpu()
    whole = not y.is_complex() and (not y.is_floating_point() or bool((y == y.round()).all()))
    if y.shape != (count,) or y.dtype == torch.bool or not whole:
        raise ValueError(
            f"y_batch: expected integer classes of shape ({count},), one for each sample of "
            f"x_batch, got {y.dtype} {tuple(y.shape)}"
            + ("; one sample has a batch axis, too: x[None]" if y.numel() == 1 else "")
        )
    return y.long()


def check_maps(a_batch: Any, data: Data, channel_first: bool | None) -> Tensor:
    """Check given maps, and give them the channel axis that is missing."""
    maps = as_tensor(a_batch, "a_batch")
    if maps.ndim == data.x.ndim:
        maps = channels_first(maps, channel_first, "a_batch")
    return as_maps(maps, data.x.shape, "a_batch")
