"""Write a probe set: each shard as it is made, the manifest last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gae_metric.probe.building import Built
from gae_metric.probe.format import Manifest, Shard
from gae_metric.probe.ids import item_table
from gae_metric.probe.storage import MANIFEST_LIMIT, Container, Folder, Npz, ProbeError
from gae_metric.probe.study_from_files import BAD_INPUT, BAD_OUTPUT, ONE_CLASS, Recorded

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
    table = item_table(source.items, source.samples)
    problems = np.select(
        [source.bad_input, source.bad_output, source.one_class], [BAD_INPUT, BAD_OUTPUT, ONE_CLASS]
    )
    shards = []
    for number, (start, stop) in enumerate(groups):
        first, end = np.searchsorted(source.items.row, (start, stop)).tolist()
        rows = np.arange(start, stop)
        small: dict[str, NDArray[Any]] = {
            "targets": source.targets[first:end],
            "items": table[first:end],
            "samples": source.samples[rows],
            "sample_targets": source.sample_targets[rows],
            "problems": problems[rows],
            "outputs": source.outputs[rows],
            "quadrants": _quadrants(source, rows),
        }
        arrays = manifest.arrays(len(rows), end - first)
        files = {array: name.format(array, number) for array in arrays}
        digests = {}
        for array, (dtype, shape) in arrays.items():
            if array == "inputs":
                parts = _inputs(source, first, end, shape)
            elif array == "impact_sign":
                parts = _signs(source, rows, shape)
            else:
                parts = iter([small[array]])
            digests[array] = target.write(files[array], dtype, shape, parts)
        shards.append(Shard(len(rows), end - first, files, digests))
    written = replace(manifest, shards=tuple(shards))
    text = written.to_json()
    if len(text) > MANIFEST_LIMIT:
        raise ProbeError(
            f"path: a manifest of {len(text)} characters is more than readers take "
            f"({MANIFEST_LIMIT}): give shorter names, or larger shards (shard_bytes)"
        )
    target.write_text("manifest.json", text)
    return written


def _quadrants(source: Built | Recorded, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    shown = source.items[(source.items.mosaic >= 0) & np.isin(source.items.row, rows)]
    result = np.full((len(rows), source.mosaics, 4), np.nan)
    if len(shown):
        result[shown.row - rows[0], shown.mosaic] = source.quadrants(shown).numpy()
    return result


def _inputs(
    source: Built | Recorded, start: int, stop: int, shape: tuple[int, ...]
) -> Iterator[NDArray[Any]]:
    step = max(1, _PART // (4 * int(np.prod(shape[1:]))))
    for first in range(start, stop, step):
        yield source.inputs(first, min(first + step, stop))


def _signs(
    source: Built | Recorded, rows: NDArray[np.int64], shape: tuple[int, ...]
) -> Iterator[NDArray[Any]]:
    """Yield signs; 0 for samples that nothing is known of."""
    known = np.zeros(len(source.samples), dtype=bool)
    known[source.items.row[source.items.state == 0]] = True
    step = max(1, _PART // int(np.prod(shape[1:])))
    for first in range(0, len(rows), step):
        chosen = rows[first : first + step]
        part = np.zeros((len(chosen), *shape[1:]), dtype=np.int8)
        have = chosen[known[chosen]]
        if len(have):
            part[known[chosen]] = source.impact_signs(have).numpy()
        yield part
