"""What GAE's metrics share: Quantus's interface around a study, an explainer and a scorer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from quantus.helpers.enums import DataType, EvaluationCategory, ModelType, ScoreDirection
from quantus.helpers.warn import check_kwargs
from quantus.metrics.base import Metric
from torch import Tensor, nn

from gae_metric.metrics.data_warnings import warn_of
from gae_metric.metrics.plot import plot_scores
from gae_metric.study.arguments import Data, check_data, check_maps
from gae_metric.study.devices import on_device
from gae_metric.study.explain_and_score import ExplainRequest, explain_and_score
from gae_metric.study.logits import Output
from gae_metric.study.mosaicking import Mosaicking, as_plans
from gae_metric.study.scoring import Scorer
from gae_metric.study.study import Study
from gae_metric.study.supplied_maps import (
    check_given_maps,
    explain_options,
    maps_of_classes,
    normalised,
)
from gae_metric.study.trajectories import Masking

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Targets = Literal["y_batch", "predicted"]


class AttributionMetric(Metric):  # type: ignore[misc]
    """Base of GAE and of its parts.

    A subclass says which columns of ``components`` it gives and which inputs are explained.
    """

    model_applicability: ClassVar[set[ModelType]] = {ModelType.TORCH}
    score_direction: ClassVar[ScoreDirection] = ScoreDirection.HIGHER

    #: Columns of ``components``; the last one is the score.
    columns: ClassVar[tuple[str, ...]]
    #: Whether features are masked, and whether mosaics are made.
    masks: ClassVar[bool]
    shows: ClassVar[bool]
    #: Whether maps of the inputs themselves, and of their perturbed states, are needed.
    needs_originals: ClassVar[bool]
    needs_states: ClassVar[bool]

    #: Scores of the last call, one row per sample, indexed by the sample's place in ``x_batch``.
    components: pd.DataFrame
    #: Curves along the masking trajectory of the last call, (N, T) each, rows as in
    #: ``components``: ``output_lerf``, ``output_morf`` (o_t), ``output_difference`` (d^o),
    #: ``similarity_lerf``, ``similarity_morf`` (eq. 13) and ``similarity_difference`` (d^A).
    curves: dict[str, NDArray[Any]]
    #: Mosaics of the last call: the data-set indices in their quadrants, (N, K, 4), and the
    #: quadrants of the positives, (N, K).
    mosaic_indices: NDArray[np.int64] | None
    mosaic_positive: NDArray[np.int64] | None

    def __init__(
        self,
        *,
        options: Mapping[str, Any],
        explain_batch_size: int | None,
        targets: Targets,
        output: Output | None,
        abs: bool,
        normalise: bool,
        normalise_func: Callable[[NDArray[Any]], NDArray[Any]] | None,
        normalise_func_kwargs: dict[str, Any] | None,
        return_aggregate: bool,
        aggregate_func: Callable[..., Any] | None,
        default_plot_func: Callable[..., Any] | None,
        disable_warnings: bool,
        display_progressbar: bool,
        **kwargs: Any,
    ) -> None:
        size = explain_batch_size
        whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if size is not None and (not whole or size < 1):
            raise ValueError(
                f"explain_batch_size: expected a positive integer or None, got {size!r}"
            )
        if targets not in get_args(Targets):
            raise ValueError(f'targets: expected "y_batch" or "predicted", got {targets!r}')
        if output is not None and not (callable(output) or isinstance(output, (str, int))):
            raise ValueError(
                "output: expected a function, a key, a position or None, got "
                f"{type(output).__name__}"
            )
        super().__init__(
            abs=abs,
            normalise=normalise,
            normalise_func=normalise_func,
            normalise_func_kwargs=normalise_func_kwargs,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=default_plot_func or self._plot,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
            **kwargs,
        )
        # Plain attributes, as in Quantus: they can be read, and set between calls.
        for option, value in options.items():
            setattr(self, option, value)
        self._masking()
        self._mosaicking()
        self.explain_batch_size = size
        self.targets = targets
        self.output = output
        self._forget()

    def __call__(
        self,
        model: nn.Module,
        x_batch: ArrayLike | Tensor,
        y_batch: ArrayLike | Tensor | None,
        a_batch: ArrayLike | Tensor | None = None,
        s_batch: ArrayLike | None = None,
        channel_first: bool | None = None,
        explain_func: Callable[..., Any] | None = None,
        explain_func_kwargs: Mapping[str, Any] | None = None,
        model_predict_kwargs: Mapping[str, Any] | None = None,
        softmax: bool | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[float]:
        """Score every sample.

        Parameters
        ----------
        model
            PyTorch model in evaluation mode. It is used where it is and left as it was.
        x_batch
            (N, C, H, W) images, (N, C, L) time series, or (N, F) tabular data where the metric
            applies to them. Converted to the floating-point type of the model's parameters.
        y_batch
            (N,) integers: the classes that are explained. May be None with
            ``targets="predicted"``.
        a_batch
            Maps of ``x_batch`` for ``y_batch``, if there are any; those of ``explain_func`` are
            computed otherwise, or where other classes are explained. Shaped like the results of
            ``explain_func``.
        s_batch
            Not used.
        channel_first
            False for (N, ..., C) arrays, which are turned; ``explain_func`` and the model always
            get channels first. Default True.
        explain_func, explain_func_kwargs
            ``explain_func(model=, inputs=, targets=, **explain_func_kwargs)`` returns maps
            (n, C, ...), (n, 1, ...) or (n, ...) for inputs (n, C, ...), each sample's on its own.
            It gets and returns arrays, or tensors on the model's device if it is marked by
            :func:`gae_metric.tensor_explainer`.
        model_predict_kwargs
            Keyword arguments of the model's own calls.
        softmax
            Not used: scores are defined on logits. True gives a warning.
        device
            Where to move the model for the time of the call; by default it stays where it is. If
            given, ``explain_func`` gets it too, as in Quantus.
        batch_size
            Rows that the model evaluates at a time while masking, and inputs that
            ``explain_func`` gets at a time unless ``explain_batch_size`` says otherwise. Does not
            change scores.
        **kwargs
            Refused, as in Quantus.

        Returns
        -------
        list of float
            One score per sample, NaN for a sample with a feature, output or attribution that is
            not finite (one warning names them). One number with ``return_aggregate``.

        Raises
        ------
        ValueError
            If an argument is not as described, or ``explain_func`` returns something else. All
            that can be told without evaluating the model is checked first.
        """
        check_kwargs(kwargs)
        data = check_data(
            model,
            x_batch,
            y_batch,
            channel_first=channel_first,
            device=device,
            batch_size=batch_size,
            output=self.output,
            model_predict_kwargs=model_predict_kwargs,
            predicted=self.targets == "predicted",
        )
        self._check_applicability(data)
        given = None if a_batch is None else check_maps(a_batch, data, channel_first)
        options = explain_options(explain_func, explain_func_kwargs, data, device)
        self._forget()
        self.explain_func, self.explain_func_kwargs = explain_func, options
        masking, mosaicking = self._masking(), self._mosaicking()
        if mosaicking is not None:
            mosaicking.check(data)
        with torch.inference_mode(False), on_device(model, data.device):
            given, alone = check_given_maps(
                self.name,
                explain_func,
                options,
                data,
                given,
                enough=not (self.needs_states or self.shows),
                quiet=self._disable_warnings or not self.needs_originals,
            )
            study = Study(
                data,
                masking,
                mosaicking,
                predicted=self.targets == "predicted",
                quiet=self._disable_warnings,
            )
            if self.needs_originals:
                given = maps_of_classes(
                    self.name, given, study, alone=alone, quiet=self._disable_warnings
                )
            scorer = explain_and_score(
                study,
                ExplainRequest(
                    explain_func,
                    options,
                    given if self.needs_originals else None,
                    originals=self.needs_originals,
                    states=self.needs_states,
                    chunk=self.explain_batch_size or data.batch_size,
                    post_process=self._post_process,
                    quiet=self._disable_warnings,
                    progress=self.name if self.display_progressbar else None,
                ),
            )
        self._keep(study, scorer)
        if not self._disable_warnings:
            scores = self.components[self.columns[-1]].to_numpy()
            warn_of(self.name, study, scorer, scores, "lc_robustness" in self.columns)
            if softmax:
                warnings.warn(
                    f"softmax: True has no effect, as {self.name} is defined on logits",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return self._finish()

    def _post_process(self, maps: Tensor) -> Tensor:
        """Apply Quantus's ``normalise`` and ``abs``, each map on its own."""
        if self.normalise and self.normalise_func is not None:
            maps = normalised(maps, self.normalise_func)
        return maps.abs() if self.abs else maps

    def _masking(self) -> Masking | None:
        if not self.masks:
            return None
        return Masking(self.steps, self.schedule, self.mask_value)

    def _mosaicking(self) -> Mosaicking | None:
        if not self.shows:
            return None
        return Mosaicking(
            self.seed, as_plans(self.mosaics), self.n_mosaics, self.interpolation, self.protocol
        )

    def _check_applicability(self, data: Data) -> None:
        kind = {2: DataType.TABULAR, 3: DataType.TIMESERIES, 4: DataType.IMAGE}[data.x.ndim]
        if kind not in self.data_applicability:
            expected = ", ".join(sorted(each.value for each in self.data_applicability))
            raise ValueError(
                f"x_batch: {self.name} applies to {expected} data, got {kind.value} data of shape "
                f"{tuple(data.x.shape)}"
            )

    def _forget(self) -> None:
        self.components = pd.DataFrame(columns=list(self.columns), dtype=float)
        self.curves = {}
        self.mosaic_indices = self.mosaic_positive = None

    def _keep(self, study: Study, scorer: Scorer) -> None:
        self.components = scorer.components(self.columns)
        self.curves = scorer.curves() if study.masking is not None else {}
        if study.layout is not None:
            self.mosaic_indices = study.layout.indices
            self.mosaic_positive = study.layout.positive

    def _finish(self) -> list[float]:
        """Keep the scores where Quantus's metrics keep them and return them."""
        self.evaluation_scores = self.components[self.columns[-1]].tolist()
        if self.return_aggregate:
            self.evaluation_scores = [self.aggregate_func(self.evaluation_scores)]
        self.all_evaluation_scores.extend(self.evaluation_scores)
        scores: list[float] = self.evaluation_scores
        return scores

    @property
    def get_params(self) -> dict[str, Any]:
        """Parameters of the metric, by name."""
        results = {"components", "curves", "mosaic_indices", "mosaic_positive"}
        params: dict[str, Any] = super().get_params
        return {name: value for name, value in params.items() if name not in results}

    def interpret_scores(self) -> None:
        """Print how scores are to be read."""
        print((type(self).__doc__ or "").partition("Parameters\n")[0].strip())

    def _plot(self, *args: Any, **kwargs: Any) -> None:
        """Draw ``results`` as :func:`plot_scores` does, or else the last call's own figure."""
        if args or "results" in kwargs:
            plot_scores(*args, **kwargs)
        else:
            self._plot_last(**kwargs)

    def _plot_last(self, **kwargs: Any) -> None:
        plot_scores(self.components, **kwargs)


IMAGES_AND_SERIES = frozenset({DataType.IMAGE, DataType.TIMESERIES})
ALL_DATA = IMAGES_AND_SERIES | {DataType.TABULAR}

__all__ = ["ALL_DATA", "IMAGES_AND_SERIES", "AttributionMetric", "EvaluationCategory", "Targets"]
