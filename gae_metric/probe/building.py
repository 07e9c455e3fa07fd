"""Make a probe set: the model's work, and what the probe set says of itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from gae_metric.metrics.attribution_metric import AttributionMetric
from gae_metric.metrics.data_warnings import data_oddities
from gae_metric.probe.format import Manifest
from gae_metric.probe.storage import ProbeError
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import at_work
from gae_metric.study.guard import ModelGuard
from gae_metric.study.study import Items, Study


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


class Built:
    """A study whose model work is done, with the interface of :class:`Recorded`.

    Parameters
    ----------
    study
        All of its samples have been loaded.
    items
        What is to be explained.
    """

    def __init__(self, study: Study, items: Items) -> None:
        self.study, self.items = study, items
        self.masking, self.mosaicking = study.masking, study.mosaicking
        self.mosaics, self.samples, self.outputs = study.mosaics, study.samples, study.outputs
        self.bad_input, self.bad_output = study.bad_input, study.bad_output
        self.one_class = study.one_class
        self.sample_targets: NDArray[np.int64] = study.targets[study.samples].numpy()
        self.targets: NDArray[np.int64] = self.sample_targets[items.row]

    def impact_signs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the sign of the impact maps of samples, int8 (n, C, ...)."""
        return self.study.impact_signs(rows)

    def quadrants(self, items: Items) -> Tensor:
        """Return the values of S in the quadrants of mosaics, float64 (n, 4)."""
        return self.study.quadrants(items)

    def inputs(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return inputs of consecutive items, float32 (stop - start, C, ...)."""
        with torch.no_grad():
            x, _ = self.study.inputs(self.items[start:stop])
        values: NDArray[Any] = x.to(torch.float32).cpu().numpy()
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
            sample = int(self.samples[self.items.row[start + row]])
            raise ProbeError(f"x_batch: the features of sample {sample} do not fit float32")
        return values
