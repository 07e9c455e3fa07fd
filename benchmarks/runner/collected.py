"""The results of a run: the tables that a finished one leaves, or the shards of one under way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, Field

from benchmarks.config.runs import PARTS, Run
from benchmarks.metrics.registry import find_metric
from benchmarks.result_files import NEXT, PLAN, folders_of
from benchmarks.runner.shards import Shard
from benchmarks.runner.store import Store, read_table
from gae_metric.commands.folder import replace_file
from gae_metric.errors import InputError
from gae_metric.inputs.files import read_bytes

#: Digests of a finished run's files, as ``sha256sum --check`` reads them; written last.
_SUMS = "SHA256SUMS"
_TABLES = ("scores", "targets", "failures", "seconds")
_FILES = (PLAN, "facts.json", *(f"{name}.parquet" for name in _TABLES))
_COLUMNS = {
    "scores": ["model", "method", "metric", "sample", "score"],
    "targets": [
        *("model", "sample", "file", "content", "label", "predicted", "target", "logit"),
        "probability",
    ],
    "failures": ["model", "method", "start", "stop", "metric", "error", "applies"],
    "seconds": ["model", "method", "start", "stop", "metric", "seconds", "device"],
}
_TYPES = {"sample": int, "score": float, "start": int, "stop": int, "seconds": float}
#: Bytes of a plan that are read: what a run of 80,000 shards has, and 0.4 GB once parsed at most.
_LARGEST = 1 << 24
_LARGEST_TABLE = 1 << 31


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
        Shards that have not been computed, or are damaged.
    facts
        Versions, git revision and host of the shards, each different one once.
    skipped
        Images that were left out, and why.
    lacking
        Missing shards by model and method (empty: the model's predictions).
    """

    run: Run
    scores: pd.DataFrame
    targets: pd.DataFrame
    failures: pd.DataFrame
    seconds: pd.DataFrame
    facts: tuple[dict[str, Any], ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        return sum(self.lacking.values())


def collect(root: str | Path) -> Collected:
    """Read a run's results: those that are finished, or else what there is so far.

    Where a run has finished and another is under way, it is the finished one's. Files are data:
    nothing that they name is imported.

    Raises
    ------
    InputError
        If the folder holds none, or a finished run's files are damaged.
    """
    (folder,) = folders_of([Path(root)])
    with readable(root):
        finished = finished_plan(folder)
        plan = finished or latest_plan(folder)
        # Not parsed: weights and data need not be there any more.
        run, skipped = _stored(plan["run"]), {str(k): str(v) for k, v in plan["skipped"].items()}
        if finished is None:
            return _from_shards(run, Store(folder), plan["shards"], skipped)
        frames: dict[str, list[pd.DataFrame]] = {}
        for name in _TABLES:
            path = folder / f"{name}.parquet"
            content = read_bytes(path, "results", _LARGEST_TABLE)
            frames[name] = [read_table(content, str(path)).to_pandas()]
        noted = json.loads(read_bytes(folder / "facts.json", "results", _LARGEST))
        facts = tuple({**one, "versions": {**one.get("versions", {})}} for one in noted)
        return _collected(run, frames, facts=facts, skipped=skipped)


@contextmanager
def readable(root: str | Path) -> Iterator[None]:
    """Refuse files that are cut off or another program's, and end in nearly any error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"results: {str(root)!r} is not as a run leaves it: {type(error).__name__}: {reason}"
        ) from error


def latest_plan(folder: Path) -> dict[str, Any]:
    """Return the plan of the latest run in a folder, finished or not."""
    return _plan(folder, NEXT if (folder / NEXT).exists() else PLAN)


def finished_plan(folder: Path) -> dict[str, Any] | None:
    """Return the plan of a finished run whose files are all there; None if there is none.

    Raises
    ------
    InputError
        If a file is damaged, and no run is under way that makes it anew.
    """
    if not (folder / _SUMS).exists():
        return None
    lines = read_bytes(folder / _SUMS, "results", 1 << 16).decode("ascii", "replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in _FILES:
        path = folder / name
        content = read_bytes(path, "results", _LARGEST_TABLE) if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() == sums.get(name):
            continue
        if (folder / NEXT).exists():  # stopped while it replaced them
            return None
        raise InputError(
            f"results: {str(path)!r} is missing or damaged: {_SUMS} has another digest of it; "
            "`python -m benchmarks run` with the same configuration makes it anew"
        )
    return _plan(folder, PLAN)


def newer(folder: Path) -> bool:
    """Whether a run is under way, or was stopped, in a folder that holds finished results."""
    return (folder / _SUMS).exists() and (folder / NEXT).exists()


def _plan(folder: Path, name: str) -> dict[str, Any]:
    with readable(folder / name):
        return {"skipped": {}, **json.loads(read_bytes(folder / name, "results", _LARGEST))}


def write_plan(store: Store, plan: dict[str, Any]) -> None:
    """Write what is going to be computed, beside what is finished already."""
    finished = (store.root / _SUMS).exists()
    content = json.dumps(plan, indent=1).encode()
    if len(content) > _LARGEST:
        raise InputError(
            f"block: a plan of {len(plan['shards'])} shards takes {len(content)} bytes, and at "
            f"most {_LARGEST} are read; give larger blocks, or divide the run"
        )
    replace_file(store.root / (NEXT if finished else PLAN), content)


def consolidate(store: Store) -> None:
    """Write the tables of a run all of whose shards are there; they need no shards any more."""
    name = NEXT if (store.root / NEXT).exists() else PLAN
    plan = _plan(store.root, name)
    collected = _from_shards(_stored(plan["run"]), store, plan["shards"], plan["skipped"])
    files = {PLAN: (store.root / name).read_bytes()}
    for table in _TABLES:
        files[f"{table}.parquet"] = getattr(collected, table).to_parquet(index=False)
    files["facts.json"] = json.dumps(collected.facts, indent=1).encode()
    sums = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in _FILES]
    for file, content in {**files, _SUMS: "".join(sums).encode()}.items():
        replace_file(store.root / file, content)
    (store.root / NEXT).unlink(missing_ok=True)


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
    entries: dict[str, Any] = {"data": PARTS["data"].model_construct(**values["data"])}
    for part in PARTS.keys() - entries.keys():
        entries[part] = tuple(PARTS[part].model_construct(**one) for one in values[part])
    return Run.model_construct(**(values | entries))


def _from_shards(
    run: Run, store: Store, shards: list[dict[str, Any]], skipped: dict[str, str]
) -> Collected:
    tables: dict[str, list[pd.DataFrame]] = {"scores": [], "targets": []}
    rows: dict[str, list[dict[str, Any]]] = {"failures": [], "seconds": []}
    facts: dict[str, dict[str, Any]] = {}
    lacking: Counter[tuple[str, str]] = Counter()
    for shard in shards:
        model, method, (start, stop) = shard["model"], shard["method"], shard["span"]
        table, told = store.read(shard["key"]) if store.has(shard["key"]) else (None, {})
        # What the plan says of it may be damaged, too.
        if table is None or Shard(model, method, start, stop, told["settings"]).key != shard["key"]:
            lacking[model, method] += 1
            continue
        tables["scores" if method else "targets"].append(table.assign(model=model, method=method))
        where = {"model": model, "method": method, "start": start, "stop": stop}
        rows["failures"] += [where | one for one in told["failures"]]
        where["device"] = told["where"].get("device", "")
        rows["seconds"] += [where | {"metric": m, "seconds": s} for m, s in told["seconds"].items()]
        same = {key: told[key] for key in ("versions", "revision", "changed")}
        same["host"] = told["where"].get("host", "")
        facts.setdefault(json.dumps(same, sort_keys=True), same)
    tables |= {name: [pd.DataFrame(some)] for name, some in rows.items()}
    return _collected(run, tables, facts=tuple(facts.values()), skipped=skipped, lacking=lacking)


def _collected(run: Run, frames: dict[str, list[pd.DataFrame]], **more: Any) -> Collected:
    """Join the parts of each table."""
    tables: dict[str, Any] = {}
    for name, parts in frames.items():
        joined = pd.concat(parts or [pd.DataFrame()], ignore_index=True)
        # A run of an older version lacks contents.
        full = joined.reindex(columns=_COLUMNS[name])
        tables[name] = full.astype({key: of for key, of in _TYPES.items() if key in full})
    tables["scores"] = _ordered(tables["scores"], run)
    return Collected(run, **tables, **more)


def _ordered(scores: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Sort by model, method and metric as configured, then by sample."""
    orders = {
        "model": [model.name for model in run.models],
        "method": [method.label for method in run.methods],
        "metric": list(dict.fromkeys(scores["metric"])),
    }

    def place(column: pd.Series[Any]) -> pd.Series[Any]:
        return column.map(orders[str(column.name)].index) if column.name in orders else column

    return scores.sort_values([*orders, "sample"], key=place, ignore_index=True)
