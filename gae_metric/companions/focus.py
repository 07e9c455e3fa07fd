"""Focus (Arias-Duart et al. 2022) on plain images: it builds its mosaics itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from quantus.helpers import plotting
from quantus.helpers.enums import DataType, EvaluationCategory, ModelType, ScoreDirection
from torch import nn
from tqdm.auto import tqdm

from gae_metric.companions._shell import ImageMetric, check_kwargs, finite
from gae_metric.companions.mosaics import FocusPlan

__all__ = ["Focus", "focus_mosaics", "focus_scores"]


class Focus(ImageMetric):
    """Share of positive relevance on the target class in a mosaic of four images (Focus).

    Each sample gives one mosaic: the sample itself, another sample of its class and two samples of
    other classes, in random quadrants. The score is the share of the positive relevance, explained
    for the sample's class, that lies in the two quadrants of that class (eq. 11): 0.5 is chance, 1
    is best. Classes are ``y_batch``.

    Source: Arias-Duart, Pares, Garcia-Gasulla, Gimenez-Abalos, "Focus! Rating XAI Methods and
    Finding Biases", FUZZ-IEEE 2022.

    Unlike ``quantus.Focus``, which wants mosaics as ``x_batch`` and their layout as
    ``custom_batch``, this metric takes the same plain images as every other metric. On the same
    mosaics the scores are equal, save that quantus splits mosaics of an odd side one line off.

    Parameters
    ----------
    seed
        Non-negative seed of the mosaics, which are drawn over the whole data set before batching.
    mosaic_size
        "input" (default): each image is halved with nearest sampling, so that the mosaic has the
        input's size and every model can take it. "double": images keep their size, as in the
        original paper; for models that take any input size.
    mosaics
        A plan to use instead of drawing one, say to permute samples or to repeat a study.
    abs, normalise, normalise_func, normalise_func_kwargs, return_aggregate, aggregate_func
        As in Quantus; normalisation is per sample, off by default, and does not matter to a share.
    default_plot_func, disable_warnings, display_progressbar
        As in Quantus; the default plot is that of ``quantus.Focus``.
    explain_batch_size
        Mosaics per call of ``explain_func``; default ``batch_size``.
    **kwargs
        Refused, as in Quantus.

    Attributes
    ----------
    components : pandas.DataFrame
        One row per sample of the last call, column ``focus``.
    plan : FocusPlan or None
        The mosaics of the last call.

    Raises
    ------
    ValueError
        If an argument is not as described above.

    Notes
    -----
    Cost: one explanation of a mosaic per sample, in chunks of ``explain_batch_size``.

    Examples
    --------
    >>> images = np.repeat(np.array([1.0, 1.0, 0.0, 0.0], dtype=np.float32), 192)
    >>> images = images.reshape(4, 3, 8, 8)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    >>> def bright_is_class_1(model, inputs, targets, **kwargs):
    ...     return inputs if targets[0] == 1 else 1 - inputs
    >>> focus = Focus(explain_batch_size=1)
    >>> focus(model, images, np.array([1, 1, 0, 0]), explain_func=bright_is_class_1)
    [1.0, 1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "Focus"
    data_applicability: ClassVar[set[DataType]] = {DataType.IMAGE}
    model_applicability: ClassVar[set[ModelType]] = {ModelType.TORCH}
    score_direction: ClassVar[ScoreDirection] = ScoreDirection.HIGHER
    evaluation_category: ClassVar[EvaluationCategory] = EvaluationCategory.LOCALISATION

    def __init__(
        self,
        seed: int = 0,
        mosaic_size: Literal["input", "double"] = "input",
        mosaics: FocusPlan | None = None,
        abs: bool = False,
        normalise: bool = False,
        normalise_func: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        normalise_func_kwargs: dict[str, Any] | None = None,
        return_aggregate: bool = False,
        aggregate_func: Callable[..., Any] | None = None,
        default_plot_func: Callable[..., Any] | None = None,
        disable_warnings: bool = False,
        display_progressbar: bool = False,
        explain_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            abs=abs,
            normalise=normalise,
            normalise_func=normalise_func,
            normalise_func_kwargs=normalise_func_kwargs,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=default_plot_func or plotting.plot_focus,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
            seed=seed,
            explain_batch_size=explain_batch_size,
            **kwargs,
        )
        if mosaic_size not in ("input", "double"):
            raise ValueError(f'mosaic_size must be "input" or "double", got {mosaic_size!r}')
        if mosaics is not None and not isinstance(mosaics, FocusPlan):
            raise ValueError(f"mosaics must be a FocusPlan or None, got {type(mosaics).__name__}")
        self.mosaic_size = mosaic_size
        self.mosaics = mosaics
        self.plan: FocusPlan | None = None

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
        softmax: bool | None = False,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[float]:
        """Score every sample.

        Parameters
        ----------
        model
            Model in evaluation mode; only ``explain_func`` uses it.
        x_batch
            Images (N, C, H, W), or (N, H, W, C) with ``channel_first=False``.
        y_batch
            Integer classes (N,).
        a_batch, s_batch, model_predict_kwargs, softmax
            Unused; there because Quantus passes them. Maps of the images say nothing of mosaics.
        channel_first
            False for channel-last images; None is True.
        explain_func, explain_func_kwargs
            ``explain_func(model=, inputs=, targets=, **explain_func_kwargs)`` returns attributions
            of the mosaics, (n, C, H, W), (n, 1, H, W) or (n, H, W). Required.
        device
            Passed to ``explain_func``.
        batch_size
            Mosaics built at once; does not change the result.
        **kwargs
            Refused, as in Quantus.

        Returns
        -------
        list of float
            One score in [0, 1] per sample; 0 where no relevance is positive (one warning with the
            count); NaN, with one warning that names the samples, where the class has no second
            member or where input or attribution is not finite. With ``return_aggregate``, one
            number.

        Raises
        ------
        ValueError
            If an argument is not as described above, or all samples are of one class.
        """
        check_kwargs(kwargs)
        data = self._prepare(
            model,
            x_batch,
            y_batch,
            None,
            channel_first=channel_first,
            explain_func=explain_func,
            explain_func_kwargs=explain_func_kwargs,
            model_predict_kwargs=model_predict_kwargs,
            device=device,
            batch_size=batch_size,
        )
        good = finite(data.x)
        plan = self.mosaics or FocusPlan.draw(data.y, self.seed, usable=good)
        if len(plan) != len(data.x):
            raise ValueError(f"mosaics must hold {len(data.x)} rows, got {len(plan)}")
        drawn = plan.indices[:, 0] >= 0
        ready = drawn & good[plan.indices].all(axis=1)
        scores = np.full(len(data.x), np.nan)
        empty = 0
        with tqdm(total=len(data.x), disable=not self.display_progressbar) as progress:
            for batch in data.batches():
                rows = batch.start + np.flatnonzero(ready[batch])
                if len(rows):
                    mosaics = focus_mosaics(data.x, plan.indices[rows], self.mosaic_size)
                    a = self._post_process(data.explain(mosaics, data.y[rows]))
                    scores[rows], zero = focus_scores(a, plan.target[rows])
                    empty += int(zero.sum())
                progress.update(batch.stop - batch.start)
        self._warn("Focus is NaN where the class has no second member in y_batch", ~drawn & good)
        self._warn(
            "Focus is NaN where input or attribution is not finite",
            np.isnan(scores) & (drawn | ~good),
        )
        self._warn_count("Focus is 0 where no relevance is positive", empty)
        self.plan = plan
        self.components = pd.DataFrame({"focus": scores})
        return self._finish(scores)


def focus_mosaics(
    x: NDArray[Any], indices: NDArray[np.int64], mosaic_size: Literal["input", "double"]
) -> NDArray[Any]:
    """Build mosaics of images.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    indices
        Rows of four indices into ``x``, row-major quadrants; (n, 4).
    mosaic_size
        "input": (n, C, H, W), images halved with nearest sampling, the top and left quadrants one
        line larger where a side is odd. "double": (n, C, 2H, 2W), images as they are.

    Returns
    -------
    ndarray
        The mosaics, of ``x``'s dtype.

    Examples
    --------
    >>> x = np.arange(4.0).reshape(4, 1, 1, 1)
    >>> focus_mosaics(x, np.array([[3, 2, 1, 0]]), "double").tolist()
    [[[[3.0, 2.0], [1.0, 0.0]]]]
    """
    height, width = x.shape[2:]
    double = mosaic_size == "double"
    rows = (height, height) if double else (-(-height // 2), height // 2)
    columns = (width, width) if double else (-(-width // 2), width // 2)

    def quadrant(k: int) -> NDArray[Any]:
        h, w = rows[k // 2], columns[k % 2]
        r, c = np.arange(h) * height // max(h, 1), np.arange(w) * width // max(w, 1)
        return x[indices[:, k]][:, :, r[:, None], c]

    return np.block([[quadrant(0), quadrant(1)], [quadrant(2), quadrant(3)]])


def focus_scores(
    a: NDArray[Any], target: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Share of positive relevance in the target quadrants of mosaics (eq. 11).

    Parameters
    ----------
    a
        Attributions of mosaics, (n, C, H, W) with any number of channels.
    target
        Booleans (n, 4): the target quadrants, row-major; the top and left quadrants hold the middle
        line of an odd side.

    Returns
    -------
    scores : ndarray
        (n,), in [0, 1]; NaN where the map is not finite, 0 where nothing is positive.
    empty : ndarray
        Booleans (n,): finite maps where nothing is positive.

    Examples
    --------
    >>> a = np.array([[[[3.0, -9.0], [0.0, 1.0]]]])
    >>> focus_scores(a, np.array([[True, True, False, False]]))[0]
    array([0.75])
    """
    good = finite(a)
    positive = np.where(good[:, None, None, None], np.maximum(a, 0), 0).astype(np.float64)
    # The largest entry is scaled to 1 so that sums neither overflow nor vanish.
    largest = positive.max(axis=(1, 2, 3))
    empty = good & (largest == 0)
    positive /= np.where(largest > 0, largest, 1)[:, None, None, None]
    h, w = -(-a.shape[2] // 2), -(-a.shape[3] // 2)
    halves = (positive[:, :, :h], positive[:, :, h:])
    quadrants = np.stack(
        [q.sum(axis=(1, 2, 3)) for half in halves for q in (half[..., :w], half[..., w:])], axis=1
    )
    total = quadrants.sum(axis=1)
    scores = (quadrants * target).sum(axis=1) / np.where(total > 0, total, 1)
    return np.where(good, scores, np.nan), empty
