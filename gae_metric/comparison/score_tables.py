"""Read scores, in whichever form they come, as one table per model and metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from gae_metric._names import NO_SCORES
from gae_metric.comparison.results import Results

#: What :func:`gae_metric.compare` takes.
Scores: TypeAlias = "Results | pd.DataFrame | Mapping[str, Any]"

_LONG = ("method", "metric", "score")


@dataclass(frozen=True, eq=False)
class ScoreTable:
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

    @property
    def methods(self) -> list[str]:
        """Names of the methods."""
        return [str(name) for name in self.scores.columns]


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
        scores = results.scores
        return _from_mapping(
            {
                method: {m: scores[method, m] for m in results.metrics if (method, m) in scores}
                for method in results.methods
            }
        )
    if isinstance(results, pd.DataFrame):
        if set(_LONG) <= set(results.columns):
            return _from_long(results)
        if results.size and results.map(pd.api.types.is_list_like).to_numpy().all():
            # What quantus.evaluate gives with return_as_df: methods by metrics, lists in the cells.
            return _from_mapping({str(name): column.to_dict() for name, column in results.items()})
        raise ValueError(
            f"results: expected the columns {', '.join(_LONG)}, got "
            f"{', '.join(map(str, results.columns)) or 'none'}"
        )
    if isinstance(results, Mapping):
        return _from_mapping(results)
    raise ValueError(
        "results: expected what quantus.evaluate returns ({method: {metric: scores}}), a "
        f"gae_metric Results or a table, got {type(results).__name__}"
    )


def _from_long(table: pd.DataFrame) -> list[ScoreTable]:
    by = [name for name in ("model", "metric") if name in table.columns]
    for name in [*by, "method", *(["sample"] if "sample" in table else [])]:
        # A grouping would leave them out without a word.
        if unnamed := int(table[name].isna().sum()):
            raise ValueError(f"results: expected a {name} in every row, {unnamed} have none")
    blocks = []
    for key, rows in table.groupby(by, sort=False):
        model, metric = key if len(by) == 2 else (None, key[0])
        columns: dict[str, pd.Series[float]] = {}
        for method, cell in rows.groupby("method", sort=False):
            where = f"results: {method}, {metric}" + ("" if model is None else f", {model}")
            values = cell["score"].to_numpy()
            index = cell["sample"].to_numpy() if "sample" in table else np.arange(len(values))
            columns[str(method)] = _column(values, index, where)
        blocks.append(
            _block(None if model is None else str(model), str(metric), columns, "sample" in table)
        )
    return blocks


def _from_mapping(results: Mapping[str, Any]) -> list[ScoreTable]:
    by_metric: dict[str, dict[str, pd.Series[float]]] = {}
    numbered = True
    for method, given in results.items():
        if isinstance(given, pd.DataFrame):  # a metric's components
            numbered = False
            scores = given.drop(columns=list(NO_SCORES), errors="ignore")
            cells: Iterable[tuple[Any, Any]] = scores.items()
        elif isinstance(given, Mapping):
            cells = given.items()
        else:
            cells = [("score", given)]
        for metric, values in cells:
            where = f"results[{method!r}][{metric!r}]"
            index = values.index if isinstance(values, pd.Series) else None
            by_metric.setdefault(str(metric), {})[str(method)] = _column(values, index, where)
    return [_block(None, metric, columns, not numbered) for metric, columns in by_metric.items()]


def _column(values: Any, index: Any, where: str) -> pd.Series[float]:
    """Scores of one method by one metric."""
    expected = f"{where}: expected one score per sample"
    if isinstance(values, Mapping):
        # quantus.ROAD 0.6.0 returns accuracies by percentage; several call_kwargs add a level.
        raise ValueError(f"{expected}, got a mapping with the keys {', '.join(map(str, values))}")
    try:
        scores = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{expected}, got {type(values).__name__}") from None
    if scores.ndim != 1:
        raise ValueError(f"{expected}, got shape {scores.shape}")
    column: pd.Series[float] = pd.Series(np.where(np.isfinite(scores), scores, np.nan), index)
    if not column.index.is_unique:
        twice = column.index[column.index.duplicated()][0]
        raise ValueError(f"{expected}, got several of sample {twice}")
    return column


def _block(
    model: str | None, metric: str, columns: Mapping[str, pd.Series[float]], named: bool
) -> ScoreTable:
    """Put methods side by side; samples that are only counted must be as many in each."""
    lengths = {method: len(column) for method, column in columns.items()}
    if not named and len(set(lengths.values())) > 1:
        counts = ", ".join(f"{method} {count}" for method, count in lengths.items())
        raise ValueError(
            f"results: scores are paired by sample, so {metric} needs as many of each method, got "
            f"{counts}; a table with the column sample pairs what both have"
        )
    frame = pd.concat(columns, axis=1, join="outer") if columns else pd.DataFrame()
    return ScoreTable(model, metric, frame)
