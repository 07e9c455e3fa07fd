"""The results of a run, from its shards or from the tables that a finished one leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, Field

from benchmarks.config.runs import Run
from benchmarks.metrics.registry import find_metric
from benchmarks.runner.store import Store, replace_file
from gae_metric.errors import InputError

__all__ = ["PLAN", "Collected", "collect", "consolidate"]

PLAN = "plan.json"
_TABLES = ("scores", "targets", "failures", "seconds")
_COLUMNS = {
    "scores": ["model", "method", "metric", "sample", "score"],
    "targets": [
        *("model", "sample", "file", "content", "label", "predicted", "target", "logit"),
        "probability",
    ],
    "failures": ["model", "method", "start", "stop", "metric", "error", "applies"],
    "seconds": ["model", "method", "start", "stop", "metric", "seconds", "device"],
}


@dataclass(frozen=True, eq=False)
class Collected:
    """All that a run has found so far.

    Attributes
    ----------
    run
        The configuration.
    scores
        Columns ``model``, ``method``, ``metric``, ``sample``, ``score``; in the order of the
        configuration, whatever the order in which shards came.
    targets
        Of each model and sample: ``file``, ``label``, ``predicted``, ``target``, and the target's
        ``logit`` and ``probability``.
    failures
        Errors: ``model``, ``method``, ``start`` and ``stop`` of the samples, ``metric`` (None: the
        method itself), ``error``, ``applies`` (False: the method does not apply to the model).
    seconds
        Wall time of each shard and metric.
    missing
        Shards that have not been computed.
    facts
        Versions, git revision and dates of the shards, each different one once.
    """

    run: Run
    scores: pd.DataFrame
    targets: pd.DataFrame
    failures: pd.DataFrame
    seconds: pd.DataFrame
    missing: int
    facts: tuple[dict[str, Any], ...]


def collect(root: str | Path) -> Collected:
    """Read a run's results.

    Raises
    ------
    InputError
        If the folder holds none.
    """
    folder = Path(root)
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"results: there is no run in {str(root)!r}: {error}") from error
    try:
        return _collected(folder, plan)
    except InputError:
        raise
    # The files may be cut off or another program's, and end in nearly any error.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"results: {str(root)!r} is not as a run leaves it: {type(error).__name__}: {reason}"
        ) from error


def _collected(folder: Path, plan: dict[str, Any]) -> Collected:
    # Not parsed: weights and data need not be there any more.
    run = _stored(plan["run"])
    if not (folder / "shards").is_dir() and (folder / "scores.parquet").is_file():
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return Collected(run=run, missing=0, facts=tuple(facts), **tables)
    return _from_shards(run, Store(folder), plan["shards"])


def consolidate(store: Store) -> None:
    """Write a finished run's tables, which can be kept without its shards."""
    collected = collect(store.root)
    for name in _TABLES:
        buffer = pa.BufferOutputStream()
        getattr(collected, name).to_parquet(buffer, index=False)
        replace_file(store.root / f"{name}.parquet", buffer.getvalue().to_pybytes())
    facts = json.dumps(collected.facts, indent=1).encode()
    replace_file(store.root / "facts.json", facts)


class _Named(BaseModel):
    """What a plan says of a model, a method, a metric or the data, as far as tables need it."""

    name: str
    label: str = ""
    paper: tuple[Annotated[int, Field(ge=1, le=13)], ...] = ()


class _Plan(BaseModel):
    models: tuple[_Named, ...]
    data: _Named
    methods: tuple[_Named, ...]
    metrics: tuple[_Named, ...]
    output: str


def _stored(values: dict[str, Any]) -> Run:
    _Plan.model_validate(values)
    for metric in values["metrics"]:
        find_metric(metric["name"])
    from benchmarks.config.entries import DataEntry, MethodEntry, MetricEntry, ModelEntry

    entries = {
        "models": tuple(ModelEntry.model_construct(**one) for one in values["models"]),
        "data": DataEntry.model_construct(**values["data"]),
        "methods": tuple(MethodEntry.model_construct(**one) for one in values["methods"]),
        "metrics": tuple(MetricEntry.model_construct(**one) for one in values["metrics"]),
    }
    return Run.model_construct(**(values | entries))


def _from_shards(run: Run, store: Store, shards: list[dict[str, Any]]) -> Collected:
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in _TABLES}
    facts: dict[str, dict[str, Any]] = {}
    missing = 0
    for shard in shards:
        if not store.has(shard["key"]):
            missing += 1
            continue
        table, told = store.read(shard["key"])
        model, method, (start, stop) = shard["model"], shard["method"], shard["span"]
        where = {"model": model, "method": method, "start": start, "stop": stop}
        if method:
            found["scores"].append(table.assign(model=model, method=method))
        else:
            found["targets"].append(table.assign(model=model))
        found["failures"] += [pd.DataFrame([where | one]) for one in told["failures"]]
        device = told["where"].get("device", "")
        found["seconds"] += [
            pd.DataFrame([where | {"metric": metric, "seconds": seconds, "device": device}])
            for metric, seconds in told["seconds"].items()
        ]
        same = {key: told[key] for key in ("versions", "revision", "changed")}
        facts.setdefault(json.dumps(same, sort_keys=True), same)
    tables = {name: _joined(frames, _COLUMNS[name]) for name, frames in found.items()}
    tables["scores"] = _ordered(tables["scores"], run)
    return Collected(run=run, missing=missing, facts=tuple(facts.values()), **tables)


def _joined(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    empty: pd.DataFrame = pd.DataFrame(columns=columns)
    joined: pd.DataFrame = (
        # A run of an older version lacks contents.
        pd.concat(frames, ignore_index=True).reindex(columns=columns) if frames else empty
    )
    return joined


def _ordered(scores: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Sort by model, method and metric as configured, then by sample."""
    orders = {
        "model": [model.name for model in run.models],
        "method": [method.label for method in run.methods],
        "metric": list(dict.fromkeys(scores["metric"])),
    }
    keys = {name: scores[name].map(order.index) for name, order in orders.items()}
    ranked = pd.DataFrame({**keys, "sample": scores["sample"]})
    places = ranked.sort_values(list(ranked.columns), kind="stable").index
    ordered: pd.DataFrame = scores.loc[places].reset_index(drop=True)
    return ordered
