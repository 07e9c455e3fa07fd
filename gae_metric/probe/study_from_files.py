"""The evaluated study of a probe set, from its files: neither the model nor the inputs are read.

And what its items are called.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.functional.masking import LERF, MORF
from gae_metric.probe.format import OF_ITEMS, Manifest
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
        small = [name for name in manifest.arrays(0, 0) if name not in ("inputs", "impact_sign")]
        #: Where the shards begin in each array, and where the last one ends.
        self._starts = {
            name: np.cumsum(
                [0, *(s.items if name in OF_ITEMS else s.samples for s in manifest.shards)]
            )
            for name in manifest.arrays(0, 0)
        }
        #: By array, the shard whose file was read last. It is left open for what follows in it.
        self._read: dict[str, tuple[int, ArrayFile]] = {}
        values = {name: self._whole(name) for name in small}
        self.samples: NDArray[np.int64] = values["samples"]
        self.sample_targets: NDArray[np.int64] = values["sample_targets"]
        self.targets: NDArray[np.int64] = values["targets"]
        problems = values["problems"]
        self.bad_input: NDArray[np.bool_] = problems == BAD_INPUT
        self.bad_output: NDArray[np.bool_] = problems == BAD_OUTPUT
        self.one_class: NDArray[np.bool_] = problems == ONE_CLASS
        none = np.full((len(self.samples), 2, 0), np.nan)
        self.outputs: NDArray[np.float64] = values.get("outputs", none)
        self.masking = None if manifest.steps is None else Masking(manifest.steps)
        self.mosaics = manifest.n_mosaics
        self.mosaicking = Mosaicking(protocol=manifest.protocol) if self.mosaics else None
        self._quadrants = values.get("quadrants", none)
        self._refuse(problems > ONE_CLASS, "problems", f"0 to {ONE_CLASS}", problems)
        for name in ("sample_targets", "targets"):
            self._refuse(values[name] < 0, name, "class indices, 0 or more", values[name])
        for name in values.keys() & {"outputs", "quadrants"}:
            odd = ~np.isfinite(values[name]) & (problems == FINE).reshape(-1, 1, 1)
            expected = "finite numbers but for samples with problems"
            self._refuse(odd, name, expected, values[name])
        size = manifest.dataset_size
        wrong = (self.samples < 0) | (self.samples >= size)
        wrong[1:] |= np.diff(self.samples) <= 0
        self._refuse(wrong, "samples", f"ascending indices below {size}", self.samples)
        self.items = self._items(values["items"])
        # Last, as the checks before say more of what is wrong.
        for name in small:
            for shard in range(len(manifest.shards)):
                self._verify(shard, name)

    def impact_signs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the sign of the impact maps of samples, int8 (n, C, ...)."""
        result = torch.empty((len(rows), *self._manifest.input_shape), dtype=torch.int8)
        # Rows are read one by one: a shard's do not all fit the memory.
        for i, row in enumerate(rows.tolist()):
            signs = self._rows("impact_sign", row, row + 1)
            self._refuse((signs < -1) | (signs > 1), "impact_sign", "-1, 0 or 1", signs, row)
            result[i] = torch.as_tensor(signs[0])
        return result

    def quadrants(self, items: Items) -> Tensor:
        """Return the values of S in the quadrants of mosaics, float64 (n, 4)."""
        return torch.as_tensor(self._quadrants[items.row, items.mosaic])

    def inputs(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return inputs of consecutive items, float32 (stop - start, C, ...)."""
        values: NDArray[np.float32] = self._rows("inputs", start, stop)
        self._refuse(~np.isfinite(values), "inputs", "finite numbers", values, start)
        return values

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows of a large array, of one shard or of several."""
        starts, parts = self._starts[name], []
        for shard in np.unique(np.searchsorted(starts, np.arange(start, stop), "right") - 1):
            if name not in self._read or self._read[name][0] != shard:
                self._read[name] = (shard, self._open(shard, name))
                self._verify(shard, name)
            first, end = starts[shard : shard + 2].tolist()
            parts.append(self._read[name][1].rows(max(start - first, 0), min(stop, end) - first))
        return np.concatenate(parts)

    def _whole(self, name: str) -> NDArray[Any]:
        """Return all rows of a small array."""
        dtype, shape = self._manifest.arrays(0, 0)[name]
        files = [self._open(shard, name) for shard in range(len(self._manifest.shards))]
        return np.concatenate(
            [np.zeros(shape, dtype), *(file.rows(0, len(file)) for file in files)]
        )

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

    def _refuse(
        self,
        wrong: NDArray[np.bool_],
        name: str,
        expected: str,
        values: NDArray[Any],
        start: int = 0,
    ) -> None:
        """Refuse values of an array, from one of its rows on, if any is wrong."""
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0].tolist())
            row, starts = start + place[0], self._starts[name]
            shard = int(np.searchsorted(starts, row, side="right")) - 1
            raise ProbeError(
                f"{self._container.path}: {name} of shard {shard}, row {row - starts[shard]}: "
                f"expected {expected}, got {values[place]}"
            )

    def _items(self, table: NDArray[np.int64]) -> Items:
        """Check the table of items: everything scores look up must be there."""
        sample, order, state, mosaic = table.T
        items = Items(np.searchsorted(self.samples, sample), order, state, mosaic)
        shard = np.repeat(np.arange(len(self._manifest.shards)), np.diff(self._starts["items"]))
        starts = self._starts["samples"]
        # Of its own shard's samples.
        own = np.isin(sample, self.samples)
        own &= (starts[shard] <= items.row) & (items.row < starts[shard + 1])
        original = (order == NONE) & (state == 0) & (mosaic == NONE) & (self.masking is not None)
        steps = self._manifest.steps or 1
        perturbed = np.isin(order, (LERF, MORF)) & (state > 0) & (state < steps) & (mosaic == NONE)
        shown = (order == NONE) & (state == NONE) & (mosaic >= 0) & (mosaic < self.mosaics)
        expected = "an item (sample, order, state, mosaic) of this probe set"
        self._refuse(~own | ~(original | perturbed | shown), "items", expected, table)
        other = self.targets != self.sample_targets[items.row]
        self._refuse(other, "targets", "the class of the item's sample", self.targets)
        place = np.arange(len(table))
        first = np.full(len(self.samples), len(table))
        np.minimum.at(first, items.row[original], place[original])
        wrong = (perturbed & (first[items.row] > place)) | pd.DataFrame(table).duplicated()
        expected = "each item once, and a sample's original before its perturbed states"
        self._refuse(wrong.to_numpy(), "items", expected, table)
        return items


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
