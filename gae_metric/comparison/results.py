"""Scores of an evaluation, and scores in any other form, as one table per model and metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abslrp.arrays import as_numbers
from gae_metric._names import NO_SCORES, Better
from gae_metric.explainers.grad_cam import NotApplicableError

__all__ = ["Better", "Cell", "Failure", "Results"]


@dataclass(frozen=True)
class Failure:
    """A method, or one metric of it, that gave no scores."""

    method: str
    #: None where the method itself failed.
    metric: str | None
    error: BaseException

    @property
    def expected(self) -> bool:
        """Whether the method just does not apply to the model."""
        return isinstance(self.error, NotApplicableError)

    def __str__(self) -> str:
        """Say what failed, and why."""
        if isinstance(self.error, NotApplicableError):
            return f"{self.method}: {self.error.reason}"
        what = self.method if self.metric is None else f"{self.metric} of {self.method}"
        kind = "" if isinstance(self.error, ValueError) else f"{type(self.error).__name__}: "
        return f"{what}: {kind}{self.error}"


@dataclass
class Cell:
    """What one method has by one metric."""

    #: Scores (N,), NaN where there is none.
    scores: NDArray[np.float64]
    #: Wall time.
    seconds: float = 0.0
    #: Warnings.
    notes: list[str] = field(default_factory=list)
    #: GAE's parts and curves, and the mosaics of GAE and C, as in :class:`Results`.
    components: pd.DataFrame | None = None
    curves: dict[str, NDArray[Any]] | None = None
    mosaics: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    error: BaseException | None = None


@dataclass
class Results:
    """Scores by method, metric and sample."""

    #: Methods in the order of the tables.
    methods: tuple[str, ...]
    #: Which way each metric is read, in the order of the tables.
    metrics: Mapping[str, Better]
    #: Explained classes (N,).
    targets: NDArray[np.int64]
    #: Scores (N,) by (method, metric), NaN where there is none.
    scores: dict[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)
    #: Wall time by (method, metric).
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    #: GAE's parts and curves (``metric.components`` and ``metric.curves``) by method.
    components: dict[str, pd.DataFrame] = field(default_factory=dict)
    curves: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)
    #: Mosaics of GAE or Contrastiveness, the same for every method: the samples in their quadrants,
    #: (N, 4), and the quadrants of the positives, (N,). None where neither was computed.
    mosaics: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    failures: list[Failure] = field(default_factory=list)
    #: Warnings: their text, and the methods and metrics that gave them.
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, method: str, metric: str, cell: Cell) -> None:
        """Take a cell in."""
        self.scores[method, metric], self.seconds[method, metric] = cell.scores, cell.seconds
        if cell.components is not None and cell.curves is not None:
            self.components.setdefault(method, cell.components)
            self.curves.setdefault(method, cell.curves)
        self.mosaics = self.mosaics or cell.mosaics
        for note in cell.notes:
            self.notes.setdefault(note, []).append(f"{method}, {metric}")
        if cell.error is not None:
            self.failures.append(Failure(method, metric, cell.error))

    def table(self) -> pd.DataFrame:
        """Return scores in long form: method, metric, sample, target, score."""
        rows = [
            (method, metric, sample, target, score)
            for (method, metric), values in self.scores.items()
            for sample, (target, score) in enumerate(zip(self.targets, values, strict=True))
        ]
        return pd.DataFrame(rows, columns=["method", "metric", "sample", "target", "score"])


#: What :func:`gae_metric.compare` takes.
Scores: TypeAlias = "Results | pd.DataFrame | Mapping[str, Any]"

_LONG = ("method", "metric", "score")
#: What tells samples apart in a method's own table: files first, as several runs count them anew.
_LABELS = ("file", "sample")


class ScoreTable(NamedTuple):
    """Scores of all methods by one metric, on one model.

    Attributes
    ----------
    model
        Its name, or None where the scores name no models.
    metric
        Its name.
    scores
        float64, one row per sample and one column per method in the order they came in; NaN where
        there is no score, or an infinite one.
    """

    model: str | None
    metric: str
    scores: pd.DataFrame


#: Model, metric, method and scores by sample, and whether samples are named or just in some order.
_Cell: TypeAlias = "tuple[str | None, str, str, pd.Series[float], bool]"


def read_score_tables(results: Scores) -> list[ScoreTable]:
    """Read scores.

    Parameters
    ----------
    results
        See :func:`gae_metric.compare`.

    Returns
    -------
    list of ScoreTable
        By model and metric, in the order in which they came.

    Raises
    ------
    ValueError
        If the scores are in none of the forms, two methods' scores cannot be paired, or a sample
        has two scores.

    Examples
    --------
    >>> (block,) = read_score_tables({"A": {"GAE": [0.5, 1.0]}, "B": {"GAE": [0.0, float("nan")]}})
    >>> block.metric, block.scores["B"].tolist()
    ('GAE', [0.0, nan])
    """
    if isinstance(results, Results):
        table = results.table()
        results = table[table["metric"].isin(list(results.metrics))]
    if isinstance(results, pd.DataFrame) and set(_LONG) <= set(results.columns):
        return _joined(_of_rows(results))
    if isinstance(results, pd.DataFrame):
        if not (results.size and results.map(pd.api.types.is_list_like).to_numpy().all()):
            raise ValueError(
                f"results: expected the columns {', '.join(_LONG)}, got "
                f"{', '.join(map(str, results.columns)) or 'none'}"
            )
        # What quantus.evaluate gives with return_as_df: methods by metrics, lists in the cells.
        return _joined(_of_methods((m, cells.to_dict()) for m, cells in results.items()))
    if isinstance(results, Mapping):
        return _joined(_of_methods(results.items()))
    raise ValueError(
        "results: expected what quantus.evaluate returns ({method: {metric: scores}}), a "
        f"gae_metric Results or a table, got {type(results).__name__}"
    )


def _of_rows(table: pd.DataFrame) -> Iterator[_Cell]:
    by = [name for name in ("model", "metric", "method") if name in table]
    names = [name for name in ("sample", "file") if name in table][:1]
    for name in [*by, *names]:
        # A grouping would leave them out without a word.
        if unnamed := int(table[name].isna().sum()):
            raise ValueError(f"results: expected a {name} in every row, {unnamed} have none")
    if {"file", "sample"} <= {*table}:  # numbers that runs on different images have given anew
        files = table.groupby([*by[:-1], "sample"], sort=False)["file"].unique()
        for one, other, *_ in files[files.map(len) > 1]:
            raise ValueError(
                f"results: expected one file of each sample, got {one!r} and {other!r} of one; "
                "without the column sample scores are paired by file"
            )
    for key, rows in table.groupby(by, sort=False):
        *model, metric, method = map(str, key)
        where = ", ".join(["results: " + method, metric, *model])
        column = _column(rows["score"], rows[names[0]] if names else None, where)
        yield (*model, None)[0], metric, method, column, bool(names)


def _of_methods(results: Iterable[tuple[Any, Any]]) -> Iterator[_Cell]:
    for method, given in results:
        table: Any = given if isinstance(given, (Mapping, pd.DataFrame)) else {"score": given}
        if isinstance(given, pd.DataFrame):
            if names := [name for name in _LABELS if name in given]:
                label = next((name for name in names if given[name].is_unique), names[0])
                table = given.set_index(label)
            table = table.drop(columns=list(NO_SCORES), errors="ignore")
        for metric, values in table.items():
            index = values.index if isinstance(values, pd.Series) else None
            column = _column(values, index, f"results[{method!r}][{metric!r}]")
            yield None, str(metric), str(method), column, index is not None


def _column(values: Any, index: Any, where: str) -> pd.Series[float]:
    """Check one cell's scores: float64, NaN where there is no finite one."""
    expected = f"{where}: expected one score per sample"
    if isinstance(values, Mapping):
        # quantus.ROAD 0.6.0 returns accuracies by percentage; several call_kwargs add a level.
        raise ValueError(f"{expected}, got a mapping with the keys {', '.join(map(str, values))}")
    scores = as_numbers(values, where, "one score per sample")
    if scores.ndim != 1:
        raise ValueError(f"{expected}, got shape {scores.shape}")
    column: pd.Series[float] = pd.Series(np.where(np.isfinite(scores), scores, np.nan), index)
    if not column.index.is_unique:
        twice = column.index[column.index.duplicated()][0]
        raise ValueError(f"{expected}, got several of sample {twice}")
    return column


