"""Shards: one model and method on one block, named by all that their scores depend on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from benchmarks.config.entries import MethodEntry
from benchmarks.config.runs import Run
from benchmarks.data.dataset import Data
from benchmarks.methods import METHODS
from benchmarks.metrics.metric_call import spans
from benchmarks.metrics.registry import kind_of
from benchmarks.result_files import slug
from benchmarks.runner.identity import OF_QUANTUS, code_digest, matter, module_digest
from gae_metric.commands.provenance import installed

#: Raised when scores of the same settings are no longer the same numbers.
FORMAT = 2


class Shard(NamedTuple):
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
        folder = f"{slug(self.model)}/{slug(self.method) or 'targets'}"
        return f"{folder}/{self.start:06d}-{self.stop:06d}-{digest(identity)[:16]}"


def digest(value: Any) -> str:
    """Return a fingerprint of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_stable).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return settings as they are read again from JSON."""
    return json.loads(json.dumps(value, default=_stable))


def _stable(value: Any) -> str:
    """Write what JSON has no words for: a function by its name, not by its place in memory."""
    name = getattr(value, "__qualname__", None)
    return str(value) if name is None else f"{value.__module__}.{name}"


def shards_of(run: Run, data: Data, weights: Mapping[str, str]) -> tuple[list[Shard], list[Shard]]:
    """List the shards of predictions and those of scores, methods of a block after one another.

    Parameters
    ----------
    run
        The run.
    data
        The images that were drawn, with their digests.
    weights
        Digest of each model's weights, by its name.
    """
    kinds = sorted({device.partition(":")[0] for device in run.devices})
    common = {
        "data": run.data.name.partition(":")[0],
        "images": digest([list(data.files), list(data.digests)]),
        "labels": digest(data.labels.tolist()),
        "targets": run.targets,
        "code": code_digest(),
        # Sums of another number at a time, or on another kind of device, round differently.
        "batch_size": run.batch_size,
        "device": "+".join(kinds),
        **({"threads": run.threads or torch.get_num_threads()} if "cpu" in kinds else {}),
    }
    scoring: dict[str, Any] = {
        "seed": run.seed,
        "samples": len(data),
        "steps": run.steps,
        "schedule": run.schedule,
        "metrics": {m.name: {**kind_of(m.name).options, **m.options} for m in run.metrics},
    }
    if any(m.name.startswith("quantus:") for m in run.metrics):
        scoring["packages"] = installed(OF_QUANTUS)
    targets, scores = [], []
    for model in run.models:
        named = model.model_dump(exclude={"paper", "weights"})
        ours = {**common, "model": named, "weights": weights[model.name]}
        settings = {"": _plain({**ours, "versions": matter()})}
        for method in run.methods:
            settings[method.label] = _plain({**ours, **scoring, **_method(method, run)})
        for span in spans(len(data), run.block):
            listed = [Shard(model.name, label, *span, own) for label, own in settings.items()]
            targets.append(listed[0])
            if span[0] < (run.first or len(data)):
                scores += listed[1:]
    return targets, scores


def _method(method: MethodEntry, run: Run) -> dict[str, Any]:
    row = METHODS[method.name]
    settings: dict[str, Any] = {
        "method": {"name": method.name, **row.defaults, **method.options},
        "versions": matter(method.name),
    }
    if not getattr(row.function, "__module__", "").startswith("benchmarks."):
        settings["modules"] = module_digest(run.modules)
    return settings
