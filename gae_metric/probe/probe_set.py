"""Probe sets: everything that must be explained, for tools that explain elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from abslrp.outputs import Output
from gae_metric.errors import check_integer, lookup, warn
from gae_metric.functional import Interpolation, MaskValue, MosaicPlan, Schedule
from gae_metric.metrics.attribution_metric import Targets, named, oddities
from gae_metric.probe.format import METRICS, Manifest
from gae_metric.probe.returned_maps import MapSet, read_maps
from gae_metric.probe.storage import Container, ProbeError, open_container
from gae_metric.probe.study_from_files import Prepared, item_ids, recorded
from gae_metric.probe.writing import evaluated, write
from gae_metric.study.mosaicking import Protocol
from gae_metric.study.scoring import Scorer
from gae_metric.study.study import Study

#: Bytes of maps that are scored at a time, or one map.
_CHUNK = 1 << 28


class ProbeSet:
    """All inputs that must be explained for a metric, and all that is needed to score the maps.

    :meth:`build` makes it from a model and samples, and :meth:`load` reads it from files. From then
    on neither the model nor the samples are needed.

    Attributes
    ----------
    metric : str
        Whose scores it gives.
    input_shape : tuple of int
        Shape of one input.
    names : tuple of str or None
        Names of the samples of the data set.
    settings : dict
        How it was made.
    samples : ndarray
        Data-set indices of the scored samples, int64 (R,).
    sample_targets : ndarray
        Their classes, int64 (R,).
    ids : list of str
        Names of the items, in order: ``7-original``, ``7-lerf-3``, ``7-morf-3``, ``7-mosaic-0``,
        7 being the data-set index of the sample and 3 the state.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gae_metric import ProbeSet
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5)).eval()
    >>> x = np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32)
    >>> probe = ProbeSet.build(model, x, [0, 1, 2, 3], steps=3)
    >>> len(probe), probe.ids[:6]
    (24, ['0-original', '0-lerf-1', '0-lerf-2', '0-morf-1', '0-morf-2', '0-mosaic-0'])
    >>> maps = {}
    >>> for ids, inputs, targets in probe.explain_items():
    ...     maps.update(zip(ids, np.abs(inputs)))
    >>> probe.score(maps, disable_warnings=True).shape
    (4, 5)
    """

    def __init__(self, source: Prepared, container: Container | None = None) -> None:
        self._source, self._container = source, container
        self._manifest = manifest = source.manifest
        self.metric = manifest.metric
        self.input_shape = manifest.input_shape
        self.names = manifest.names
        self.settings = dict(manifest.settings)
        self.samples = source.samples
        self.sample_targets = source.sample_targets
        self.ids = item_ids(source.table)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        samples = f"{len(self.samples)} samples of shape {self.input_shape}"
        return f"<ProbeSet: {self.metric}, {samples}, {len(self)} items>"

    def __reduce__(self) -> Any:
        """Have copies, also in other processes, open the files themselves."""
        files = self._container
        return super().__reduce__() if files is None else (ProbeSet.load, (files.path,))

    @property
    def items(self) -> pd.DataFrame:
        """Sample, order (0 LeRF, 1 MoRF), state, mosaic and target of each item, by its name.

        -1 stands for what does not apply.
        """
        columns = ["sample", "order", "state", "mosaic"]
        frame: pd.DataFrame = pd.DataFrame(self._source.table, pd.Index(self.ids), columns)
        frame.insert(4, "target", self._source.targets)
        return frame

    @classmethod
    def build(
        cls,
        model: nn.Module,
        x_batch: ArrayLike | Tensor,
        y_batch: ArrayLike | Tensor | None = None,
        *,
        metric: str = "GAE",
        steps: int = 10,
        schedule: Schedule = "reranked",
        seed: int = 0,
        mosaics: MosaicPlan | Sequence[MosaicPlan] | None = None,
        n_mosaics: int = 1,
        mask_value: MaskValue = 0.0,
        interpolation: Interpolation = "nearest",
        protocol: Protocol = "paper",
        targets: Targets = "y_batch",
        output: Output = None,
        channel_first: bool | None = None,
        model_predict_kwargs: Mapping[str, Any] | None = None,
        batch_size: int = 64,
        device: str | torch.device | None = None,
        names: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
        display_progressbar: bool = False,
    ) -> ProbeSet:
        """Evaluate a model, and prepare all inputs that must be explained.

        Parameters
        ----------
        model, x_batch, y_batch, channel_first, model_predict_kwargs, batch_size, device
            As in a call of :class:`gae_metric.GAE`. ``x_batch`` is not copied: leave it as it is
            while the probe set is used; a sample that is another one is refused.
        metric
            ``"GAE"`` (default), ``"LocalConsistency"`` (images, time series and tabular data),
            ``"LocalRobustness"``, ``"LocalFaithfulness"`` or ``"Contrastiveness"``.
        steps, schedule, seed, mosaics, n_mosaics, mask_value, interpolation, protocol
            As in the metric; those that it does not have are not used.
        targets, output
            As in the metric.
        names
            Names of the N samples, such as their files, to be kept with the probe set.
        settings
            More to be kept with the probe set, for people to read: texts and numbers.
        progress
            Called with the numbers of samples done and wanted.
        display_progressbar
            Whether to show the progress of the model's work.

        Returns
        -------
        ProbeSet
            Its inputs are made when they are asked for.

        Raises
        ------
        ValueError
            If an argument is not as described; see :class:`gae_metric.GAE`.

        Notes
        -----
        Cost per sample: at most 2T-1 input gradients of the model (T = 10: 19), and 3 bytes of
        memory per feature beside ``x_batch``.

        Examples
        --------
        >>> from gae_metric.demo import digits, networks
        >>> x, y = digits.load("test", n=4)
        >>> ProbeSet.build(networks.load("vgg"), x, y, metric="Contrastiveness")
        <ProbeSet: Contrastiveness, 4 samples of shape (3, 48, 48), 4 items>
        """
        given = locals()
        _, kind = lookup("metric", metric, METRICS)
        # Its bar is for explaining, and the one here for the model's work.
        own = (key for key in signature(kind).parameters if key != "display_progressbar")
        options = {key: given[key] for key in own if key in given}
        asked = kind(**options)
        call = ("channel_first", "device", "batch_size", "model_predict_kwargs")
        data = asked.checked_data(model, x_batch, y_batch, **{key: given[key] for key in call})
        if names is not None and (isinstance(names, str) or len(names) != len(data)):
            got = repr(names) if isinstance(names, str) else len(names)
            raise ValueError(f"names: expected {len(data)}, one of each sample, got {got}")
        noted = {k: v for k, v in options.items() if k != "mosaics"} | dict(settings or {})
        return cls(evaluated(asked, data, names, noted, progress, display_progressbar))

    def explain_items(
        self, batch_size: int = 64
    ) -> Iterator[tuple[list[str], NDArray[np.float32], NDArray[np.int64]]]:
        """Iterate over the inputs that must be explained, some at a time.

        Parameters
        ----------
        batch_size
            Items at a time.

        Yields
        ------
        tuple
            Names of the items; inputs, float32 (n, C, ...), as the model takes them; classes, int64
            (n,). Inputs are float32 whatever the model computes in, as they are in files.

        Notes
        -----
        Cost: no model evaluation here; the explainer's own for each of the items, which are
        2T - 1 + K a sample (20 with the defaults of GAE).

        Examples
        --------
        >>> from gae_metric.demo import digits, networks
        >>> x, y = digits.load("test", n=4)
        >>> probe = ProbeSet.build(networks.load("vgg"), x, y, metric="Contrastiveness")
        >>> [(ids[0], inputs.shape) for ids, inputs, targets in probe.explain_items(3)]
        [('0-mosaic-0', (3, 3, 48, 48)), ('3-mosaic-0', (1, 3, 48, 48))]
        """
        check_integer("batch_size", batch_size, kind=ProbeError)
        for start in range(0, len(self), batch_size):
            stop = min(start + batch_size, len(self))
            ids = self.ids[start:stop]
            inputs = self._source.rows("inputs", start, stop)
            yield ids, inputs, self._source.targets[start:stop].copy()

    def score(
        self, maps: Any, *, batch_size: int = 64, disable_warnings: bool = False
    ) -> pd.DataFrame:
        """Score maps of all items.

        Parameters
        ----------
        maps
            One map per item, of the shape of an input, of an input with one channel, or of one
            channel without its axis; the positive part counts. Either

            - an array or a sequence in the order of the items;
            - a mapping from names of items;
            - an iterable of chunks ``(names, maps)`` in the order of :meth:`explain_items`, such as
              a generator, so that no more than a chunk is in memory;
            - the path of an ``.npz`` file or of a folder, see :mod:`gae_metric.probe.format`.
        batch_size
            Maps at a time; fewer where inputs are so large that they take more than 256 MB. Does
            not change scores.
        disable_warnings
            Whether not to warn.

        Returns
        -------
        pandas.DataFrame
            The scores of the metric's ``components``: one row per scored sample, indexed by its
            place in the data set.

        Raises
        ------
        ProbeError
            If maps are missing, left over, or of a wrong shape or type; it names the items.

        Warns
        -----
        RuntimeWarning
            If maps are not finite, by item, and as the metric does: samples whose score is NaN,
            maps without a positive value, outputs that are not positive.

        Notes
        -----
        Cost: no model evaluation; each map is read once.

        Examples
        --------
        >>> from gae_metric.demo import digits, networks
        >>> x, y = digits.load("test", n=4)
        >>> probe = ProbeSet.build(networks.load("vgg"), x, y, metric="Contrastiveness")
        >>> maps = [abs(inputs) for _, inputs, _ in probe.explain_items()]
        >>> probe.score(maps[0]).columns.tolist()
        ['contrastiveness']
        """
        check_integer("batch_size", batch_size, kind=ProbeError)
        most = max(1, _CHUNK // (4 * math.prod(self.input_shape)))
        # It has all that is looked at of a study.
        study = cast(Study, self._source)
        scorer = Scorer(study)
        odd: list[str] = []
        for start, given in read_maps(maps, self._expected(), min(batch_size, most)):
            items = self._source.items[start : start + len(given)]
            # Its first sample may have begun in the chunk before.
            scorer.forget(int(items.row[0]))
            scorer.add(items, given)
            finite = given.isfinite().flatten(1).all(1).numpy()
            odd += [self.ids[start + i] for i in np.flatnonzero(~finite)]
        frame = scorer.components(METRICS[self.metric].columns)
        if disable_warnings:
            return frame
        if odd:
            warn(
                f"maps: {len(odd)} have values that are not finite, so that their samples' "
                f"scores are NaN: {named(odd, 5)}"
            )
        for oddity in oddities(self.metric, study, scorer, frame):
            warn(oddity)
        return frame

    def save(self, path: str | Path, *, shard_bytes: int = 1 << 28) -> None:
        """Write the probe set for other processes and tools; :mod:`gae_metric.probe.format`.

        Parameters
        ----------
        path
            An ``.npz`` file, which is replaced if there is one, or a folder, which must be new or
            empty.
        shard_bytes
            Bytes of inputs in each shard of a folder, or one sample's; default 256 MiB. Shards are
            written as they are made.

        Raises
        ------
        ProbeError
            If ``path`` is another file or a folder with files in it.

        Notes
        -----
        Cost: no model evaluation. An item takes 4 bytes per feature on disk.

        Examples
        --------
        >>> import tempfile
        >>> from gae_metric.demo import digits, networks
        >>> x, y = digits.load("test", n=4)
        >>> probe = ProbeSet.build(networks.load("vgg"), x, y, metric="Contrastiveness")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     probe.save(f"{folder}/probe.npz")
        ...     len(ProbeSet.load(f"{folder}/probe.npz"))
        4
        """
        check_integer("shard_bytes", shard_bytes, kind=ProbeError)
        written = write(self._source, Path(path), shard_bytes)
        if self._container is None:
            # Maps may come by the shards that were written.
            self._manifest, self._container = written, open_container(path, "probe")

    @classmethod
    def load(cls, path: str | Path) -> ProbeSet:
        """Read a probe set that was saved.

        Inputs stay in the files until they are asked for; scoring does not read them.

        Parameters
        ----------
        path
            The ``.npz`` file or the folder.

        Returns
        -------
        ProbeSet
            It needs neither the model nor the samples. The files must stay where they are. Several
            threads and processes may use it at the same time.

        Raises
        ------
        ProbeError
            If it is not a whole probe set of version 1; the message names the field, what was
            expected and what came.

        Notes
        -----
        Cost: no model evaluation; see :meth:`save` for an example.
        """
        container = open_container(path, "probe")
        manifest = Manifest.from_json(container.manifest(), f"{path}, manifest.json")
        return cls(recorded(container, manifest), container)

    def _expected(self) -> MapSet:
        shards = self._manifest.shards
        own = Path() if self._container is None else self._container.path.resolve()
        files = frozenset(own / file for shard in shards for file in shard.arrays.values())
        counts = [shard.items for shard in shards] or [len(self)]
        return MapSet(self.ids, self.input_shape, counts, files)
