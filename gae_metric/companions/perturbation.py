"""AOPC and ABPC (Samek et al. 2016; equations 8 and 9): areas of region perturbation curves."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from quantus.helpers.enums import ScoreDirection
from torch import Tensor
from typing_extensions import Unpack

from abslrp.outputs import Output
from gae_metric.companions.companion_metric import CompanionMetric
from gae_metric.companions.road import Order, pixel_ranking
from gae_metric.functional.draws import content_generator
from gae_metric.metrics.quantus_metric import QuantusOptions
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import ChunkSize
from gae_metric.study.explaining import Explainer
from gae_metric.study.logits import InPlaceOfLogits


class AOPC(CompanionMetric):
    """Area over the perturbation curve, most relevant regions first (AOPC, eq. 8).

    A grid of ``size`` x ``size`` regions is laid over the image (those at the right and lower edge
    may be smaller). The regions of highest relevance, summed over their pixels and channels, are
    replaced by uniform noise, one after another, and the score is the mean over the steps
    k = 0 .. L of f(x) - f(x_k), f being the target's logit: higher is better. Ties go to the region
    that comes first, row by row.

    Parameters
    ----------
    regions
        L, the number of regions that are replaced. Default 100, as in the source: 16 % of an image
        of 224 x 224.
    size
        Side of a region in pixels.
    seed
        Non-negative seed of the noise, which lies between the least and the greatest value of each
        channel of the image. It depends on the seed and the image's content alone, so that all
        methods and both orders meet the same noise.
    explain_batch_size, output
        As for :class:`ROAD`.
    **kwargs
        Options of Quantus: ``abs``, ``normalise``, ``normalise_func``, ``normalise_func_kwargs``,
        ``return_aggregate``, ``aggregate_func``, ``default_plot_func``, ``disable_warnings`` and
        ``display_progressbar``, all off by default. As in Quantus, except that ``normalise`` works
        on each map alone. Any other is refused.

    Attributes
    ----------
    curves : ndarray
        (N, orders, L + 1) floats of the last call: the target's logit at each step, most relevant
        first and, in ABPC, least relevant first; NaN for a sample with a feature, attribution or
        output that is not finite.
    components : pandas.DataFrame
        One row per sample: the score as ``aopc`` or ``abpc``.

    Raises
    ------
    ValueError
        If an argument is not as described, or an image has fewer than ``regions`` regions.

    Notes
    -----
    Source: Samek, Binder, Montavon, Lapuschkin, Müller, "Evaluating the visualization of what a
    deep neural network has learned", IEEE TNNLS 28(11), 2017.

    Cost for each sample: one explanation and L + 1 model evaluations for each order.

    Examples
    --------
    >>> images = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 2)).eval()
    >>> aopc = AOPC(regions=4, size=2)
    >>> len(aopc(linear, images, np.array([1]), a_batch=images)), aopc.curves.shape
    (1, (1, 1, 5))
    """

    name: ClassVar[str] = "AOPC"
    orders: ClassVar[tuple[Order, ...]] = ("morf",)
    score_direction: ClassVar[ScoreDirection] = ScoreDirection.HIGHER
    integers: ClassVar[Mapping[str, int]] = {"seed": 0, "regions": 1, "size": 1}
    makes_inputs: ClassVar[bool] = False
    contrasts: ClassVar[bool] = False
    results: ClassVar[Mapping[str, Any]] = {"curves": np.empty((0, 0, 0))}

    def __init__(
        self,
        regions: int = 100,
        size: int = 9,
        seed: int = 0,
        explain_batch_size: int | None = None,
        output: Output = None,
        **kwargs: Unpack[QuantusOptions],
    ) -> None:
        super().__init__(locals())

    def _score(self, data: Data, explainer: Explainer, progress: Any) -> dict[str, Any]:
        assert data.y is not None
        across = -(-data.x.shape[3] // self.size)
        grid = np.arange(data.x.shape[2])[:, None] // self.size * across
        grid = grid + np.arange(data.x.shape[3]) // self.size
        if (most := int(grid.max()) + 1) < self.regions:
            raise ValueError(
                f"regions: expected at most the {most} of {self.size} x {self.size} pixels that "
                f"images of shape {tuple(data.x.shape[1:])} have, got {self.regions}"
            )
        curves = np.full((len(data), len(self.orders), self.regions + 1), np.nan)
        evaluated = data.chunks("the model")
        returned = InPlaceOfLogits(self.output)
        for found, maps in self._finite_maps(data, explainer, progress):
            for row, relevance in zip(found, maps.sum(axis=1, dtype=np.float64), strict=True):
                regions = np.bincount(grid.ravel(), relevance.ravel())[None, None]
                for k, order in enumerate(self.orders):
                    step = np.argsort(pixel_ranking(regions, order)[0])[grid]
                    outputs = self._outputs(data, int(row), step, evaluated)
                    curves[row, k] = outputs[:, int(data.y.values[row])]
                    returned.see(outputs[:1])
        curves[~np.isfinite(curves).all(axis=(1, 2))] = np.nan
        bad = np.isnan(curves[:, 0, 0])
        self._warn(data, "NaN where features, attributions or outputs are not finite", bad)
        if told := returned.told(self.name):
            data.warn(told)
        kept = curves[:, 1] if len(self.orders) > 1 else curves[:, 0, :1]
        score = (kept - curves[:, 0]).mean(axis=1)
        return {"components": pd.DataFrame({self.name.lower(): score}), "curves": curves}

    def _outputs(self, data: Data, row: int, step: NDArray[np.int64], size: ChunkSize) -> Tensor:
        """Logits (L + 1, K) as the regions go whose pixels (H, W) are of steps 0, 1, ..."""
        given = data.rows(np.array([row]), given=True).cpu()
        image = given.to(data.dtype).double().numpy()[0]
        least, most = image.min((1, 2), keepdims=True), image.max((1, 2), keepdims=True)
        drawn = content_generator(given.double().numpy()[0], self.seed)
        noise = drawn.uniform(least, most, image.shape)

        def output(steps: NDArray[np.int64]) -> Tensor:
            gone = step < steps[:, None, None, None]
            x = torch.from_numpy(np.where(gone, noise, image)).to(data.dtype)
            return data.logits(x.to(data.device)).double()

        return torch.cat([found for _, found in size.each(np.arange(self.regions + 1), output)])


class ABPC(AOPC):
    """Area between the perturbation curves, least and most relevant first (ABPC, eq. 9).

    The mean over the steps of f(least relevant first) - f(most relevant first); everything else is
    as in :class:`AOPC`, at twice its model evaluations.

    Examples
    --------
    >>> images = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 2)).eval()
    >>> one, other = ABPC(4, 2), ABPC(4, 2)
    >>> a = one(linear, images, np.array([1]), a_batch=images)
    >>> a == [-b for b in other(linear, images, np.array([1]), a_batch=-images)]
    True
    """

    name: ClassVar[str] = "ABPC"
    orders: ClassVar[tuple[Order, ...]] = ("morf", "lerf")
