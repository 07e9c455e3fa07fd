"""ROAD (Rong et al. 2022) on plain images of any number of channels and batches of any size."""

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from quantus.helpers.enums import ScoreDirection
from typing_extensions import Unpack

from abslrp.outputs import Output
from gae_metric.companions.companion_metric import CompanionMetric
from gae_metric.companions.imputation import noisy_linear_imputation
from gae_metric.functional.draws import content_generator
from gae_metric.metrics.quantus_metric import QuantusOptions
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import ChunkSize
from gae_metric.study.explaining import Explainer

Order = Literal["morf", "lerf"]


class ROAD(CompanionMetric):
    """Accuracy after the most or least relevant pixels were removed and imputed (ROAD).

    For each percentage p, the ``int(H * W * p / 100)`` pixels of highest (``order="morf"``) or
    lowest (``order="lerf"``) relevance are removed with all their channels, replaced by noisy
    linear imputation, and the model classifies the result. A good explanation makes accuracy fall
    fast in MoRF order (lower is better) and stay in LeRF order (higher is better). A pixel's
    relevance is the sum over the channels of the map; ties go to the lower flat index, in both
    orders.

    Unlike ``quantus.ROAD`` 0.6.0, which returns a dictionary from percentage to accuracy, scores
    the first batch only and fails on more than one channel, this metric returns one score per
    sample: the share of percentages at which the model still predicts ``y_batch``. Their mean is
    the mean accuracy over the percentages, the number that tables give; the dictionary is in
    ``accuracy``.

    Parameters
    ----------
    order
        ``"morf"`` (most relevant first) or ``"lerf"`` (least relevant first).
    percentages
        Percentages of pixels to remove, each in [0, 100). Default 1, 3, .., 99, as in Quantus.
    noise
        Standard deviation of the Gaussian noise added to imputed pixels, in units of the input.
    seed
        Non-negative seed of the noise, which depends on the seed, the image's content and the
        percentage alone, so that all methods and both orders meet the same noise.
    explain_batch_size
        Samples that ``explain_func`` gets at a time where no ``a_batch`` is given; default
        ``batch_size``.
    n_jobs
        Threads that impute; does not change scores.
    output
        What selects the logits from what the model returns, as for :class:`gae_metric.GAE`.
    **kwargs
        Options of Quantus: ``abs``, ``normalise``, ``normalise_func``, ``normalise_func_kwargs``,
        ``return_aggregate``, ``aggregate_func``, ``default_plot_func``, ``disable_warnings`` and
        ``display_progressbar``, all off by default. As in Quantus, except that ``normalise`` works
        on each map alone. Any other is refused.

    Attributes
    ----------
    curves : ndarray
        (N, P) floats of the last call: 1 where the prediction is still ``y_batch``, 0 where it is
        not; a row of NaN for a sample with a feature, attribution or output that is not finite.
    accuracy : dict of float to float
        Accuracy at each percentage, over all samples that could be scored.
    components : pandas.DataFrame
        One row per sample: the score as ``road_morf`` or ``road_lerf``, then ``curves``, a column
        per percentage (``correct@10``).
    score_direction : quantus.helpers.enums.ScoreDirection
        ``LOWER`` for ``"morf"``, ``HIGHER`` for ``"lerf"``.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation
    Strategy for Attribution Methods", ICML 2022.

    Cost for each sample and percentage: one model evaluation and one sparse solve on the CPU, at
    224 x 224 from about 5 ms (10 %) to 170 ms (90 %), at 48 x 48 from 0.5 to 5 ms.

    Examples
    --------
    >>> images = np.zeros((2, 3, 8, 8), dtype=np.float32)
    >>> images[:, :, 2:4, 2:4] = 1.0
    >>> linear = torch.nn.Linear(3, 2)
    >>> _ = linear.weight.data.copy_(torch.tensor([[0.0] * 3, [1.0] * 3]))
    >>> _ = linear.bias.data.copy_(torch.tensor([1.5, 0.0]))
    >>> bright = torch.nn.Sequential(torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten(), linear)
    >>> road = ROAD(order="morf", percentages=[5, 20])
    >>> road(bright.eval(), images, np.array([1, 1]), a_batch=images)
    [0.5, 0.5]
    >>> road.accuracy
    {5: 1.0, 20: 0.0}
    """

    name: ClassVar[str] = "ROAD"
    score_direction: ScoreDirection = ScoreDirection.LOWER
    integers: ClassVar[Mapping[str, int]] = {"seed": 0, "n_jobs": 1}
    makes_inputs: ClassVar[bool] = False
    percentages: Sequence[Any]
    results: ClassVar[Mapping[str, Any]] = {"curves": np.empty((0, 0)), "accuracy": {}}

    def __init__(
        self,
        order: Order = "morf",
        percentages: Sequence[float] | None = None,
        noise: float = 0.01,
        seed: int = 0,
        explain_batch_size: int | None = None,
        n_jobs: int = 1,
        output: Output = None,
        **kwargs: Unpack[QuantusOptions],
    ) -> None:
        super().__init__(locals())

    def _check(self) -> None:
        super()._check()
        if self.order not in ("morf", "lerf"):
            raise ValueError(f'order: expected "morf" or "lerf", got {self.order!r}')
        morf = self.order == "morf"
        self.score_direction = ScoreDirection.LOWER if morf else ScoreDirection.HIGHER
        given = range(1, 100, 2) if self.percentages is None else self.percentages
        each = [*given] if isinstance(given, Iterable) else []
        known = all(isinstance(p, Real) and 0 <= float(p) < 100 for p in each)
        if not (known and len(set(each)) == len(each) > 0):
            raise ValueError(f"percentages: expected different numbers in [0, 100), got {given}")
        # Python's numbers: pixels cannot be counted with NumPy's short ones.
        self.percentages = [p.item() if isinstance(p, np.generic) else p for p in each]
        if not (isinstance(self.noise, Real) and 0 <= float(self.noise) < math.inf):
            raise ValueError(f"noise: expected a non-negative number, got {self.noise!r}")

    def _score(self, data: Data, explainer: Explainer, progress: Any) -> dict[str, Any]:
        curves = np.full((len(data), len(self.percentages)), np.nan)
        evaluated = data.chunks("the model")
        with ThreadPoolExecutor(self.n_jobs) as pool:
            for rows, maps in self._finite_maps(data, explainer, progress):
                if len(rows):
                    ranking = pixel_ranking(maps, self.order)
                    curves[rows] = self._correct(data, rows, ranking, pool, evaluated)
        # A sample counts at all percentages or at none.
        curves[np.isnan(curves).any(axis=1)] = np.nan
        scored = ~np.isnan(curves[:, 0])
        self._warn(data, "NaN where features, attributions or outputs are not finite", ~scored)
        if 0 < (most := max(self.percentages)) < 1:
            data.warn(f"percentages: only {most:g} % of pixels are removed; half is 50, not 0.5")
        means = curves[scored].mean(axis=0) if scored.any() else np.full(curves.shape[1], np.nan)
        accuracy = dict(zip(self.percentages, means.tolist(), strict=True))
        columns = {f"correct@{p:g}": curves[:, k] for k, p in enumerate(self.percentages)}
        components = pd.DataFrame({f"road_{self.order}": curves.mean(axis=1)} | columns)
        return {"components": components, "curves": curves, "accuracy": accuracy}

    def _correct(
        self,
        data: Data,
        rows: NDArray[np.int64],
        rankings: NDArray[np.int64],
        pool: ThreadPoolExecutor,
        size: ChunkSize,
    ) -> NDArray[np.float64]:
        """Correctness (n, P) of samples ranked (n, H * W); NaN where it cannot be told."""
        assert data.y is not None
        given = data.rows(rows, given=True).cpu()
        images, contents = (one.double().numpy() for one in (given.to(data.dtype), given))
        # All samples with the first percentage of their pixels removed, then with the next.
        y = np.tile(data.y.values.numpy()[rows], len(self.percentages))

        def imputed(place: int) -> NDArray[np.float64]:
            number, row = divmod(place, len(rows))
            image, percentage = images[row], self.percentages[number]
            removed = np.zeros(rankings.shape[1], dtype=bool)
            removed[rankings[row, : int(len(removed) * percentage / 100)]] = True
            bits = int(np.float64(percentage).view(np.uint64))
            drawn = content_generator(contents[row], self.seed, bits)
            mask = removed.reshape(image.shape[1:])
            return noisy_linear_imputation(image, mask, self.noise, drawn)

        def hits(places: NDArray[np.int64]) -> NDArray[np.float64]:
            x = torch.from_numpy(np.stack(list(pool.map(imputed, places.tolist()))))
            # Converted before it is moved: not every device has float64.
            logits = data.logits(x.to(data.dtype).to(data.device)).double().numpy()
            hit = logits.argmax(axis=1) == y[places]
            # A class that a model rules out has a logit of minus infinity.
            return np.where((logits < np.inf).all(axis=1), hit, np.nan)

        correct = [found for _, found in size.each(np.arange(len(y)), hits)]
        return np.concatenate(correct).reshape(-1, len(rows)).T


def pixel_ranking(a: NDArray[Any], order: Order) -> NDArray[np.int64]:
    """Flat pixel indices (n, H * W) of maps (n, C, H, W), first to be removed first."""
    relevance = a.sum(axis=1, dtype=np.float64).reshape(len(a), math.prod(a.shape[2:]))
    return np.argsort(-relevance if order == "morf" else relevance, axis=1, kind="stable")
