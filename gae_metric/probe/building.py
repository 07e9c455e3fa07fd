"""Make a probe set: the model's work, and what the probe set says of itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gae_metric.metrics.attribution_metric import AttributionMetric
from gae_metric.metrics.data_warnings import data_oddities
from gae_metric.probe.format import Manifest
from gae_metric.probe.study_in_memory import Built
from gae_metric.study.arguments import Data
from gae_metric.study.devices import at_work
from gae_metric.study.guard import ModelGuard
from gae_metric.study.study import Study


def evaluated(
    metric: AttributionMetric,
    data: Data,
    progress: Callable[[int, int], None] | None = None,
    display_progressbar: bool = False,
) -> Built:
    """Have the model evaluated as a metric does.

    Parameters
    ----------
    metric
        With its options.
    data
        The model and the samples.
    progress, display_progressbar
        See :meth:`ProbeSet.build`.
    """
    metric._check_applicability(data)
    predicted = metric.targets == "predicted"
    with at_work(data.model.model, data.device), ModelGuard(data, metric.cache) as guard:
        study = Study(data, guard, metric._masking(), metric._mosaicking(), predicted=predicted)
        rows = len(study.samples)
        with tqdm(total=rows, unit="sample", disable=not display_progressbar) as bar:
            for start in range(0, rows, data.batch_size):
                stop = min(start + data.batch_size, rows)
                study.load(np.arange(start, stop))
                bar.update(stop - start)
                if progress is not None:
                    progress(stop, rows)
    for oddity in data_oddities(metric.name, study):
        warnings.warn(oddity, RuntimeWarning, stacklevel=3)
    items = study.ready(study.items(metric.needs_originals, metric.makes_inputs))
    return Built(study, items)


def describe(
    metric: str, source: Built, names: Sequence[str] | None, settings: Mapping[str, Any]
) -> Manifest:
    """Return a probe set's manifest, without shards."""
    data = source.study.data
    return Manifest(
        metric=metric,
        input_shape=tuple(data.x.shape[1:]),
        dataset_size=len(data),
        steps=None if source.masking is None else int(source.masking.steps),
        n_mosaics=source.mosaics,
        protocol="paper" if source.mosaicking is None else source.mosaicking.protocol,
        names=None if names is None else tuple(map(str, names)),
        settings=_plain(settings),
    )


def _plain(settings: Mapping[str, Any]) -> Any:
    """Return settings as JSON has them; what it has not as text."""

    def as_json(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else str(value)

    return json.loads(json.dumps(settings, default=as_json))
