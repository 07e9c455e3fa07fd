"""What the companion metrics share: Quantus's call order, checks, attributions, predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from quantus.helpers.warn import check_kwargs
from quantus.metrics.base import Metric
from torch import nn

__all__ = ["Evaluation", "ImageMetric", "check_kwargs", "finite"]

#: How many sample indices a warning spells out.
_NAMED = 20


@dataclass(frozen=True)
class Evaluation:
    """The checked arguments of one metric call."""

    model: nn.Module
    #: Images (N, C, H, W).
    x: NDArray[Any]
    #: Classes (N,).
    y: NDArray[np.int64]
    #: Given attributions (N, 1 or C, H, W), or None.
    a: NDArray[Any] | None
    explain_func: Callable[..., Any] | None
    explain_func_kwargs: Mapping[str, Any]
    predict_kwargs: Mapping[str, Any]
    device: torch.device
    batch_size: int
    explain_batch_size: int

    def batches(self) -> Iterator[slice]:
        """Consecutive slices of at most ``batch_size`` samples."""
        for start in range(0, len(self.x), self.batch_size):
            yield slice(start, min(start + self.batch_size, len(self.x)))

    def explain(self, x: NDArray[Any], y: NDArray[np.int64]) -> NDArray[Any]:
        """Attributions (n, 1 or C, H, W) of images (n, C, H, W), in chunks."""
        if self.explain_func is None:
            raise ValueError("explain_func must be a callable where no a_batch is used, got None")
        maps = []
        for start in range(0, len(x), self.explain_batch_size):
            chunk = slice(start, start + self.explain_batch_size)
            a = self.explain_func(
                model=self.model, inputs=x[chunk], targets=y[chunk], **self.explain_func_kwargs
            )
            maps.append(as_maps(a, x[chunk], "the result of explain_func"))
        return np.concatenate(maps)

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the model's output (n, classes) for images (n, C, H, W)."""
        weights = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        inputs = torch.as_tensor(x, device=self.device)
        if weights is not None:
            inputs = inputs.to(weights.dtype)
        with torch.no_grad():
            output = self.model(inputs, **self.predict_kwargs)
        if not isinstance(output, torch.Tensor) or output.ndim != 2 or len(output) != len(x):
            got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ValueError(f"model must return a tensor of shape ({len(x)}, classes), got {got}")
        logits: NDArray[Any] = output.double().cpu().numpy()
        return logits


