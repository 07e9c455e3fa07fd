"""What GAE and its parts share: a study, an explainer, a scorer, and what is odd about the data."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from quantus.helpers.enums import DataType, ScoreDirection

from gae_metric.metrics.quantus_metric import QuantusMetric
from gae_metric.study.arguments import Data
from gae_metric.study.explaining import Explainer, explain_and_score
from gae_metric.study.items import NONE
from gae_metric.study.mosaicking import Mosaicking, as_plans
from gae_metric.study.scoring import Scorer
from gae_metric.study.study import Study
from gae_metric.study.supplied_maps import maps_of_classes
from gae_metric.study.trajectories import Masking

Targets = Literal["y_batch", "predicted"]


class AttributionMetric(QuantusMetric):
    """Base of GAE and of its parts.

    A subclass says which columns of ``components`` it gives and which inputs are explained.
    """

    data_applicability: ClassVar[set[DataType]] = {DataType.IMAGE, DataType.TIMESERIES}
    score_direction: ClassVar[ScoreDirection] = ScoreDirection.HIGHER
    results: ClassVar[Any] = {"curves": {}, "mosaic_indices": None, "mosaic_positive": None}

    #: Scores in ``components``; the last one is that of the metric.
    columns: ClassVar[tuple[str, ...]]
    #: Whether features are masked; mosaics are made where other classes count.
    masks: ClassVar[bool] = True

    #: Curves along the masking trajectory of the last call, (N, T) each, rows as in
    #: ``components``: ``output_lerf``, ``output_morf`` (o_t), ``output_difference`` (d^o),
    #: ``similarity_lerf``, ``similarity_morf`` (eq. 13) and ``similarity_difference`` (d^A).
    curves: dict[str, NDArray[Any]]
    #: Mosaics of the last call: the data-set indices in their quadrants, (N, K, 4), and the
    #: quadrants of the positives, (N, K).
    mosaic_indices: NDArray[np.int64] | None
    mosaic_positive: NDArray[np.int64] | None

    def _check(self) -> None:
        super()._check()
        if self.targets not in get_args(Targets):
            raise ValueError(f'targets: expected "y_batch" or "predicted", got {self.targets!r}')
        self._masking()
        self._mosaicking()

    def _evaluate(self, data: Data, explainer: Explainer) -> dict[str, Any]:
        masking, mosaicking = self._masking(), self._mosaicking()
        study = Study(data, explainer.guard, masking, mosaicking, self.targets == "predicted")
        given = maps_of_classes(self.name, explainer, study) if self.needs_originals else None
        # Given maps are scored along with what is made of their samples, if anything is.
        originals = self.needs_originals and (given is None or not self.makes_inputs)
        items = study.items(originals, self.makes_inputs)
        bar = self.name if self.display_progressbar else None
        scorer = explain_and_score(study, explainer, given, items, self._chunks(data), bar)
        components = scorer.components(self.columns)
        components.insert(0, "predicted", study.predicted)
        components.insert(1, "probability", study.probability)
        results: dict[str, Any] = {"components": components}
        if study.masking is not None:
            results["curves"] = scorer.curves()
        if study.layout is not None:
            results["mosaic_indices"] = study.layout.indices
            results["mosaic_positive"] = study.layout.positive
        odd = oddities(self.name, study, scorer, components)
        for oddity in chain(data_oddities(self.name, study), odd):
            data.warn(oddity)
        return results

    def _masking(self) -> Masking | None:
        if not self.masks:
            return None
        return Masking(self.steps, self.schedule, self.mask_value, self.features)

    def _mosaicking(self) -> Mosaicking | None:
        if not self.contrasts:
            return None
        plans = as_plans(self.mosaics)
        return Mosaicking(self.seed, plans, self.n_mosaics, self.interpolation, self.protocol)

    def _check_applicability(self, data: Data) -> None:
        """Refuse data that the metric, or its mosaics, cannot be computed on."""
        super()._check_applicability(data)
        if mosaicking := self._mosaicking():
            mosaicking.check(data)

    def _forget(self) -> None:
        super()._forget()
        columns = ["predicted", "probability", *self.columns]
        self.components = pd.DataFrame(columns=columns, dtype=float)


def named(names: Iterable[Any], most: int = 20) -> str:
    """Return the first few of some names, and how many more there are.

    Examples
    --------
    >>> named(range(8), 5)
    '0, 1, 2, 3, 4 and 3 more'
    """
    listed = list(map(str, names))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def data_oddities(metric: str, study: Study) -> Iterator[str]:
    """Tell of a study what makes scores of any map unreliable.

    Parameters
    ----------
    metric
        Its name.
    study
        All of its samples have been loaded.
    """
    scored = study.predicted != NONE
    count = int(scored.sum())
    if not count:
        return
    if told := study.returned.told(metric):
        yield told
    if study.layout is not None:
        others = scored & (study.predicted != study.classes)
        if others.any():
            yield (
                f"{metric}: {int(others.sum())} of {count} samples are not predicted as the class "
                "that is explained; C is unreliable there. They are marked in components. To have "
                'predictions explained, give targets="predicted", or no --labels (command line)'
            )
        if (same := study.layout.identical(study.data.contents) & scored).any():
            yield (
                f"{metric}: {int(same.sum())} samples have a mosaic that shows "
                "the same image twice: relevance of one image is scored as that of another"
            )
    first = study.data.x[np.flatnonzero(study.data.finite)[:8]].float()  # whatever can be rounded
    whole = bool((first == first.round()).all())
    most = 2**16 if whole else 256
    if first.ndim == 4 and first.min() >= 0 and 16 < (largest := float(first.max())) < most:
        yield (
            f"{metric}: the inputs are {'whole' if whole else 'real'} numbers up to {largest:g}, "
            "as pixels are before the model's own preprocessing; divide by "
            f"{255 if largest <= 255 else 65535}, then normalise them, as in training"
        )
    if first.ndim == 3 and 8 <= first.shape[1] == first.shape[2]:
        yield (
            f"{metric}: inputs {tuple(first.shape[1:])} are taken for time series of "
            f"{first.shape[1]} channels; gray images have an axis of one channel, x[:, None]"
        )
    if study.blank.any():
        yield (
            f"{metric}: {int(study.blank.sum())} of {count} samples are blank, with one value in "
            "each channel; there is nothing in them to explain: samples "
            f"{named(study.samples[study.blank])}"
        )


def oddities(metric: str, study: Study, scorer: Scorer, components: pd.DataFrame) -> Iterator[str]:
    """Tell of samples without a score, of empty maps and of outputs that are not positive.

    Parameters
    ----------
    metric
        Its name.
    study, scorer
        What was evaluated.
    components
        Scores of R samples; those of the last column count.
    """
    scores = components.iloc[:, -1].to_numpy()
    if lost := int(np.isnan(scores).sum()):
        yield f"{metric}: {lost} scores are NaN. {reasons(study, scorer, scores)}"
    if scorer.empty:
        yield (
            f"{metric}: {scorer.empty} of the maps of inputs and mosaics have no positive value "
            "and stay 0"
        )
    # Of these scores alone are outputs taken relative to the initial one.
    if "lc_robustness" in components and (negative := int((study.outputs[:, 0, 0] <= 0).sum())):
        yield (
            f"{metric}: the explained output (logit) of {negative} samples is not positive; "
            "their local robustness (LC_R), which divides by it, may be unreliable"
        )


def reasons(study: Study, scorer: Scorer, scores: NDArray[Any]) -> str:
    """Say which samples have no score, by cause."""
    left = np.isnan(scores)
    parts = []
    for what, where in (
        ("features are not finite", study.bad_input),
        ("model outputs or gradients are not finite", study.bad_output),
        ("attributions are not finite", scorer.bad_map),
        ("no sample of another class is in the mosaic", study.one_class),
        ("no other sample is left for the mosaic", np.ones_like(left)),
    ):
        rows = np.flatnonzero(left & where)
        left &= ~where
        if len(rows):
            parts.append(f"{what}: samples {named(study.samples[rows])}")
        if len(rows) and what.startswith("attributions"):
            found = scorer.first_bad(int(rows[0]))
            parts[-1] += f" (the first from {found} on)" if found else ""
            if found and "state" in found:
                parts[-1] += (
                    ". Features are masked there: a map that is divided by its own range or sum is "
                    "0 / 0 on an empty input"
                )
    return "; ".join(parts)
