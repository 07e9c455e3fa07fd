"""The files of a probe set, version 1.

A probe set is a folder with ``manifest.json`` and ``.npy`` files, or an ``.npz`` file, which is a
zip of the same. ``.npy`` is NumPy's format: a short text header, then the values. All files are
little-endian, in C order, and hold no Python objects.

``manifest.json`` is an object with these fields:

=================  ================================================================================
``format``         ``"gae-probe"``
``version``        ``1``; readers refuse others
``metric``         ``"GAE"``, ``"LocalConsistency"``, ``"LocalRobustness"``,
                   ``"LocalFaithfulness"`` or ``"Contrastiveness"``
``input_shape``    shape of one input: ``[C, H, W]``, ``[C, D, H, W]``, ``[C, L]``, ``[L]`` or
                   ``[F]``
``dataset_size``   number of samples N of the data set
``steps``          number of states T of the masking trajectory; null for Contrastiveness
``n_mosaics``      number of mosaics K of each scored sample; 0 where there are none
``protocol``       ``"paper"`` or ``"repository"``
``names``          N names of the samples, such as their files, or null
``settings``       object: how the probe set was made; for people, not read
``shards``         list of objects: ``samples`` (r) and ``items`` (n), their numbers, and
                   ``arrays`` and ``sha256``, from the names of arrays to the names of files and to
                   the SHA-256 of what these hold, which readers compare
=================  ================================================================================

Each shard holds whole samples, in ascending order from shard to shard, in these arrays:

==================  =========  ===============  ===================================================
``inputs``          float32    (n, *shape)      what must be explained, as the model takes it: the
                                                model's own preprocessing is applied
``targets``         int64      (n,)             class that must be explained
``items``           int64      (n, 4)           which item it is: sample (its index in the data
                                                set), order (0 LeRF, 1 MoRF, or -1), state (0 the
                                                original, t the t-th perturbed one, -1 a mosaic),
                                                mosaic (or -1)
``samples``         int64      (r,)             indices of the scored samples, ascending
``sample_targets``  int64      (r,)             their classes
``problems``        uint8      (r,)             1: features are not finite; 2: the model's outputs
                                                are not finite; 3: no sample of another class is in
                                                the mosaic; else 0. Such samples score NaN
``outputs``         float64    (r, 2, T)        target's outputs along LeRF and MoRF; with ``steps``
``impact_sign``     int8       (r, *shape)      sign of the impact map I_c; with ``steps``
``quadrants``       float64    (r, K, 4)        S in the mosaics' quadrants; with ``n_mosaics``
==================  =========  ===============  ===================================================

A tool needs ``inputs``, ``targets`` and, to name its maps, ``items``; the rest is for the scores.
An item's name is ``7-original``, ``7-lerf-3``, ``7-morf-3`` or ``7-mosaic-0``, 7 being the sample
and 3 the state.

What a tool returns is an ``.npz`` file or a folder of ``.npy`` files, with

- one array ``maps``, (all items, ...), in the order of the shards and their rows; or
- arrays ``maps-00000``, ``maps-00001``, ... (n, ...), one for each shard; or
- an array for each item, named after it: ``7-original`` (``7-original.npy`` in a folder), ....

The map of one item has the shape of an input, of an input with one channel, or of one channel
without its axis; all maps of a set have the same. Any real or integer type will do. float64 is
scored in float64, all others in float32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from gae_metric import metrics
from gae_metric.errors import short
from gae_metric.functional.masking import MAX_STEPS
from gae_metric.metrics.attribution_metric import AttributionMetric
from gae_metric.probe.storage import FILE_NAME, ProbeError
from gae_metric.study.mosaicking import Protocol

FORMAT = "gae-probe"
VERSION = 1

METRICS: dict[str, type[AttributionMetric]] = {
    name: getattr(metrics, name) for name in metrics.__all__
}
"""Metrics that a probe set can be made for."""

OF_ITEMS = frozenset({"inputs", "targets", "items"})
"""Arrays with a row for each item; the others have one for each sample."""

#: More than any data set has, and few enough for 64-bit arithmetic.
_MOST = 1 << 40


@dataclass(frozen=True)
class Shard:
    """A group of samples and the files that hold them."""

    samples: int
    items: int
    #: From the names of arrays to the names of files, and to their SHA-256.
    arrays: Mapping[str, str]
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """What a probe set says of itself; see the module for the fields."""

    metric: str
    input_shape: tuple[int, ...]
    dataset_size: int
    steps: int | None
    n_mosaics: int
    protocol: Protocol
    names: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shards: tuple[Shard, ...] = ()

    def arrays(self, samples: int, items: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the dtype and shape of each array of a shard."""
        expected: dict[str, tuple[str, tuple[int, ...]]] = {
            "targets": ("<i8", (items,)),
            "items": ("<i8", (items, 4)),
            "samples": ("<i8", (samples,)),
            "sample_targets": ("<i8", (samples,)),
            "problems": ("|u1", (samples,)),
        }
        if self.steps is not None:
            expected["outputs"] = ("<f8", (samples, 2, self.steps))
            expected["impact_sign"] = ("|i1", (samples, *self.input_shape))
        if self.n_mosaics:
            expected["quadrants"] = ("<f8", (samples, self.n_mosaics, 4))
        expected["inputs"] = ("<f4", (items, *self.input_shape))
        return expected

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: bytes, source: str) -> Manifest:
        """Read and check ``manifest.json``.

        Parameters
        ----------
        text
            What the file holds.
        source
            Its name, for errors.

        Raises
        ------
        ProbeError
            If it is not as described; the message names the field, what was expected and what
            came.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProbeError(f"{source}: expected JSON: {error}") from error
        read = _Fields(source, "", fields)
        read.exactly("format", FORMAT)
        read.exactly("version", VERSION)
        metric = read.one_of("metric", METRICS)
        kind, of = METRICS[metric], f" for {metric}"
        steps = (
            read.integer("steps", 2, MAX_STEPS) if kind.masks else read.exactly("steps", None, of)
        )
        mosaics = read.integer("n_mosaics") if kind.contrasts else read.exactly("n_mosaics", 0, of)
        shape = read("input_shape", "one to four positive integers", _sides)
        protocol = read.one_of("protocol", get_args(Protocol))
        size = read.integer("dataset_size")
        names = read("names", f"{size} texts or null", lambda v: v is None or _texts(v, size))
        named = None if names is None else tuple(names)
        settings, listed = read.kind("settings", dict), read.kind("shards", list)
        manifest = cls(metric, tuple(shape), size, steps, mosaics, protocol, named, settings)
        shards = [manifest._shard(_Fields(source, f"shards[{i}]", s)) for i, s in enumerate(listed)]
        return replace(manifest, shards=tuple(shards))

    def _shard(self, read: _Fields) -> Shard:
        samples, items = read.integer("samples"), read.integer("items", 0)
        arrays, digests = read.kind("arrays", dict), read.kind("sha256", dict)
        files = _Fields(read.source, f"{read.where}.arrays", arrays)
        sums = _Fields(read.source, f"{read.where}.sha256", digests)
        file = "the plain name of an .npy file in this folder"
        for name in self.arrays(samples, items):
            files(name, file, lambda value: _text(value) and bool(FILE_NAME.fullmatch(value)))
            sums(name, "64 digits", lambda value: _text(value) and len(value) == 64)
        return Shard(samples, items, arrays, digests)


class _Fields:
    """Reads and checks the fields of a JSON object."""

    def __init__(self, source: str, where: str, fields: Any) -> None:
        self.source, self.where = source, where
        if not isinstance(fields, dict):
            raise ProbeError(f"{source}: {where or 'top'}: expected an object, got {short(fields)}")
        self._fields = fields

    def __call__(self, name: str, expected: str, valid: Callable[[Any], bool]) -> Any:
        full = f"{self.where}.{name}" if self.where else name
        if name not in self._fields:
            raise ProbeError(f"{self.source}: {full}: expected {expected}, found no such field")
        value = self._fields[name]
        if not valid(value):
            raise ProbeError(f"{self.source}: {full}: expected {expected}, got {short(value)}")
        return value

    def exactly(self, name: str, wanted: Any, of: str = "") -> Any:
        """Read a field that has one value only."""
        expected = json.dumps(wanted) + of
        return self(name, expected, lambda v: type(v) is type(wanted) and v == wanted)

    def integer(self, name: str, low: int = 1, high: int = _MOST) -> Any:
        """Read an integer within limits."""
        usual = {(1, _MOST): "a positive integer", (0, _MOST): "a non-negative integer"}
        expected = usual.get((low, high), f"an integer from {low} to {high}")
        return self(name, expected, lambda value: _integer(value, low, high))

    def one_of(self, name: str, choices: Iterable[str]) -> Any:
        """Read one of some texts."""
        known = list(choices)
        return self(name, f"one of {', '.join(known)}", lambda v: _text(v) and v in known)

    def kind(self, name: str, kind: type) -> Any:
        """Read an object or a list."""
        expected = "an object" if kind is dict else "a list"
        return self(name, expected, lambda value: isinstance(value, kind))


def _integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _sides(value: Any) -> bool:
    few = isinstance(value, list) and 1 <= len(value) <= 4
    return few and all(_integer(side, 1, _MOST) for side in value)


def _texts(value: Any, count: int) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(value) == count


def _text(value: Any) -> bool:
    # A lone surrogate is no character, and no file of scores could name it.
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
