"""Several methods and metrics on one model: what the commands run."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from gae_metric._names import DIRECTIONS
from gae_metric.commands.cells import Cells
from gae_metric.commands.named_metrics import METRICS, Settings, scored
from gae_metric.commands.tables import Inputs
from gae_metric.comparison.results import Cell, Failure, Results
from gae_metric.errors import EvaluationError
from gae_metric.explainers.gradients import ExplainFunc, random_map
from gae_metric.metrics.attribution_metric import AttributionMetric
from gae_metric.study.explaining import accepts_tensors

#: Called with what is computed, and the seconds of work done and planned.
Progress = Callable[[str, float, float], None]

#: Images that the time is estimated on: those of a mosaic.
_TRIED = 4


#: Columns of GAE's components that are other metrics' scores.
_PARTS = {"LC": "local_consistency", "C": "contrastiveness"}


def evaluate(
    inputs: Inputs,
    methods: Mapping[str, ExplainFunc],
    metrics: Sequence[str],
    settings: Settings,
    progress: Progress,
    cells: Cells,
    planned: Callable[[float, int], None],
) -> Results:
    """Evaluate methods with metrics, one cell of the table after another.

    Parameters
    ----------
    inputs
        A classifier in evaluation mode, images as it takes them, and the classes to explain.
    methods
        Explanation functions by name, at least one.
    metrics
        Keys of :data:`METRICS`, in the order of the tables.
    settings
        Seeds and sizes.
    progress
        Called with what is being computed, and the seconds of work done and planned.
    cells
        Where finished cells are kept, and taken from.
    planned
        Called before the work begins, with the seconds that it will take and the number of cells
        that are finished already.

    Returns
    -------
    Results
        A method that fails, or does not apply to the model, is left out and is in ``failures``; a
        metric that fails gives NaN and is there too. LC and C are taken from GAE's parts where GAE
        is computed: the same numbers at half the cost, and their time is GAE's.

    Raises
    ------
    EvaluationError
        If every method failed; its cause is the first one's error.
    """
    results = Results(
        methods=tuple(methods),
        metrics={name: DIRECTIONS[name] for name in metrics},
        targets=np.asarray(inputs.targets, dtype=np.int64),
    )
    places = [(name, kind) for name in methods for kind in metrics]
    finished = {key: cell for key in places if (cell := cells.get(*key))}
    work = _Work(inputs, settings, progress)
    for name, function in methods.items():
        if left := [kind for kind in metrics if (name, kind) not in finished]:
            try:
                with warnings.catch_warnings():  # of the samples: they are a note of each cell
                    warnings.simplefilter("ignore")
                    work.plan(name, function, left)
            except Exception as error:
                results.failures.append(Failure(name, None, error))
    planned(sum(work.seconds.values()), len(finished))
    for name, kind in places:
        if any(one.method == name and one.metric is None for one in results.failures):
            continue
        cell = finished.get((name, kind)) or work.cell(name, methods[name], kind, results)
        if cell.error is not None and name not in work.maps:  # it fails on the images themselves
            results.failures.append(Failure(name, None, cell.error))
            continue
        if (name, kind) not in finished and cell.error is None:
            cells.put(name, kind, cell)
        results.add(name, kind, cell)
    results.methods = tuple(m for m in methods if any((m, k) in results.scores for k in metrics))
    # A metric that no sample has a score by is no column; a note or a failure says why.
    told = {k for (_, k), scores in results.scores.items() if np.isfinite(scores).any()}
    results.metrics = {k: way for k, way in results.metrics.items() if k in told or not told}
    if not results.methods:
        first = results.failures[0]
        raise EvaluationError(f"no method could be evaluated: {first}") from first.error
    return results


@dataclass
class _Work:
    """Computes cells, and knows how long they take.

    An explanation is what most of the time goes to, so that time is told by counting them.
    """

    inputs: Inputs
    settings: Settings
    progress: Progress
    #: Seconds that each cell takes, and of one explanation by each method.
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    each: dict[str, float] = field(default_factory=dict)
    #: Seconds of work on one image that are a metric's own, whatever the method.
    own: dict[str, float] = field(default_factory=dict)
    done: float = 0.0
    maps: dict[str, Any] = field(default_factory=dict)

    def plan(self, name: str, function: ExplainFunc, kinds: Sequence[str]) -> None:
        """Try a method on an image, so that what cannot work is known before the work begins."""
        model, x, targets = self.inputs.model, self.inputs.x[:_TRIED], self.inputs.targets[:_TRIED]
        # Copies, as a method may overwrite its inputs.
        function(model=model, inputs=x[:1].copy(), targets=targets[:1])
        start = time.perf_counter()
        function(model=model, inputs=x.copy(), targets=targets)
        self.each[name] = (time.perf_counter() - start) / len(x)
        for kind in kinds:
            if kind in _PARTS and "GAE" in kinds:
                continue
            first = kind not in self.own
            if first:
                start = time.perf_counter()
                with suppress(Exception):
                    self._scored(METRICS[kind](self.settings), random_map, x, targets)
                self.own[kind] = (time.perf_counter() - start) / len(x)
            # A masking trajectory is computed for the first method, and the others share it.
            own = self.own[kind] if first or kind not in ("GAE", "LC") else 0.0
            masked = (2 * self.settings.masking.get("steps", 10) - 1) * (kind in ("GAE", "LC"))
            shown = self.settings.mosaicking.get("n_mosaics", 1) * (kind in ("GAE", "C"))
            noisy = self.settings.lipschitz_samples * (kind == "LocalLipschitz")
            explained = max(1, masked + shown + noisy) * self.each[name]
            self.seconds[name, kind] = (explained + own) * len(self.inputs.x)

    def _scored(self, metric: Any, function: Any, x: Any, targets: Any, maps: Any = None) -> Any:
        model, size = self.inputs.model, self.settings.batch_size
        device = str(next(model.parameters()).device)
        return scored(metric, model, x, targets, function, maps, size, device)

    def cell(self, name: str, function: ExplainFunc, kind: str, results: Results) -> Cell:
        """Compute a cell."""
        x, targets = self.inputs.x, self.inputs.targets
        parts = results.components.get(name)
        if parts is not None and (column := _PARTS.get(kind)) in parts:
            return Cell(parts[column].to_numpy())
        what, planned, begun = f"{name}, {kind}", self.seconds.get((name, kind), 0.0), self.done
        total = sum(self.seconds.values())
        self.progress(what, begun, total)

        def counted(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
            maps = function(model=model, inputs=inputs, targets=targets, **kwargs)
            self.done = min(begun + planned, self.done + len(inputs) * self.each[name])
            self.progress(what, self.done, total)
            return maps

        counted.accepts_tensors = accepts_tensors(function)  # type: ignore[attr-defined]
        start = time.perf_counter()
        found = Cell(np.full(len(x), np.nan))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if name not in self.maps:
                    size = self.settings.batch_size
                    maps = function(self.inputs.model, x.copy(), targets, batch_size=size)
                    self.maps = {name: maps}
                # A new metric each time: it must not remember the method before.
                metric = METRICS[kind](self.settings)
                found.scores = self._scored(metric, counted, x, targets, self.maps[name])
                if isinstance(metric, AttributionMetric):  # which may score some samples alone
                    rows, every = metric.components.index, range(len(x))
                    table = metric.components.reindex(every)
                    found.scores = table.iloc[:, -1].to_numpy()
                    if curves := metric.curves.items():
                        found.components = table
                        found.curves = {name: _of_all(curve, rows, every) for name, curve in curves}
                    if metric.mosaic_indices is not None:
                        placed = metric.mosaic_indices[:, 0], metric.mosaic_positive
                        indices, positive = (_of_all(one, rows, every, -1) for one in placed)
                        found.mosaics = indices, positive[:, 0]
            except Exception as error:
                found.error = error
        runtime = (w for w in caught if issubclass(w.category, RuntimeWarning))
        found.notes = list(dict.fromkeys(str(w.message) for w in runtime))
        found.seconds = time.perf_counter() - start
        self.done = begun + planned
        self.progress(what, self.done, total)
        return found


def _of_all(values: Any, rows: Any, every: Any, nothing: float = np.nan) -> NDArray[Any]:
    """Return what the samples of some rows have for every one."""
    return pd.DataFrame(values, rows).reindex(every, fill_value=nothing).to_numpy()
