"""Metrics of this project on a block of samples, with mosaics and noise of the whole data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import quantus
from numpy.typing import NDArray

from benchmarks.metrics.metric_call import Block
from gae_metric import GAE, Contrastiveness
from gae_metric.commands.quantus_evaluation import heat_map
from gae_metric.companions import ROAD
from gae_metric.companions.noise import SeededNoise
from gae_metric.study.arguments import Data
from gae_metric.study.mosaicking import Layout, Mosaicking
from gae_metric.study.samples import Labels


class LocalLipschitz(quantus.LocalLipschitzEstimate):  # type: ignore[misc]
    """Quantus's estimate of the local Lipschitz constant, for a sample whatever its batch.

    Of a map the positive part counts, summed over channels and divided by its own largest value;
    noise depends on the sample and the seed alone. A constant map scores 0, as in the paper, and
    one that is not finite NaN.

    Parameters
    ----------
    seed
        Of the noise.
    samples
        Perturbations of each image.
    """

    def __init__(self, seed: int = 0, samples: int = 10) -> None:
        super().__init__(
            nr_samples=samples,
            perturb_func=SeededNoise(seed, samples),
            disable_warnings=True,
        )
        self.max_func = _largest

    def explain_batch(
        self, model: Any, x_batch: NDArray[Any], y_batch: NDArray[Any]
    ) -> NDArray[Any]:
        """Explain, and normalise each map by itself."""
        maps = self.explain_func(
            model=model.get_model() if hasattr(model, "get_model") else model,
            inputs=x_batch,
            targets=y_batch,
            **self.explain_func_kwargs,
        )
        return heat_map(maps)


def _largest(estimates: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the largest estimate that there is, NaN where there is none, without a warning."""
    largest: NDArray[Any] = np.fmax.reduce(estimates, axis=axis)
    return largest


@dataclass(frozen=True)
class BlockMosaicking(Mosaicking):
    """Mosaics of some samples, laid out beforehand."""

    layout: Layout = field(kw_only=True)

    def check(self, data: Data) -> None:
        """Take the mosaics as they are."""

    def draw(self, data: Data, classes: NDArray[np.int64], labels: Labels) -> Layout:
        """Return them."""
        del data, classes, labels
        return self.layout


class _OfLayout:
    """A metric of the samples of a layout."""

    interpolation: Any

    def __init__(self, layout: Layout, **options: Any) -> None:
        self._layout = layout
        super().__init__(disable_warnings=True, **options)  # type: ignore[call-arg]

    def _mosaicking(self) -> Mosaicking:
        return BlockMosaicking(interpolation=self.interpolation, layout=self._layout)


class BlockGAE(_OfLayout, GAE):
    """GAE of the samples of a layout."""


class BlockContrastiveness(_OfLayout, Contrastiveness):
    """Contrastiveness of the samples of a layout."""


class BlockROAD(ROAD):
    """ROAD whose noise is that of a sample's place in the data set."""

    def __init__(self, start: int, **options: Any) -> None:
        self._start = start
        super().__init__(disable_warnings=True, **options)

    def _entropy(self, row: int, percentage: float) -> list[int]:
        return super()._entropy(self._start + row, percentage)


def layout_of(block: Block) -> Layout:
    """Lay out the mosaics of a block."""
    assert block.mosaics is not None
    assert block.positive is not None
    unknown = np.zeros(len(block.own), dtype=bool)  # nobody is warned of identical images
    return Layout(block.own, block.mosaics[:, None], block.positive[:, None], unknown)
