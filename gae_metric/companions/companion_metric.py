"""What the companions share: images in, and chunks that shrink where memory runs out."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from quantus.helpers.enums import DataType
from torch import Tensor
from tqdm.auto import tqdm

from gae_metric.metrics.attribution_metric import named
from gae_metric.metrics.plot import plot_scores
from gae_metric.metrics.quantus_metric import QuantusMetric
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import sent
from gae_metric.study.explaining import Explainer


class CompanionMetric(QuantusMetric):
    """Base of ROAD, AOPC, ABPC and Focus; the first column of ``components`` is the score."""

    data_applicability: ClassVar[set[DataType]] = {DataType.IMAGE}
    integers: ClassVar[Mapping[str, int]] = {"seed": 0}
    score_column: ClassVar[int] = 0

    def _evaluate(self, data: Data, explainer: Explainer) -> dict[str, Any]:
        hidden = not self.display_progressbar
        with tqdm(total=len(data), desc=self.name, unit="sample", disable=hidden) as progress:
            results = self._score(data, explainer, progress)
        return results | {"components": results["components"].rename_axis("sample")}

    def _score(self, data: Data, explainer: Explainer, progress: Any) -> dict[str, Any]:
        """Return ``components`` and other results."""
        raise NotImplementedError

    def _check_applicability(self, data: Data) -> None:
        if data.x.ndim != 4:
            raise ValueError(f"x_batch: expected images (N, C, H, W), got {tuple(data.x.shape)}")
        if data.y is not None and data.y.table is not None:
            raise ValueError(f"y_batch: {self.name} is defined for one class of each sample")

    def _finite_maps(
        self, data: Data, explainer: Explainer, progress: Any
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Yield samples whose features and maps are finite, and the maps, as many as fit."""
        rows = np.flatnonzero(data.finite)
        progress.update(len(data) - len(rows))

        def maps(some: NDArray[np.int64]) -> Tensor:
            if explainer.given is not None:
                return self._post_process(data.maps(explainer.given, some))
            assert data.y is not None
            return explainer(data.inputs(some), sent(data.y.values.numpy()[some], data.device))

        for part, a in self._chunks(data).each(rows, maps):
            relevance = a.cpu().numpy()
            finite = np.isfinite(relevance).all(axis=(1, 2, 3))
            yield part[finite], relevance[finite]
            progress.update(len(finite))

    def _warn(self, data: Data, message: str, samples: NDArray[np.bool_]) -> None:
        """Warn once about some samples and name them."""
        rows = np.flatnonzero(samples)
        if len(rows):
            data.warn(f"{self.name}: {message}: {len(rows)} samples ({named(rows)})")

    def _plot_last(self, **kwargs: Any) -> None:
        plot_scores(self.components.iloc[:, :1], **kwargs)
