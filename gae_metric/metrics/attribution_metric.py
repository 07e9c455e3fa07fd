"""What GAE and its parts share: a study, an explainer and a scorer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from quantus.helpers.enums import DataType, ScoreDirection

from gae_metric.metrics.data_warnings import data_oddities, oddities
from gae_metric.metrics.quantus_metric import Call, QuantusMetric
from gae_metric.study.arguments import Data
from gae_metric.study.explaining import explain_and_score
from gae_metric.study.mosaicking import Mosaicking, as_plans
from gae_metric.study.study import Study
from gae_metric.study.supplied_maps import maps_of_classes
from gae_metric.study.trajectories import Masking

Targets = Literal["y_batch", "predicted"]


class AttributionMetric(QuantusMetric):
    """Base of GAE and of its parts.

    A subclass says which columns of ``components`` it gives and which inputs are explained.
    """

    data_applicability: ClassVar[frozenset[DataType]] = frozenset(
        {DataType.IMAGE, DataType.TIMESERIES}
    )
    score_direction: ClassVar[ScoreDirection] = ScoreDirection.HIGHER
    results: ClassVar[frozenset[str]] = frozenset({"curves", "mosaic_indices", "mosaic_positive"})

    #: Scores in ``components``; the last one is that of the metric.
    columns: ClassVar[tuple[str, ...]]
    #: Whether features are masked, and whether mosaics are made.
    masks: ClassVar[bool] = True
    shows: ClassVar[bool] = True

    targets: Targets
    #: Curves along the masking trajectory of the last call, (N, T) each, rows as in
    #: ``components``: ``output_lerf``, ``output_morf`` (o_t), ``output_difference`` (d^o),
    #: ``similarity_lerf``, ``similarity_morf`` (eq. 13) and ``similarity_difference`` (d^A).
    curves: dict[str, NDArray[Any]]
    #: Mosaics of the last call: the data-set indices in their quadrants, (N, K, 4), and the
    #: quadrants of the positives, (N, K).
    mosaic_indices: NDArray[np.int64] | None
    mosaic_positive: NDArray[np.int64] | None

    def __init__(self, given: Mapping[str, Any]) -> None:
        targets = given["targets"]
        if targets not in get_args(Targets):
            raise ValueError(f'targets: expected "y_batch" or "predicted", got {targets!r}')
        super().__init__(given)
        self._masking()
        self._mosaicking()

    def _evaluate(self, call: Call) -> dict[str, Any]:
        quiet = self._disable_warnings
        masking, mosaicking = self._masking(), self._mosaicking()
        study = Study(call.data, call.guard, masking, mosaicking, self._predicted, quiet)
        given = None
        if self.needs_originals:
            given = maps_of_classes(self.name, call.given, study, alone=call.alone, quiet=quiet)
        scorer = explain_and_score(
            study,
            call.explainer,
            given,
            originals=self.needs_originals,
            states=self.makes_inputs,
            chunk=self.explain_batch_size or call.data.batch_size,
            quiet=quiet,
            progress=self.name if self.display_progressbar else None,
        )
        components = scorer.components(self.columns)
        components.insert(0, "predicted", study.predicted)
        components.insert(1, "probability", study.probability)
        results: dict[str, Any] = {"components": components}
        if study.masking is not None:
            results["curves"] = scorer.curves()
        if study.layout is not None:
            results["mosaic_indices"] = study.layout.indices
            results["mosaic_positive"] = study.layout.positive
        if not quiet:
            odd = (
                *data_oddities(self.name, study),
                *oddities(self.name, study, scorer, components),
            )
            for oddity in odd:
                # Where the metric was called: above this and __call__.
                warnings.warn(oddity, RuntimeWarning, stacklevel=3)
        return results

    @property
    def _predicted(self) -> bool:
        return self.targets == "predicted"

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
        """Refuse data that the metric, or its mosaics, cannot be computed on."""
        super()._check_applicability(data)
        # One output has a trajectory, but no other class.
        data.model.single = not self.shows and (data.y is None or not data.y.values.any())
        self._masking()
        if mosaicking := self._mosaicking():
            mosaicking.check(data)

    def _forget(self) -> None:
        columns = ["predicted", "probability", *self.columns]
        self.components = pd.DataFrame(columns=columns, dtype=float)
        self.curves = {}
        self.mosaic_indices = self.mosaic_positive = None
