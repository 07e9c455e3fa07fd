"""Make a probe set and write it: each shard as it is made, the manifest last."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from gae_metric.metrics.attribution_metric import AttributionMetric, data_oddities
from gae_metric.probe.format import OF_ITEMS, Manifest, Shard
from gae_metric.probe.storage import MANIFEST_LIMIT, Container, Npz, ProbeError
from gae_metric.probe.study_from_files import BAD_INPUT, BAD_OUTPUT, ONE_CLASS, Prepared
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import at_work
from gae_metric.study.guard import ModelGuard
from gae_metric.study.items import Items
from gae_metric.study.study import Study

#: Bytes of inputs, or of signs, that are made at a time.
_PART = 1 << 24


def write(source: Prepared, path: Path, shard_bytes: int) -> Manifest:
    """Write a probe set, see :meth:`ProbeSet.save`, and return its manifest."""
    if path.suffix == ".npz":
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole; the old file may be what is being read.
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        target = Npz(part, "w")
        try:
            with target.zip:
                written = _write(source, target, [(0, len(source.samples))], "{}.npy")
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
    try:
        return _write(source, Container(path), _groups(source, shard_bytes), "{}-{:05d}.npy")
    except BaseException:  # an interrupt, too
        for file in path.iterdir():
            file.unlink()
        raise


def _groups(source: Prepared, shard_bytes: int) -> list[tuple[int, int]]:
    """Cut the samples into shards by the size of their inputs."""
    each = 4 * int(np.prod(source.manifest.input_shape))
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
    source: Prepared, target: Container, groups: list[tuple[int, int]], name: str
) -> Manifest:
    manifest = source.manifest
    shards = []
    for number, (start, stop) in enumerate(groups):
        first, end = np.searchsorted(source.items.row, (start, stop)).tolist()
        arrays = manifest.arrays(stop - start, end - first)
        files = {array: name.format(array, number) for array in arrays}
        digests = {}
        for array, (dtype, shape) in arrays.items():
            low, high = (first, end) if array in OF_ITEMS else (start, stop)
            step = max(1, _PART // (np.dtype(dtype).itemsize * math.prod(shape[1:])))
            parts = (source.rows(array, at, min(at + step, high)) for at in range(low, high, step))
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
    names: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    display_progressbar: bool = False,
) -> Prepared:
    """Have the model evaluated as a metric does.

    Parameters
    ----------
    metric
        With its options.
    data
        The model and the samples.
    names, settings
        Of the manifest.
    progress, display_progressbar
        See :meth:`ProbeSet.build`.
    """
    mosaicking = metric._mosaicking()
    if mosaicking is not None and mosaicking.interpolation == "none":
        raise ValueError(
            'interpolation: "none" makes mosaics that are larger than samples, and all inputs of a '
            "probe set have one shape"
        )
    with at_work(data.model.wrapped_model, data.device), ModelGuard(data, metric.cache) as guard:
        study = Study(data, guard, metric._masking(), mosaicking, metric.targets == "predicted")
        rows = len(study.samples)
        with tqdm(total=rows, unit="sample", disable=not display_progressbar) as bar:
            for start in range(0, rows, data.batch_size):
                stop = min(start + data.batch_size, rows)
                study.load(np.arange(start, stop))
                bar.update(stop - start)
                if progress is not None:
                    progress(stop, rows)
    data.x.made = True  # from here on the caller may change what was given
    for oddity in data_oddities(metric.name, study):
        data.warn(oddity)
    items = study.ready(study.items(metric.needs_originals, metric.makes_inputs))
    manifest = Manifest(
        metric=type(metric).__name__,
        input_shape=tuple(data.x.shape[1:]),
        dataset_size=len(data),
        steps=None if study.masking is None else int(study.masking.steps),
        n_mosaics=study.mosaics,
        protocol="paper" if mosaicking is None else mosaicking.protocol,
        # A file's name need not be UTF-8, as a manifest's and a table's are.
        names=None
        if names is None
        else tuple(str(name).encode(errors="backslashreplace").decode() for name in names),
        settings=_plain(settings or {}),
    )
    shown = items[items.mosaic >= 0]
    quadrants = np.full((len(study.samples), study.mosaics, 4), np.nan)
    quadrants[shown.row, shown.mosaic] = study.quadrants(shown).numpy()
    # Without any other sample there is none of another class either.
    no_other = study.one_class | np.isnan(quadrants).any(axis=(1, 2))
    problems = [study.bad_input, study.bad_output, no_other]
    arrays = {
        "targets": study.classes[items.row],
        "items": np.stack([study.samples[items.row], items.order, items.state, items.mosaic], 1),
        "samples": study.samples,
        "sample_targets": study.classes,
        "problems": np.select(problems, [BAD_INPUT, BAD_OUTPUT, ONE_CLASS]),
        "outputs": study.outputs,
        "quadrants": quadrants,
    }
    return Prepared(manifest, arrays, partial(_made, study, items))


def _made(study: Study, items: Items, array: str, start: int, stop: int) -> NDArray[Any]:
    """Make rows of a large array."""
    if array == "impact_sign":
        signs = np.zeros((stop - start, *study.data.x.shape[1:]), dtype=np.int8)
        # 0 for samples that nothing is known of.
        rows = np.unique(items.row[items.state == 0])
        known = rows[(rows >= start) & (rows < stop)]
        if len(known):
            signs[known - start] = study.impact_signs(known).numpy()
        return signs
    with torch.no_grad():
        x, _ = study.inputs(items[start:stop])
    values: NDArray[Any] = x.to(torch.float32).cpu().numpy()
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        sample = int(study.samples[items.row[start + row]])
        raise ProbeError(f"x_batch: the features of sample {sample} do not fit float32")
    return values


def _plain(settings: Mapping[str, Any]) -> Any:
    """Return settings as JSON has them; what it has not as text."""

    def as_json(value: Any) -> Any:
        return value.tolist() if hasattr(value, "tolist") else str(value)

    return json.loads(json.dumps(settings, default=as_json))
