"""ROAD (Rong et al. 2022) on plain images of any number of channels and batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from quantus.helpers.enums import DataType, EvaluationCategory, ModelType, ScoreDirection
from torch import nn
from tqdm.auto import tqdm

from gae_metric.companions._shell import Evaluation, ImageMetric, check_kwargs, finite
from gae_metric.companions.imputation import linear_imputation

__all__ = ["ROAD"]


class ROAD(ImageMetric):
    """Accuracy after the most or least relevant pixels were removed and imputed (ROAD).

    For each percentage p, the ``int(H * W * p / 100)`` pixels of highest (``order="morf"``) or
    lowest (``order="lerf"``) relevance are removed with all their channels, replaced by noisy
    linear imputation, and the model classifies the result. A good explanation makes accuracy fall
    fast in MoRF order (lower is better) and stay in LeRF order (higher is better). A pixel's
    relevance is the sum over the channels of the map; ties go to the lower flat index, in both
    orders.

    Source: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient Evaluation
    Strategy for Attribution Methods", ICML 2022.

    Unlike ``quantus.ROAD`` 0.6.0, which returns a dictionary from percentage to accuracy, scores
    the first batch only and fails on more than one channel, this metric returns one score per
    sample: the share of percentages at which the model still predicts ``y_batch``. Their mean is
    the mean accuracy over the percentages, the number that tables give; the dictionary is in
    ``accuracy``.

    Parameters
    ----------
    order
        "morf" (most relevant first) or "lerf" (least relevant first).
    percentages
        Percentages of pixels to remove, each in [0, 100). Default 1, 3, .., 99, as in Quantus. Cost
        is one sparse solve (at 224 x 224 about 0.01 to 0.15 s, growing with the percentage) and one
        model evaluation per sample and percentage.
    noise
        Standard deviation of the Gaussian noise added to imputed pixels, in units of the input.
    abs, normalise, normalise_func, normalise_func_kwargs, return_aggregate, aggregate_func
        As in Quantus; normalisation is per sample and off by default (it cannot change a ranking
        unless it is signed).
    default_plot_func, disable_warnings, display_progressbar
        As in Quantus.
    seed
        Non-negative seed of the noise. The noise of a sample depends on (seed, index of the sample
        in ``x_batch``, percentage) only, so that all methods and both orders meet the same noise.
    explain_batch_size
        Samples per call of ``explain_func`` where no ``a_batch`` is given; default ``batch_size``.
    n_jobs
        Threads that impute; does not change the result.
    **kwargs
        Refused, as in Quantus.

    Attributes
    ----------
    curves : ndarray
        Float array (N, P) of the last call: 1 where the prediction is still ``y_batch``, 0 where it
        is not, NaN for a sample that could not be scored.
    accuracy : dict of float to float
        Accuracy at each percentage, over all samples that could be scored.
    components : pandas.DataFrame
        One row per sample: the score in column ``road_morf`` or ``road_lerf``, then one column of
        ``curves`` per percentage (``correct@10``).
    score_direction : quantus.helpers.enums.ScoreDirection
        ``LOWER`` for "morf", ``HIGHER`` for "lerf".

    Raises
    ------
    ValueError
        If an argument is not as described above.

    Examples
    --------
    >>> images = np.zeros((2, 3, 8, 8), dtype=np.float32)
    >>> images[:, :, 2:4, 2:4] = 1.0
    >>> bright = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    >>> _ = bright[2].weight.data.copy_(torch.tensor([[0.0] * 3, [1.0] * 3]))
    >>> _ = bright[2].bias.data.copy_(torch.tensor([1.5, 0.0]))
    >>> road = ROAD(order="morf", percentages=[5, 20])
    >>> road(bright, images, np.array([1, 1]), a_batch=images)
    [0.5, 0.5]
    >>> road.accuracy
    {5: 1.0, 20: 0.0}
    """

    name: ClassVar[str] = "ROAD"
    data_applicability: ClassVar[set[DataType]] = {DataType.IMAGE}
    model_applicability: ClassVar[set[ModelType]] = {ModelType.TORCH}
    score_direction: ScoreDirection = ScoreDirection.LOWER
    evaluation_category: ClassVar[EvaluationCategory] = EvaluationCategory.FAITHFULNESS

    def __init__(
        self,
        order: Literal["morf", "lerf"] = "morf",
        percentages: Sequence[float] | None = None,
        noise: float = 0.01,
        abs: bool = False,
        normalise: bool = False,
        normalise_func: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        normalise_func_kwargs: dict[str, Any] | None = None,
        return_aggregate: bool = False,
        aggregate_func: Callable[..., Any] | None = None,
        default_plot_func: Callable[..., Any] | None = None,
        disable_warnings: bool = False,
        display_progressbar: bool = False,
        seed: int = 0,
        explain_batch_size: int | None = None,
        n_jobs: int = 1,
        **kwargs: Any,
    ) -> None:
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
            seed=seed,
            explain_batch_size=explain_batch_size,
            **kwargs,
        )
        if order not in ("morf", "lerf"):
            raise ValueError(f'order must be "morf" or "lerf", got {order!r}')
        values = list(range(1, 100, 2)) if percentages is None else list(percentages)
        if not values or len(set(values)) < len(values) or not all(0 <= p < 100 for p in values):
            raise ValueError(f"percentages must be different numbers in [0, 100), got {values}")
        if not (np.isfinite(noise) and noise >= 0):
            raise ValueError(f"noise must be a finite number of at least 0, got {noise}")
        if n_jobs < 1:
            raise ValueError(f"n_jobs must be at least 1, got {n_jobs}")
        self.order = order
        self.percentages = values
        self.noise = noise
        self.n_jobs = n_jobs
        self.score_direction = ScoreDirection.LOWER if order == "morf" else ScoreDirection.HIGHER
        self.curves: NDArray[np.float64] = np.empty((0, len(values)))
        self.accuracy: dict[float, float] = {}

    def __call__(
        self,
        model: nn.Module,
        x_batch: ArrayLike | torch.Tensor,
        y_batch: ArrayLike | torch.Tensor,
        a_batch: ArrayLike | torch.Tensor | None = None,
        s_batch: ArrayLike | None = None,
        channel_first: bool | None = None,
        explain_func: Callable[..., Any] | None = None,
        explain_func_kwargs: Mapping[str, Any] | None = None,
        model_predict_kwargs: Mapping[str, Any] | None = None,
        softmax: bool | None = True,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[float]:
        """Score every sample.

        Parameters
        ----------
        model
            Classifier in evaluation mode, images (n, C, H, W) to logits (n, classes).
        x_batch
            Images (N, C, H, W), or (N, H, W, C) with ``channel_first=False``.
        y_batch
            Integer classes (N,) that count as correct.
        a_batch
            Attributions (N, C, H, W), (N, 1, H, W) or (N, H, W); computed by ``explain_func`` if
            not given.
        s_batch, softmax
            Unused; there because Quantus passes them.
        channel_first
            False for channel-last images; None is True.
        explain_func, explain_func_kwargs
            ``explain_func(model=, inputs=, targets=, **explain_func_kwargs)`` returns attributions.
        model_predict_kwargs
            Keyword arguments for the model.
        device
            Where the model lives; default: where its parameters are.
        batch_size
            Samples per model evaluation; does not change the result.
        **kwargs
            Refused, as in Quantus.

        Returns
        -------
        list of float
            One score in [0, 1] per sample: its mean over the percentages of "still predicted as
            ``y_batch``". NaN, with one warning that names the samples, where input, attribution or
            output is not finite. With ``return_aggregate``, one number.

        Raises
        ------
        ValueError
            If an argument is not as described above.
        """
        check_kwargs(kwargs)
        data = self._prepare(
            model,
            x_batch,
            y_batch,
            a_batch,
            channel_first=channel_first,
            explain_func=explain_func,
            explain_func_kwargs=explain_func_kwargs,
            model_predict_kwargs=model_predict_kwargs,
            device=device,
            batch_size=batch_size,
        )
        curves = np.full((len(data.x), len(self.percentages)), np.nan)
        with (
            ThreadPoolExecutor(self.n_jobs) as pool,
            tqdm(total=len(data.x), disable=not self.display_progressbar) as progress,
        ):
            for batch in data.batches():
                curves[batch] = self._curves(data, batch, pool)
                progress.update(batch.stop - batch.start)
        # A sample counts at all percentages or at none.
        curves[np.isnan(curves).any(axis=1)] = np.nan
        scored = ~np.isnan(curves[:, 0])
        self._warn("ROAD is NaN where input, attribution or output is not finite", ~scored)
        self.curves = curves
        means = curves[scored].mean(axis=0) if scored.any() else np.full(curves.shape[1], np.nan)
        self.accuracy = dict(zip(self.percentages, means.tolist(), strict=True))
        scores: NDArray[np.float64] = curves.mean(axis=1)
        columns = {f"correct@{p:g}": curves[:, k] for k, p in enumerate(self.percentages)}
        self.components = pd.DataFrame({f"road_{self.order}": scores} | columns)
        return self._finish(scores)

    def _curves(
        self, data: Evaluation, batch: slice, pool: ThreadPoolExecutor
    ) -> NDArray[np.float64]:
        """Correctness (n, P) of one batch; NaN where it cannot be told."""
        x, y = data.x[batch], data.y[batch]
        a = self._post_process(data.explain(x, y)) if data.a is None else data.a[batch]
        correct = np.full((len(x), len(self.percentages)), np.nan)
        good = np.flatnonzero(finite(x) & finite(a))
        if len(good) == 0:
            return correct
        ranking = pixel_ranking(a[good], self.order)
        for k, percentage in enumerate(self.percentages):

            def imputed(j: int, p: float = percentage) -> NDArray[Any]:
                index = batch.start + int(good[j])
                return noisy_linear_imputation(
                    x[good[j]], ranking[j], p, noise=self.noise, seed=self.seed, index=index
                )

            output = data.predict(np.stack(list(pool.map(imputed, range(len(good))))))
            hit = output.argmax(axis=1) == y[good]
            correct[good, k] = np.where(finite(output), hit, np.nan)
        return correct


def pixel_ranking(a: NDArray[Any], order: Literal["morf", "lerf"]) -> NDArray[np.int64]:
    """Flat pixel indices (n, H * W) of maps (n, C, H, W), first to be removed first."""
    relevance = a.astype(np.float64).sum(axis=1).reshape(len(a), -1)
    return np.argsort(-relevance if order == "morf" else relevance, axis=1, kind="stable")


def noisy_linear_imputation(
    image: NDArray[Any],
    ranking: NDArray[np.int64],
    percentage: float,
    *,
    noise: float,
    seed: int,
    index: int,
) -> NDArray[Any]:
    """Impute the first ``percentage`` % of the ranked pixels of an image (C, H, W), plus noise.

    The noise is a field over the whole image, drawn from (seed, index, percentage) alone, of which
    the removed pixels get theirs: a pixel's noise does not depend on the ranking.
    """
    removed = np.zeros(image[0].size, dtype=bool)
    removed[ranking[: int(removed.size * percentage / 100)]] = True
    removed = removed.reshape(image.shape[1:])
    imputed = linear_imputation(image, removed)
    if noise > 0:
        bits = int(np.float64(percentage).view(np.uint64))
        field = np.random.default_rng([seed, index, bits]).standard_normal(image.shape)
        imputed += noise * field * removed
    return imputed.astype(np.result_type(image.dtype, np.float32))
