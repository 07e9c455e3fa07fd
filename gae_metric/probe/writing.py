"""Make a probe set and write it: each shard as it is made, the manifest last."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from gae_metric.metrics.attribution_metric import AttributionMetric, data_oddities
from gae_metric.probe.format import OF_ITEMS, Manifest, Shard
from gae_metric.probe.storage import MANIFEST_LIMIT, Container, Folder, Npz, ProbeError
from gae_metric.probe.study_from_files import BAD_INPUT, BAD_OUTPUT, ONE_CLASS, Recorded, item_table
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import at_work
from gae_metric.study.guard import ModelGuard
from gae_metric.study.study import Items, Study

#: Bytes of inputs, or of signs, that are made at a time.
_PART = 1 << 24


def write(source: Built | Recorded, manifest: Manifest, path: Path, shard_bytes: int) -> Manifest:
    """Write a probe set, see :meth:`ProbeSet.save`, and return its manifest."""
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole; the old file may be what is being read.
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        target = Npz(part, "w")
        try:
            with target.zip:
                groups = [(0, len(source.samples))]
                written = _write(source, manifest, target, groups, "{}.npy")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return written
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        found = "a file" if path.is_file() else "a folder with files"
        raise ProbeError(
            f"path: expected an .npz file or a new or empty folder, got {found}, {str(path)!r}"
        )
    path.mkdir(parents=True, exist_ok=True)
    return _write(
        source, manifest, Folder(path), _groups(source, manifest, shard_bytes), "{}-{:05d}.npy"
    )


def _groups(
    source: Built | Recorded, manifest: Manifest, shard_bytes: int
) -> list[tuple[int, int]]:
    """Cut the samples into shards by the size of their inputs."""
    each = 4 * int(np.prod(manifest.input_shape))
    counts = np.bincount(source.items.row, minlength=len(source.samples))
    groups: list[tuple[int, int]] = []
    start = size = 0
    for row, count in enumerate(counts.tolist()):
        if row > start and size + count * each > shard_bytes:
            groups.append((start, row))
            start, size = row, 0
        size += count * each
    return [*groups, (start, len(counts))]


def _write(
    source: Built | Recorded,
    manifest: Manifest,
    target: Container,
    groups: list[tuple[int, int]],
    name: str,
) -> Manifest:
    quadrants = np.full((len(source.samples), source.mosaics, 4), np.nan)
    originals = np.unique(source.items.row[source.items.state == 0])
    shown = source.items[source.items.mosaic >= 0]
    if len(shown):
        quadrants[shown.row, shown.mosaic] = source.quadrants(shown).numpy()
    small: dict[str, NDArray[Any]] = {
        "targets": source.targets,
        "items": item_table(source.items, source.samples),
        "samples": source.samples,
        "sample_targets": source.sample_targets,
        "problems": np.select(
            [source.bad_input, source.bad_output, source.one_class],
            [BAD_INPUT, BAD_OUTPUT, ONE_CLASS],
        ),
        "outputs": source.outputs,
        "quadrants": quadrants,
    }

    def rows(array: str, start: int, stop: int) -> NDArray[Any]:
        if array == "inputs":
            return source.inputs(start, stop)
        if array == "impact_sign":
            values = np.zeros((stop - start, *manifest.input_shape), dtype=np.int8)
            # 0 for samples that nothing is known of.
            known = originals[(originals >= start) & (originals < stop)]
            if len(known):
                values[known - start] = source.impact_signs(known).numpy()
            return values
        return small[array][start:stop]

    shards = []
    for number, (start, stop) in enumerate(groups):
        first, end = np.searchsorted(source.items.row, (start, stop)).tolist()
        arrays = manifest.arrays(stop - start, end - first)
        files = {array: name.format(array, number) for array in arrays}
        digests = {}
        for array, (dtype, shape) in arrays.items():
            low, high = (first, end) if array in OF_ITEMS else (start, stop)
            step = max(1, _PART // (np.dtype(dtype).itemsize * math.prod(shape[1:])))
            parts = (rows(array, at, min(at + step, high)) for at in range(low, high, step))
            digests[array] = target.write(files[array], dtype, shape, parts)
        shards.append(Shard(stop - start, end - first, files, digests))
    written = replace(manifest, shards=tuple(shards))
    text = written.to_json()
    if len(text) > MANIFEST_LIMIT:
        raise ProbeError(
            f"path: a manifest of {len(text)} characters is more than readers take "
            f"({MANIFEST_LIMIT}): give shorter names, or larger shards (shard_bytes)"
        )
    target.write_text("manifest.json", text)
    return written


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
    mosaicking = metric._mosaicking()
    if mosaicking is not None and mosaicking.interpolation == "none":
        raise ValueError(
            'interpolation: "none" makes mosaics that are larger than samples, and all inputs of a '
            "probe set have one shape"
        )
    predicted = metric.targets == "predicted"
    with at_work(data.model.model, data.device), ModelGuard(data, metric.cache) as guard:
        study = Study(data, guard, metric._masking(), mosaicking, predicted=predicted)
        rows = len(study.samples)
        with tqdm(total=rows, unit="sample", disable=not display_progressbar) as bar:
            for start in range(0, rows, data.batch_size):
                stop = min(start + data.batch_size, rows)
                study.load(np.arange(start, stop))
                bar.update(stop - start)
                if progress is not None:
                    progress(stop, rows)
    for oddity in data_oddities(metric.name, study):
        data.warn(oddity)
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
        self.impact_signs, self.quadrants = study.impact_signs, study.quadrants
        self.sample_targets: NDArray[np.int64] = study.targets[study.samples].numpy()
        self.targets: NDArray[np.int64] = self.sample_targets[items.row]

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
