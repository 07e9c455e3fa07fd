"""The evaluated study of a probe set, from its files: neither the model nor the inputs are read.

And what its items are called.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.functional.masking import LERF, MORF
from gae_metric.probe.format import Manifest
from gae_metric.probe.storage import ArrayFile, Container, ProbeError
from gae_metric.study.mosaicking import Mosaicking
from gae_metric.study.study import NONE, Items
from gae_metric.study.trajectories import Masking

#: Values of ``problems``.
FINE, BAD_INPUT, BAD_OUTPUT, ONE_CLASS = 0, 1, 2, 3


class Recorded:
    """A study that was made before; has what scoring and explaining need of one.

    Small arrays are read at once, and checked; inputs and signs of impact when they are needed.

    Parameters
    ----------
    container
        The files.
    manifest
        What they should hold.

    Raises
    ------
    ProbeError
        If an array is missing or not as the manifest and the format say.
    """

    def __init__(self, container: Container, manifest: Manifest) -> None:
        self._container, self._manifest = container, manifest
        parts = [self._small(shard) for shard in range(len(manifest.shards))]

        def joined(name: str) -> NDArray[Any]:
            dtype, shape = manifest.arrays(0, 0)[name]
            return np.concatenate([np.zeros(shape, dtype=dtype), *(part[name] for part in parts)])

        samples = joined("samples")
        self.samples: NDArray[np.int64] = samples
        wrong = (samples < 0) | (samples >= manifest.dataset_size)
        if wrong.any() or (np.diff(samples) <= 0).any():
            raise ProbeError(
                f"{container.path}: samples: expected ascending indices below "
                f"{manifest.dataset_size}"
            )
        self.sample_targets: NDArray[np.int64] = joined("sample_targets")
        self.targets: NDArray[np.int64] = joined("targets")
        problems = joined("problems")
        self.bad_input: NDArray[np.bool_] = problems == BAD_INPUT
        self.bad_output: NDArray[np.bool_] = problems == BAD_OUTPUT
        self.one_class: NDArray[np.bool_] = problems == ONE_CLASS
        self.outputs: NDArray[np.float64] = np.full((len(samples), 2, 0), np.nan)
        self.masking: Masking | None = None
        self.mosaicking: Mosaicking | None = None
        if manifest.steps is not None:
            self.masking = Masking(manifest.steps)
            self.outputs = joined("outputs")
        self.mosaics = manifest.n_mosaics
        if self.mosaics:
            self.mosaicking = Mosaicking(protocol=manifest.protocol)
            self._quadrants = joined("quadrants")
        self.item_starts = np.cumsum([0, *(shard.items for shard in manifest.shards)])
        self._row_starts = np.cumsum([0, *(shard.samples for shard in manifest.shards)])
        self.items = self._items(
            [part["items"] for part in parts],
            [(part["targets"], part["sample_targets"]) for part in parts],
        )
        # Last, as the checks before say more of what is wrong.
        for shard, part in enumerate(parts):
            for name in part:
                self._verify(shard, name)
        #: By array, the shard whose file was read last. It is left open for what follows in it.
        self._read: dict[str, tuple[int, ArrayFile]] = {}

    def impact_signs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the sign of the impact maps of samples, int8 (n, C, ...)."""
        shards = np.searchsorted(self._row_starts, rows, side="right") - 1
        result = torch.empty((len(rows), *self._manifest.input_shape), dtype=torch.int8)
        for shard in np.unique(shards).tolist():
            where = np.flatnonzero(shards == shard)
            places = rows[where] - self._row_starts[shard]
            # Rows are read one by one: a shard's do not all fit the memory.
            for i, place in zip(where.tolist(), places.tolist(), strict=True):
                signs = self._rows(shard, "impact_sign", place, place + 1)
                self._refuse(np.abs(signs.astype(np.int16)) > 1, shard, "impact_sign", "-1, 0 or 1")
                result[i] = torch.as_tensor(signs[0])
        return result

    def quadrants(self, items: Items) -> Tensor:
        """Return the values of S in the quadrants of mosaics, float64 (n, 4)."""
        return torch.as_tensor(self._quadrants[items.row, items.mosaic])

    def inputs(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return inputs of consecutive items, float32 (stop - start, C, ...)."""
        parts = []
        for shard, (first, end) in enumerate(pairwise(self.item_starts.tolist())):
            low, high = max(start, first), min(stop, end)
            if low >= high:
                continue
            values = self._rows(shard, "inputs", low - first, high - first)
            self._refuse(~np.isfinite(values), shard, "inputs", "finite numbers")
            parts.append(values)
        result: NDArray[np.float32] = np.concatenate(parts)
        return result

    def _rows(self, shard: int, name: str, start: int, stop: int) -> NDArray[Any]:
        if name not in self._read or self._read[name][0] != shard:
            self._read[name] = (shard, self._open(shard, name))
            self._verify(shard, name)
        return self._read[name][1].rows(start, stop)

    def _open(self, shard: int, name: str) -> ArrayFile:
        entry = self._manifest.shards[shard]
        file = entry.arrays[name]
        array = self._container.array(file)
        dtype, shape = self._manifest.arrays(entry.samples, entry.items)[name]
        if (array.dtype, array.shape) != (np.dtype(dtype), shape):
            raise ProbeError(
                f"{self._container.path}: {file} ({name} of shard {shard}): expected "
                f"{np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}"
            )
        return array

    def _verify(self, shard: int, name: str) -> None:
        """Refuse a file that does not hold what was written."""
        entry = self._manifest.shards[shard]
        file = entry.arrays[name]
        if self._container.digest(file) != entry.sha256[name]:
            raise ProbeError(
                f"{self._container.path}: {file} ({name} of shard {shard}) is damaged: its SHA-256 "
                "is not that of the manifest"
            )

    def _refuse(self, wrong: NDArray[np.bool_], shard: int, name: str, expected: str) -> None:
        if wrong.any():
            row = int(np.argwhere(wrong)[0, 0])
            raise ProbeError(
                f"{self._container.path}: {name} of shard {shard}, row {row}: expected {expected}"
            )

    def _small(self, shard: int) -> dict[str, NDArray[Any]]:
        names = ["samples", "sample_targets", "targets", "problems", "items"]
        names += ["outputs"] * (self._manifest.steps is not None)
        names += ["quadrants"] * (self._manifest.n_mosaics > 0)
        files = {name: self._open(shard, name) for name in names}
        values = {name: file.rows(0, len(file)) for name, file in files.items()}
        fine = values["problems"] == FINE
        self._refuse(values["problems"] > ONE_CLASS, shard, "problems", f"0 to {ONE_CLASS}")
        for name in ("sample_targets", "targets"):
            self._refuse(values[name] < 0, shard, name, "class indices, 0 or more")
        for name in set(names) & {"outputs", "quadrants"}:
            odd = ~np.isfinite(values[name]) & fine.reshape(-1, 1, 1)
            self._refuse(odd, shard, name, "finite numbers but for samples with problems")
        return values

    def _items(
        self, tables: list[NDArray[np.int64]], tables_targets: list[tuple[NDArray[Any], ...]]
    ) -> Items:
        """Check the tables of items: everything scores look up must be there."""
        steps, path = self._manifest.steps or 1, self._container.path
        for shard, table in enumerate(tables):
            sample, order, state, mosaic = table.T
            own = self.samples[self._row_starts[shard] : self._row_starts[shard + 1]]
            original = (order == NONE) & (state == 0) & (mosaic == NONE)
            perturbed = np.isin(order, (LERF, MORF)) & (state > 0) & (state < steps)
            shown = (order == NONE) & (state == NONE) & (mosaic >= 0) & (mosaic < self.mosaics)
            if self.masking is None:
                original[:] = False
            valid = original | (perturbed & (mosaic == NONE)) | shown
            valid &= np.isin(sample, own)
            if not valid.all():
                row = int(np.flatnonzero(~valid)[0])
                raise ProbeError(
                    f"{path}: items of shard {shard}, row {row}: no item of this probe set is "
                    f"(sample, order, state, mosaic) = {tuple(table[row].tolist())}"
                )
            own_target = tables_targets[shard][1][np.searchsorted(own, sample)]
            other = tables_targets[shard][0] != own_target
            self._refuse(other, shard, "targets", "the class of the item's sample")
            started = np.where(original, np.arange(len(table)), len(table))
            first = np.full(len(own), len(table))
            np.minimum.at(first, np.searchsorted(own, sample), started)
            early = perturbed & (first[np.searchsorted(own, sample)] > np.arange(len(table)))
            if len(np.unique(table, axis=0)) != len(table) or early.any():
                raise ProbeError(
                    f"{path}: items of shard {shard}: expected each item once, and a sample's "
                    "original before its perturbed states"
                )
        table = np.concatenate(tables) if tables else np.zeros((0, 4), dtype=np.int64)
        return items_of_table(table, self.samples)


def item_ids(items: Items, samples: NDArray[np.int64]) -> list[str]:
    """Return the items' names.

    Parameters
    ----------
    items
        Items of scored samples.
    samples
        Data-set index of each scored sample.

    Returns
    -------
    list of str
        ``7-original``, ``7-lerf-3`` and ``7-morf-3`` (state 3 of that order) or ``7-mosaic-0``,
        7 being the data-set index of the sample.
    """
    columns = (samples[items.row], items.order, items.state, items.mosaic)
    return [
        f"{sample}-original"
        if state == 0
        else f"{sample}-mosaic-{mosaic}"
        if mosaic != NONE
        else f"{sample}-{'lerf' if order == LERF else 'morf'}-{state}"
        for sample, order, state, mosaic in zip(*(c.tolist() for c in columns), strict=True)
    ]


def item_table(items: Items, samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return items as rows (sample, order, state, mosaic), (n, 4)."""
    return np.stack([samples[items.row], items.order, items.state, items.mosaic], axis=1)


def items_of_table(table: NDArray[np.int64], samples: NDArray[np.int64]) -> Items:
    """Turn :func:`item_table` back, given ascending samples that hold all of the table's."""
    row = np.searchsorted(samples, table[:, 0])
    return Items(row, table[:, 1], table[:, 2], table[:, 3])
