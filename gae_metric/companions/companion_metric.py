"""What the companions share: images in, and chunks that shrink where memory runs out."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from quantus.helpers.enums import DataType
from torch import Tensor
from tqdm.auto import tqdm

from gae_metric.functional.masking import check_classes
from gae_metric.metrics.data_warnings import named
from gae_metric.metrics.plot import plot_scores
from gae_metric.metrics.quantus_metric import QuantusMetric
from gae_metric.study.arguments import Data, is_integer
from gae_metric.study.chunks import ChunkSize
from gae_metric.study.explaining import Explainer

__all__ = ["CompanionMetric"]


class CompanionMetric(QuantusMetric):
    """Base of ROAD and Focus; the first column of ``components`` is the score."""

    data_applicability: ClassVar[set[DataType]] = {DataType.IMAGE}

    def __init__(self, *, seed: int, **others: Any) -> None:
        if not is_integer(seed, 0):
            raise ValueError(f"seed: expected a non-negative integer, got {seed!r}")
        super().__init__(**others)
        self.seed = int(seed)

    def _evaluate(self, data: Data, given: Tensor | None, alone: bool) -> list[float]:
        finite = np.flatnonzero(data.finite)
        if len(finite):  # See what the model returns, once, for one sample.
            logits = self._logits(data, data.inputs(finite[:1]))
            assert data.y is not None
            check_classes(data.y, logits.shape[1], "y_batch")
        hidden = not self.display_progressbar
        with tqdm(total=len(data), desc=self.name, unit="sample", disable=hidden) as progress:
            self.components = self._score(data, given, progress).rename_axis("sample")
        return self.components.iloc[:, 0].tolist()

    def _score(self, data: Data, given: Tensor | None, progress: Any) -> pd.DataFrame:
        """Return ``components``."""
        raise NotImplementedError

    def _check_applicability(self, data: Data) -> None:
        if data.x.ndim != 4:
            raise ValueError(f"x_batch: expected images (N, C, H, W), got {tuple(data.x.shape)}")

    def _logits(self, data: Data, x: Tensor) -> NDArray[np.float64]:
        """Return the model's outputs, (n, K)."""
        with torch.no_grad():
            logits: NDArray[np.float64] = data.model(x).cpu().double().numpy()
        return logits

    def _maps(self, data: Data, x: Tensor, targets: Tensor) -> Tensor:
        """Attributions of inputs on the model's device, post-processed."""
        assert self.explain_func is not None
        model, kwargs = data.model.explained, self.explain_func_kwargs
        return Explainer(self.explain_func, kwargs, model, self._post_process)(x, targets)

    def _chunks(self, data: Data) -> ChunkSize:
        """How many samples explain_func gets at a time."""
        size = self.explain_batch_size or data.batch_size
        return ChunkSize(size, "explain_func", self._disable_warnings)

    def _warn(self, message: str, samples: NDArray[np.bool_]) -> None:
        """Warn once about some samples and name them."""
        rows = np.flatnonzero(samples)
        if len(rows) and not self._disable_warnings:
            text = f"{self.name}: {message}: {len(rows)} samples ({named(rows)})"
            # To where the metric was called: past this, _score, _evaluate and __call__.
            warnings.warn(text, RuntimeWarning, stacklevel=5)

    def _plot_last(self, **kwargs: Any) -> None:
        plot_scores(self.components.iloc[:, :1], **kwargs)
