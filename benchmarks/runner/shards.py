"""Shards: one model and method on one block, named by all that their scores depend on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.config.entries import MethodEntry, MetricEntry, ModelEntry
from benchmarks.config.runs import Run
from benchmarks.data.dataset import Data
from benchmarks.methods import METHODS
from benchmarks.metrics.registry import defaults_of
from benchmarks.metrics.sample_blocks import spans

__all__ = ["Shard", "data_digest", "score_shards", "target_shards"]

#: Raised when scores of the same settings are no longer the same numbers.
FORMAT = 2


@dataclass(frozen=True)
class Shard:
    """A file of results."""

    model: str
    #: Label of the method; empty for the model's own predictions.
    method: str
    start: int
    stop: int
    #: All that its scores depend on.
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name in the store.

        Examples
        --------
        >>> Shard("digits:vgg", "GradCAM++", 0, 32, {}).key
        'digits-vgg/gradcam++/000000-000032-251511968c06ce56'
        """
        identity = {"format": FORMAT, "span": [self.start, self.stop], **self.settings}
        folder = f"{_slug(self.model)}/{_slug(self.method) or 'targets'}"
        return f"{folder}/{self.start:06d}-{self.stop:06d}-{digest(identity)[:16]}"


def digest(value: Any) -> str:
    """Return a fingerprint of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=_stable)
    return hashlib.sha256(text.encode()).hexdigest()


def _stable(value: Any) -> str:
    """Write what JSON has no words for: a function by its name, not by its place in memory."""
    name = getattr(value, "__qualname__", None)
    return str(value) if name is None else f"{value.__module__}.{name}"


def data_digest(data: Data) -> str:
    """Return a fingerprint of the images that were drawn: names and labels, in order."""
    return digest([list(data.files), data.labels.tolist()])


def target_shards(run: Run, model: ModelEntry, data: Data) -> list[Shard]:
    """List the shards that hold a model's predictions."""
    settings = _of_model(run, model, data)
    return [Shard(model.name, "", *span, settings) for span in spans(len(data), run.block)]


def score_shards(run: Run, model: ModelEntry, data: Data) -> list[Shard]:
    """List the shards that hold scores, block by block, so that methods of a block follow."""
    common = {
        **_of_model(run, model, data),
        "seed": run.seed,
        "samples": len(data),
        "targets": run.targets,
        "steps": run.steps,
        "schedule": run.schedule,
        "metrics": [_metric(metric) for metric in run.metrics],
    }
    return [
        Shard(model.name, method.label, *span, {**common, "method": _method(method)})
        for span in spans(len(data), run.block)
        for method in run.methods
    ]


def _of_model(run: Run, model: ModelEntry, data: Data) -> dict[str, Any]:
    kind = run.data.name.partition(":")[0]
    return {"model": model.model_dump(exclude={"paper"}), "data": [kind, data_digest(data)]}


def _method(method: MethodEntry) -> dict[str, Any]:
    return {"name": method.name, **METHODS[method.name].defaults, **method.options}


def _metric(metric: MetricEntry) -> dict[str, Any]:
    return {"name": metric.name, **defaults_of(metric.name), **metric.options}


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_.+]+", "-", name.lower()).strip("-.")
