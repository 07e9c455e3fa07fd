"""The evaluated study of a probe set; of one in files, neither the model nor the inputs are read.

And what its items are called.
"""

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.probe.format import METRICS, OF_ITEMS, Manifest
from gae_metric.probe.storage import ArrayFile, Container, ProbeError, open_container
from gae_metric.study.items import NONE, Items, items_of_each
from gae_metric.study.mosaicking import Mosaicking
from gae_metric.study.trajectories import Masking

#: Values of ``problems``.
FINE, BAD_INPUT, BAD_OUTPUT, ONE_CLASS = 0, 1, 2, 3


class Prepared:
    """A study whose model work is done; has what scoring and explaining need of one.

    Parameters
    ----------
    manifest
        What it is of.
    arrays
        Those of :meth:`Manifest.arrays` that are small, whole.
    rows
        Reads rows of the others by the array's name, from one row to another.
    """

    def __init__(
        self,
        manifest: Manifest,
        arrays: Mapping[str, NDArray[Any]],
        rows: Callable[[str, int, int], NDArray[Any]],
    ) -> None:
        self.manifest, self._arrays, self._rows = manifest, arrays, rows
        self.samples: NDArray[np.int64] = arrays["samples"]
        self.sample_targets: NDArray[np.int64] = arrays["sample_targets"]
        self.targets: NDArray[np.int64] = arrays["targets"]
        #: Rows (sample, order, state, mosaic), and the same as what scores look up.
        self.table: NDArray[np.int64] = arrays["items"]
        sample, *others = self.table.T
        self.items = Items(np.searchsorted(self.samples, sample), *others)
        problems = arrays["problems"]
        self.bad_input: NDArray[np.bool_] = problems == BAD_INPUT
        self.bad_output: NDArray[np.bool_] = problems == BAD_OUTPUT
        self.one_class: NDArray[np.bool_] = problems == ONE_CLASS
        self.outputs: NDArray[np.float64] = arrays.get("outputs", np.empty((len(problems), 2, 0)))
        self.masking = None if manifest.steps is None else Masking(manifest.steps)
        self.mosaics = manifest.n_mosaics
        self.mosaicking = Mosaicking(protocol=manifest.protocol) if self.mosaics else None

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows of an array."""
        small = self._arrays.get(name)
        return self._rows(name, start, stop) if small is None else small[start:stop]

    def impact_signs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the sign of the impact maps of samples, int8 (n, C, ...)."""
        # Rows are read one by one: a shard's do not all fit the memory.
        signs = [self._rows("impact_sign", row, row + 1) for row in rows.tolist()]
        return torch.from_numpy(np.concatenate(signs))

    def quadrants(self, items: Items) -> Tensor:
        """Return the values of S in the quadrants of mosaics, float64 (n, 4)."""
        return torch.from_numpy(self._arrays["quadrants"][items.row, items.mosaic])