def _joined(cells: Iterable[_Cell]) -> list[ScoreTable]:
    """Put cells side by side; beside samples without names there must be as many of each method."""
    tables: dict[tuple[str | None, str], dict[str, pd.Series[float]]] = {}
    listed: dict[tuple[str | None, str], str] = {}
    for model, metric, method, column, named in cells:
        columns = tables.setdefault((model, metric), {})
        if method in columns:
            raise ValueError(f"results: expected different methods, got two that are {method!r}")
        columns[method] = column
        if not named:
            listed[model, metric] = method
    for key, columns in tables.items():
        metric, other = key[1], listed.get(key)
        labels = {method: column.index.tolist() for method, column in columns.items()}
        for method, of in labels.items():
            if key in listed and {*of} != {*range(len(of))}:  # places in a list are no labels
                raise ValueError(
                    f"results: expected {metric} with labels of the samples for each method or for "
                    f"none, got them for {method}, the first of which is {of[0]!r}, and not for "
                    f"{other}; give {other} as a Series with the same index"
                )
        if key in listed and len(set(map(len, labels.values()))) > 1:
            counts = ", ".join(f"{method} {len(of)}" for method, of in labels.items())
            raise ValueError(
                f"results: scores are paired by sample, so {metric} needs as many of each method, "
                f"got {counts}; a table with the column sample pairs what both have"
            )
        methods_of = Counter(sample for of in labels.values() for sample in of)
        for method, of in labels.items():
            shared = any(methods_of[sample] > 1 for sample in of)
            if not shared and 0 < len(of) < methods_of.total():
                raise ValueError(
                    f"results: scores are paired by sample, and {metric} of {method} has no sample "
                    f"in common with other methods: {of[0]!r} is none of theirs"
                )
    return [ScoreTable(*key, pd.concat(columns, axis=1)) for key, columns in tables.items()]