class ImageMetric(Metric):  # type: ignore[misc]
    """A Quantus metric that scores every image on its own, whatever the batch size."""

    #: One row per sample of the last call.
    components: pd.DataFrame

    def __init__(
        self,
        *,
        abs: bool,
        normalise: bool,
        normalise_func: Callable[[NDArray[Any]], NDArray[Any]] | None,
        normalise_func_kwargs: dict[str, Any] | None,
        return_aggregate: bool,
        aggregate_func: Callable[..., Any] | None,
        default_plot_func: Callable[..., Any] | None,
        disable_warnings: bool,
        display_progressbar: bool,
        seed: int,
        explain_batch_size: int | None,
        **kwargs: Any,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed must be a non-negative integer, got {seed!r}")
        if explain_batch_size is not None and explain_batch_size < 1:
            raise ValueError(f"explain_batch_size must be at least 1, got {explain_batch_size}")
        super().__init__(
            abs=abs,
            normalise=normalise,
            normalise_func=normalise_func,
            normalise_func_kwargs=normalise_func_kwargs,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=default_plot_func,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
            **kwargs,
        )
        self.seed = int(seed)
        self.explain_batch_size = explain_batch_size
        self.components = pd.DataFrame()

    def _prepare(
        self,
        model: nn.Module,
        x_batch: ArrayLike,
        y_batch: ArrayLike,
        a_batch: ArrayLike | None,
        *,
        channel_first: bool | None,
        explain_func: Callable[..., Any] | None,
        explain_func_kwargs: Mapping[str, Any] | None,
        model_predict_kwargs: Mapping[str, Any] | None,
        device: str | torch.device | None,
        batch_size: int,
    ) -> Evaluation:
        """Check the arguments of a call."""
        if not isinstance(model, nn.Module):
            raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if model.training:
            raise ValueError("model must be in evaluation mode (model.eval()), got training mode")
        if explain_func is not None and not callable(explain_func):
            raise ValueError(f"explain_func must be callable, got {type(explain_func).__name__}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        x = as_array(x_batch)
        if x.ndim != 4 or 0 in x.shape:
            raise ValueError(f"x_batch must be images of shape (N, C, H, W), got {x.shape}")
        if channel_first is False:
            x = np.moveaxis(x, -1, 1)
        y = as_array(y_batch)
        if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
            raise ValueError(
                f"y_batch must be integer classes of shape ({len(x)},), got {y.dtype} {y.shape}"
            )
        a = None if a_batch is None else self._post_process(as_maps(a_batch, x, "a_batch"))
        weights = next(model.parameters(), None)
        home = torch.device("cpu") if weights is None else weights.device
        options = dict(explain_func_kwargs or {})
        if device is not None:
            options.setdefault("device", device)
        return Evaluation(
            model=model,
            x=x,
            y=y.astype(np.int64),
            a=a,
            explain_func=explain_func,
            explain_func_kwargs=options,
            predict_kwargs=dict(model_predict_kwargs or {}),
            device=home if device is None else torch.device(device),
            batch_size=batch_size,
            explain_batch_size=self.explain_batch_size or batch_size,
        )

    def _post_process(self, a: NDArray[Any]) -> NDArray[Any]:
        """Apply Quantus's ``normalise`` and ``abs``, each map on its own."""
        if self.normalise and self.normalise_func is not None:
            a = np.concatenate([self.normalise_func(a[i : i + 1]) for i in range(len(a))])
        return np.abs(a) if self.abs else a

    def _finish(self, scores: NDArray[np.float64]) -> list[float]:
        """Keep the scores where Quantus's metrics keep them and return them."""
        self.evaluation_scores = [float(score) for score in scores]
        if self.return_aggregate:
            self.evaluation_scores = [float(self.aggregate_func(self.evaluation_scores))]
        self.all_evaluation_scores.extend(self.evaluation_scores)
        result: list[float] = self.evaluation_scores
        return result

    def _warn(self, message: str, samples: NDArray[np.bool_]) -> None:
        if samples.any() and not self._disable_warnings:
            warn_samples(message, samples)

    def _warn_count(self, message: str, count: int) -> None:
        if count and not self._disable_warnings:
            warnings.warn(f"{message} ({count} samples)", RuntimeWarning, stacklevel=3)


def as_array(values: Any) -> NDArray[Any]:
    """Return arrays and tensors (on any device) alike as an array."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def as_maps(values: Any, x: NDArray[Any], name: str) -> NDArray[Any]:
    """Check attributions of images (n, C, H, W) and return them as (n, 1 or C, H, W)."""
    a = as_array(values)
    n, channels, height, width = x.shape
    if a.shape == (n, height, width):
        a = a[:, None]
    if a.shape not in ((n, channels, height, width), (n, 1, height, width)):
        raise ValueError(
            f"{name} must have shape {x.shape}, {(n, 1, height, width)} or {(n, height, width)}, "
            f"got {a.shape}"
        )
    return a


def finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether all entries of each sample are finite, shape (N,)."""
    result: NDArray[np.bool_] = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return result


def warn_samples(message: str, samples: NDArray[np.bool_]) -> None:
    """Warn once about some samples, naming their indices."""
    indices = np.flatnonzero(samples)
    named = ", ".join(map(str, indices[:_NAMED])) + (", ..." if len(indices) > _NAMED else "")
    warnings.warn(f"{message} (samples {named})", RuntimeWarning, stacklevel=4)
