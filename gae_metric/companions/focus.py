"""Focus (Arias-Duart et al. 2022) on plain images: it builds its mosaics itself."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from quantus.helpers.enums import EvaluationCategory, ScoreDirection
from torch import Tensor
from typing_extensions import Unpack

from abslrp.outputs import Output
from gae_metric.companions.companion_metric import CompanionMetric
from gae_metric.companions.focus_plan import FocusPlan
from gae_metric.functional.draws import check_size
from gae_metric.functional.mosaic import mosaics, quadrants
from gae_metric.functional.precision import sum_per_sample
from gae_metric.functional.scores import positive_map
from gae_metric.metrics.quantus_metric import QuantusOptions
from gae_metric.study.arguments import Data, check_larger
from gae_metric.study.conversion import sent
from gae_metric.study.explaining import Explainer

MosaicSize = Literal["input", "double"]


class Focus(CompanionMetric):
    """Share of positive relevance on the target class in a mosaic of four images (Focus).

    Each sample gives one mosaic: the sample itself, another sample of its class and two samples of
    other classes, in random quadrants. The score is the share of the positive relevance, explained
    for the sample's class, that lies in the two quadrants of that class (eq. 11): 0.5 is chance, 1
    is best. Classes are ``y_batch``.

    Unlike ``quantus.Focus``, which wants mosaics as ``x_batch`` and their layout as
    ``custom_batch``, this metric takes the same plain images as every other metric. On the same
    mosaics the scores are equal, except where a side of the mosaic is odd: there quantus counts the
    middle line for the wrong quadrants.

    Parameters
    ----------
    seed
        Non-negative seed of the mosaics. Which samples a sample's mosaic shows depends on the seed
        and their contents, not on their order.
    mosaic_size
        ``"input"`` (default): each image is halved with nearest sampling, so that the mosaic has
        the input's size and every model can take it. ``"double"``: images keep their size, as in
        the original paper; for models that take any input size.
    mosaics
        A plan to use instead of drawing one.
    explain_batch_size
        Mosaics that ``explain_func`` gets at a time; default ``batch_size``.
    output
        What selects the logits from what the model returns, as for :class:`gae_metric.GAE`.
    **kwargs
        Options of Quantus: ``abs``, ``normalise``, ``normalise_func``, ``normalise_func_kwargs``,
        ``return_aggregate``, ``aggregate_func``, ``default_plot_func``, ``disable_warnings`` and
        ``display_progressbar``, all off by default. As in Quantus, except that ``normalise`` works
        on each map alone. Any other is refused.

    Attributes
    ----------
    components : pandas.DataFrame
        One row per sample of the last call, column ``focus``: in [0, 1]; 0 where no relevance is
        positive (one warning with the count); NaN where a feature or attribution is not finite or
        where the class has no second member (one warning each, with the samples).
    plan : FocusPlan or None
        The mosaics of the last call.

    Raises
    ------
    ValueError
        If an argument is not as described; on a call, if all samples are of one class, or a plan
        is of other classes.

    Notes
    -----
    Source: Arias-Duart, Pares, Garcia-Gasulla, Gimenez-Abalos, "Focus! Rating XAI Methods and
    Finding Biases", FUZZ-IEEE 2022.

    Cost: one explanation of a mosaic per sample.

    Examples
    --------
    >>> images = np.repeat(np.array([1.0, 1.0, 0.0, 0.0], dtype=np.float32), 192)
    >>> images = images.reshape(4, 3, 8, 8)
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)).eval()
    >>> def bright_is_class_1(model, inputs, targets, **kwargs):
    ...     return np.where(targets[:, None, None, None] == 1, inputs, 1 - inputs)
    >>> Focus()(model, images, np.array([1, 1, 0, 0]), explain_func=bright_is_class_1)
    [1.0, 1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "Focus"
    score_direction: ClassVar[ScoreDirection] = ScoreDirection.HIGHER
    evaluation_category: ClassVar[EvaluationCategory] = EvaluationCategory.LOCALISATION
    needs_originals: ClassVar[bool] = False
    results: ClassVar[Mapping[str, Any]] = {"plan": None}
    mosaic_size: MosaicSize
    mosaics: FocusPlan | None

    def __init__(
        self,
        seed: int = 0,
        mosaic_size: MosaicSize = "input",
        mosaics: FocusPlan | None = None,
        explain_batch_size: int | None = None,
        output: Output = None,
        **kwargs: Unpack[QuantusOptions],
    ) -> None:
        super().__init__(locals())

    def _check(self) -> None:
        super()._check()
        if self.mosaic_size not in ("input", "double"):
            raise ValueError(f'mosaic_size: expected "input" or "double", got {self.mosaic_size!r}')
        if not isinstance(self.mosaics, (FocusPlan, NoneType)):
            got = type(self.mosaics).__name__
            raise ValueError(f"mosaics: expected a FocusPlan or None, got {got}")

    def _check_applicability(self, data: Data) -> None:
        super()._check_applicability(data)
        if self.mosaic_size == "double":
            check_larger('mosaic_size "double"', data)

    def _score(self, data: Data, explainer: Explainer, progress: Any) -> dict[str, Any]:
        assert data.y is not None
        targets = data.y.values.numpy()
        plan = self.mosaics or FocusPlan.draw(data.contents, targets, self.seed, data.finite)
        check_size(plan, len(data))
        drawn = (plan.indices >= 0).all(axis=1)
        others = plan.target & (targets[plan.indices] != targets[:, None])
        for i in np.flatnonzero(drawn & others.any(axis=1))[:1]:
            shown = targets[plan.indices[i][plan.target[i]]].tolist()
            raise ValueError(
                f"mosaics: expected samples of its class {targets[i]} in the target quadrants of "
                f"sample {i}, got classes {shown}; draw the plan for these y_batch, or put it in "
                "the order of the samples with its permute()"
            )
        rows = np.flatnonzero(drawn & data.finite[plan.indices].all(axis=1))
        progress.update(len(data) - len(rows))
        scores = np.full(len(data), np.nan)
        empty = 0

        def maps(some: NDArray[np.int64]) -> Tensor:
            needed, places = np.unique(plan.indices[some], return_inverse=True)
            x = focus_mosaics(data.inputs(needed), places.reshape(-1, 4), self.mosaic_size)
            return explainer(x, sent(targets[some], data.device))

        for part, a in self._chunks(data).each(rows, maps):
            positive = positive_map(a)
            empty += int((positive.flatten(1).amax(1) == 0).sum())
            scores[part] = focus_scores(positive, plan.target[part]).cpu().numpy()
            progress.update(len(a))
        lonely = data.finite & ~drawn
        bad = np.isnan(scores) & ~lonely
        told = "NaN where no other (finite) sample is of the same class; take more samples"
        self._warn(data, told, lonely)
        self._warn(data, "NaN where features or attributions are not finite", bad)
        shown = data.contents[plan.indices]
        others = (shown[:, :, None] == shown[:, None]) & plan.target[:, :, None]
        twice = (others & ~plan.target[:, None]).any(axis=(1, 2))
        self._warn(data, "an image is shown as of the sample's class and of others", drawn & twice)
        if empty:
            data.warn(f"Focus: {empty} maps have no positive value; their score is 0")
        return {"components": pd.DataFrame({"focus": scores}), "plan": plan}


def focus_mosaics(x: Tensor, indices: ArrayLike, mosaic_size: MosaicSize = "input") -> Tensor:
    """Put four images together.

    Parameters
    ----------
    x
        (N, C, H, W) images.
    indices
        (M, 4) rows of indices into ``x``: top left, top right, bottom left, bottom right.
    mosaic_size
        ``"input"``: each image is halved (see :func:`gae_metric.functional.mosaics`).
        ``"double"``: images keep their size.

    Returns
    -------
    Tensor
        (M, C, H, W) or (M, C, 2H, 2W).

    Examples
    --------
    >>> x = torch.arange(4.0).reshape(4, 1, 1, 1)
    >>> focus_mosaics(x, [[3, 2, 1, 0]], "double").tolist()
    [[[[3.0, 2.0], [1.0, 0.0]]]]
    """
    return mosaics(x, np.array(indices), "nearest" if mosaic_size == "input" else "none")


def focus_scores(a: Tensor, target: ArrayLike) -> Tensor:
    """Share of positive relevance in the target quadrants of mosaics (eq. 11).

    Parameters
    ----------
    a
        (M, C, H, W) maps of mosaics, C any number: results of
        :func:`gae_metric.functional.positive_map`.
    target
        (M, 4) booleans: the target quadrants. The top and left quadrants hold the middle line of an
        odd side.

    Returns
    -------
    Tensor
        (M,), in [0, 1]: 0 where nothing is positive, NaN where the map is.

    Examples
    --------
    >>> a = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]]])
    >>> focus_scores(a, [[True, True, False, False]])
    tensor([0.7500], dtype=torch.float64)
    """
    places = quadrants(a.shape[2:])
    parts = torch.stack([sum_per_sample(a[:, :, rows, cols]) for rows, cols in places], dim=1)
    total = parts.sum(1)
    wanted = (parts * sent(np.array(target), a.device)).sum(1)
    return wanted / torch.where(total == 0, torch.ones_like(total), total)
