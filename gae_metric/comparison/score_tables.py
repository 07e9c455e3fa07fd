"""Read scores, in whichever form they come, as one table per model and metric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


#: Model, metric, method and scores by sample.
_Cell: TypeAlias = "tuple[str | None, str, str, pd.Series[float]]"


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
        return _joined(_of_rows(results), "sample" in results)
    if isinstance(results, pd.DataFrame):
        if not (results.size and results.map(pd.api.types.is_list_like).to_numpy().all()):
            raise ValueError(
                f"results: expected the columns {', '.join(_LONG)}, got "
                f"{', '.join(map(str, results.columns)) or 'none'}"
            )
        # What quantus.evaluate gives with return_as_df: methods by metrics, lists in the cells.
        results = {str(method): cells.to_dict() for method, cells in results.items()}
    if isinstance(results, Mapping):
        # A metric's components name their samples.
        named = any(isinstance(given, pd.DataFrame) for given in results.values())
        return _joined(_of_methods(results), named)
    raise ValueError(
        "results: expected what quantus.evaluate returns ({method: {metric: scores}}), a "
        f"gae_metric Results or a table, got {type(results).__name__}"
    )


def _of_rows(table: pd.DataFrame) -> Iterator[_Cell]:
    by = [name for name in ("model", "metric", "method") if name in table]
    for name in [*by, *(["sample"] if "sample" in table else [])]:
        # A grouping would leave them out without a word.
        if unnamed := int(table[name].isna().sum()):
            raise ValueError(f"results: expected a {name} in every row, {unnamed} have none")
    for key, rows in table.groupby(by, sort=False):
        *model, metric, method = map(str, key)
        where = ", ".join(["results: " + method, metric, *model])
        column = _column(rows["score"].to_numpy(), rows.get("sample"), where)
        yield (*model, None)[0], metric, method, column


def _of_methods(results: Mapping[str, Any]) -> Iterator[_Cell]:
    for method, given in results.items():
        one = not isinstance(given, (Mapping, pd.DataFrame))
        for metric, values in ({"score": given} if one else given).items():
            if metric in NO_SCORES and isinstance(given, pd.DataFrame):
                continue
            index = values.index if isinstance(values, pd.Series) else None
            column = _column(values, index, f"results[{method!r}][{metric!r}]")
            yield None, str(metric), str(method), column


def _column(values: Any, index: Any, where: str) -> pd.Series[float]:
    """Check one cell's scores: float64, NaN where there is no finite one."""
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


def _joined(cells: Iterable[_Cell], named: bool) -> list[ScoreTable]:
    """Put cells side by side; without names of samples there must be as many of each method."""
    tables: dict[tuple[str | None, str], dict[str, pd.Series[float]]] = {}
    for model, metric, method, column in cells:
        tables.setdefault((model, metric), {})[method] = column
    for (_, metric), columns in tables.items():
        if not named and len(set(map(len, columns.values()))) > 1:
            counts = ", ".join(f"{method} {len(column)}" for method, column in columns.items())
            raise ValueError(
                f"results: scores are paired by sample, so {metric} needs as many of each method, "
                f"got {counts}; a table with the column sample pairs what both have"
            )
    return [ScoreTable(*key, pd.concat(columns, axis=1)) for key, columns in tables.items()]