class _Files(threading.local):
    """The arrays of a probe set's shards; those of a shard follow on those of the one before.

    Each thread has files of its own, as a file has one place that is read next.
    """

    def __init__(self, container: Container, manifest: Manifest) -> None:
        self._container, self._manifest = container, manifest
        names = manifest.arrays(0, 0)
        items = np.cumsum([0, *(shard.items for shard in manifest.shards)])
        samples = np.cumsum([0, *(shard.samples for shard in manifest.shards)])
        #: Where the shards begin in each array, and where the last one ends.
        self.starts = {name: items if name in OF_ITEMS else samples for name in names}
        #: By array, the shard whose file was read last. It is left open for what follows in it.
        self._read: dict[str, tuple[int, ArrayFile]] = {}

    def rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Return rows of a large array, of one shard or of several."""
        if self._container.process != os.getpid():  # a fork's open files are its parent's, too
            self._container, self._read = open_container(self._container.path, "probe"), {}
        starts, parts = self.starts[name], []
        for shard in np.unique(np.searchsorted(starts, np.arange(start, stop), "right") - 1):
            if name not in self._read or self._read[name][0] != shard:
                self._read[name] = (shard, self._open(shard, name))
                self.verify(shard, name)
            first, end = starts[shard : shard + 2].tolist()
            parts.append(self._read[name][1][max(start - first, 0) : min(stop, end) - first])
        values = np.concatenate(parts)
        if name == "inputs":
            self.refuse(~np.isfinite(values), name, "finite numbers", values, start)
        else:
            self.refuse((values < -1) | (values > 1), name, "-1, 0 or 1", values, start)
        return values

    def whole(self, name: str) -> NDArray[Any]:
        """Return all rows of a small array."""
        dtype, shape = self._manifest.arrays(0, 0)[name]
        files = [self._open(shard, name) for shard in range(len(self._manifest.shards))]
        return np.concatenate([np.zeros(shape, dtype), *(file[:] for file in files)])

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

    def verify(self, shard: int, name: str) -> None:
        """Refuse a file that does not hold what was written."""
        entry = self._manifest.shards[shard]
        file = entry.arrays[name]
        if self._container.digest(file) != entry.sha256[name]:
            raise ProbeError(
                f"{self._container.path}: {file} ({name} of shard {shard}) is damaged: its SHA-256 "
                "is not that of the manifest"
            )

    def refuse(
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
            row, starts = start + place[0], self.starts[name]
            shard = int(np.searchsorted(starts, row, side="right")) - 1
            raise ProbeError(
                f"{self._container.path}: {name} of shard {shard}, row {row - starts[shard]}: "
                f"expected {expected}, got {values[place]}"
            )


def recorded(container: Container, manifest: Manifest) -> Prepared:
    """Read a study that was made before.

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
    files = _Files(container, manifest)
    small = [name for name in files.starts if name not in ("inputs", "impact_sign")]
    values = {name: files.whole(name) for name in small}
    study = Prepared(manifest, values, files.rows)
    problems = values["problems"]
    files.refuse(problems > ONE_CLASS, "problems", f"0 to {ONE_CLASS}", problems)
    for name in ("sample_targets", "targets"):
        files.refuse(values[name] < 0, name, "class indices, 0 or more", values[name])
    for name in values.keys() & {"outputs", "quadrants"}:
        odd = ~np.isfinite(values[name]) & (problems == FINE).reshape(-1, 1, 1)
        files.refuse(odd, name, "finite numbers but for samples with problems", values[name])
    size, samples = manifest.dataset_size, study.samples
    wrong = (samples < 0) | (samples >= size)
    wrong[1:] |= np.diff(samples) <= 0
    files.refuse(wrong, "samples", f"ascending indices below {size}", samples)
    _check_items(study, files)
    # Last, as the checks before say more of what is wrong.
    for name in small:
        for shard in range(len(manifest.shards)):
            files.verify(shard, name)
    return study


def _check_items(study: Prepared, files: _Files) -> None:
    """Check the table of items: everything scores look up must be there."""
    items, kind = study.items, METRICS[study.manifest.metric]
    states = (study.manifest.steps or 1) if kind.makes_inputs else 1
    each = items_of_each(kind.needs_originals, states, study.mosaics)
    shard = np.repeat(np.arange(len(study.manifest.shards)), np.diff(files.starts["items"]))
    starts = files.starts["samples"]
    # Of its own shard's samples.
    known = np.isin(study.table[:, 0], study.samples)
    known &= (starts[shard] <= items.row) & (items.row < starts[shard + 1])
    known &= pd.MultiIndex.from_arrays([*study.table[:, 1:].T]).isin([*map(tuple, each.tolist())])
    expected = "an item (sample, order, state, mosaic) of this probe set"
    files.refuse(~known, "items", expected, study.table)
    other = study.targets != study.sample_targets[items.row]
    files.refuse(other, "targets", "the class of the item's sample", study.targets)
    original_came = pd.Series(items.state == 0).groupby(items.row).cummax().to_numpy()
    wrong = ((items.state > 0) & ~original_came) | (np.diff(items.row, prepend=0) < 0)
    wrong |= pd.DataFrame(study.table).duplicated().to_numpy()
    expected = "each item once, and a sample's original before its perturbed states, by sample"
    files.refuse(wrong, "items", expected, study.table)
    counts = np.bincount(items.row, minlength=len(study.samples))
    lacking = (counts != len(each)) & ~(study.bad_input | study.bad_output | study.one_class)
    files.refuse(lacking, "samples", f"{len(each)} items of each that has no problem", counts)


def item_ids(table: NDArray[np.int64]) -> list[str]:
    """Return the names of items, rows (sample, order, state, mosaic).

    Returns
    -------
    list of str
        ``7-original``, ``7-lerf-3`` and ``7-morf-3`` (state 3 of that order) or ``7-mosaic-0``,
        7 being the data-set index of the sample.
    """
    names = []
    for sample, order, state, mosaic in table.tolist():
        made = f"mosaic-{mosaic}" if mosaic != NONE else f"{('lerf', 'morf')[order]}-{state}"
        names.append(f"{sample}-{made if state else 'original'}")
    return names
