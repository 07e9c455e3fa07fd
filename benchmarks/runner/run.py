"""A run: what is missing is computed, shard by shard, and put into the store."""

import datetime
import functools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.config.runs import Run
from benchmarks.data.dataset import Data
from benchmarks.data.names import open_data
from benchmarks.metrics.metric_call import Block, Plans
from benchmarks.metrics.registry import kind_of
from benchmarks.runner.collected import collect, consolidate, finished_plan, write_plan
from benchmarks.runner.engines import compute
from benchmarks.runner.identity import model_digest, versions
from benchmarks.runner.shards import Shard, digest, shards_of
from benchmarks.runner.status import look_through, refuse_to_replace
from benchmarks.runner.store import Store
from benchmarks.runner.worker import Outcome, Task
from gae_metric.commands.folder import replace_file
from gae_metric.commands.terminal import Terminal
from gae_metric.errors import InputError
from gae_metric.inputs.files import read_bytes


@dataclass
class Summary:
    """What a run did."""

    computed: int = 0
    found: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    #: Methods that do not apply to a model, and errors: what, and in how many shards.
    inapplicable: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


def execute(
    run: Run,
    *,
    address: str | None = None,
    retry_failed: bool = False,
    replace: bool = False,
    quiet: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Compute what is missing of a run.

    Parameters
    ----------
    run
        The run. Shards in its output folder of the same settings, weights, images, code and
        versions are taken as they are, whichever run made them, and whatever stopped it.
    address
        Of a Ray cluster.
    retry_failed
        Whether shards with an error are computed again.
    replace
        Whether finished results that are not part of this run may be replaced.
    quiet
        Whether to show no progress.
    say
        Takes a line on each damaged shard, and on shards of other settings, before the work.

    Raises
    ------
    InputError
        If the folder cannot be written, the data or a model is not there, there are too few
        images, or finished results would be replaced.
    OSError
        If the disk is full; what was finished is kept.
    """
    store = Store(run.output)
    with store.writing():
        data, drawn = _draw(run, store)
        targets, scores = shards_of(run, data, {m.name: model_digest(m) for m in run.models})
        shards = [*targets, *scores]
        if not replace:
            refuse_to_replace(store, shards)
        sealed = {**drawn, "sha256": digest(drawn)}
        replace_file(store.root / "data.json", json.dumps(sealed, indent=1).encode())
        summary = Summary(skipped=drawn["skipped"])
        driver = _Driver(run, store, data, targets, address, retry_failed, quiet, summary)
        if not driver.finished(shards):
            look_through(store, shards, say)
            write_plan(store, _plan(run, data, drawn["skipped"], shards))
            driver.compute(targets, "predictions")
            driver.compute(scores, "shards")
            consolidate(store)
        for row in collect(store.root).failures.to_dict("records"):
            metric = f", {row['metric']}" if isinstance(row["metric"], str) else ""
            text = f"{row['model']}: {row['method']}{metric}: {row['error']}"
            (summary.failed if row["applies"] else summary.inapplicable)[text] += 1
        return summary


@dataclass
class _Driver:
    """Gives out shards and puts away what comes back."""

    run: Run
    store: Store
    data: Data
    targets: Sequence[Shard]
    address: str | None
    retry_failed: bool
    quiet: bool
    summary: Summary

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What each shard keeps of the run."""
        return {"run": self.run.model_dump(mode="json"), "versions": versions(), **_revision()}

    def finished(self, shards: Sequence[Shard]) -> bool:
        """Whether exactly this has been finished already, and its shards have been removed."""
        try:
            plan = finished_plan(self.store.root)
        except InputError:
            return False
        if not plan or {one["key"] for one in plan["shards"]} != {s.key for s in shards}:
            return False
        if any(self.store.path(shard.key).is_file() for shard in shards):
            return False
        if self.retry_failed and collect(self.store.root).failures["applies"].any():
            return False
        self.summary.found = len(shards)
        return True

    def compute(self, shards: Sequence[Shard], unit: str) -> None:
        """Compute those of some shards that are missing."""
        missing = [shard for shard in shards if self._missing(shard)]
        self.summary.found += len(shards) - len(missing)
        if not missing:
            return
        outcomes = compute(self.run, list(self._jobs(missing)), self.address)
        shown = nullcontext(lambda *_: None) if self.quiet else Terminal().progress(unit)
        with closing(outcomes), shown as show:
            for count, (task, outcome) in enumerate(outcomes, 1):
                self._keep(task, outcome)
                self.summary.computed += 1
                of = f"{task.shard.model}, {task.shard.method}".removesuffix(", ")
                show(f"{of}, {count} of {len(missing)}", count, len(missing))

    def _missing(self, shard: Shard) -> bool:
        if not self.store.has(shard.key):
            return True
        if not self.retry_failed:
            return False
        return any(one["applies"] for one in self.store.facts(shard.key)["failures"])

    def _jobs(self, missing: Sequence[Shard]) -> Iterator[list[Task]]:
        """Put shards of the same model and block, which stand side by side, together."""
        models = {model.name: model for model in self.run.models}
        methods = {method.label: method for method in self.run.methods}
        plans = functools.cache(self._plans)
        for (name, start), group in groupby(missing, lambda shard: (shard.model, shard.start)):
            shards = list(group)
            stop = shards[0].stop
            if shards[0].method:
                block = plans(name).block(start, stop)
            else:
                rows = np.arange(start, stop)
                block = Block(start, stop, rows, rows - start, np.empty(0, dtype=np.int64))
            model, part = models[name], self.data.part(block.indices)
            yield [Task(s, self.run, model, methods.get(s.method), block, part) for s in shards]

    def _plans(self, model: str) -> Plans:
        """Draw the mosaics of a model's whole data set."""
        table = pd.concat([self.store.read(s.key)[0] for s in self.targets if s.model == model])
        contents = table["content"].to_numpy(dtype=np.uint64)
        targets = table["target"].to_numpy(dtype=np.int64)
        kinds = [kind_of(metric.name) for metric in self.run.metrics]
        mosaics, focus = any(kind.mosaics for kind in kinds), any(kind.focus for kind in kinds)
        return Plans.draw(contents, targets, self.run.seed, mosaics=mosaics, focus=focus)

    def _keep(self, task: Task, outcome: Outcome) -> None:
        facts = {
            **self.facts,
            "shard": {"model": task.shard.model, "method": task.shard.method},
            "settings": dict(task.shard.settings),
            "seconds": outcome.seconds,
            "failures": outcome.failures,
            "where": outcome.where,
            "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
        self.store.write(task.shard.key, outcome.table, facts)


def _draw(run: Run, store: Store) -> tuple[Data, dict[str, Any]]:
    """Draw the images; those of a run before this one are taken without decoding them again."""
    source = open_data(run.data.name, labels=run.data.labels, split=run.data.split, masks=run.masks)
    asked = {
        "data": run.data.model_dump(mode="json"),
        "files": digest([source.files, source.labels.tolist()]),
        "samples": run.samples,
        "seed": run.seed,
        "ordered": run.first is None,
    }
    known = False
    # Whatever is wrong with it: images are drawn by the seed, so they can be drawn again.
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        drawn = json.loads(read_bytes(store.root / "data.json", "data", 1 << 24))
        known = drawn.pop("sha256") == digest(drawn) and drawn["asked"] == asked
    if known:
        data = source.only(drawn["drawn"])
        skipped: dict[str, str] = drawn["skipped"]
    else:
        data = source.sample(run.samples, run.seed, run.readers, run.first is None)
        skipped = dict(data.skipped)
    if (count := len(data)) < 4 and any(kind_of(metric.name).mosaics for metric in run.metrics):
        left = f"; {len(skipped)} were left out" if skipped else ""
        raise InputError(f"samples: mosaics need at least 4 images, and there are {count}{left}")
    return data.digested(), {"asked": asked, "drawn": list(data.files), "skipped": skipped}


def _plan(run: Run, data: Data, skipped: dict[str, str], shards: Sequence[Shard]) -> dict[str, Any]:
    settings: dict[str, dict[str, Mapping[str, Any]]] = {}
    for shard in shards:
        settings.setdefault(shard.model, {})[shard.method] = shard.settings
    return {
        "run": run.model_dump(mode="json"),
        "samples": len(data),
        "skipped": skipped,
        "shards": [
            {"key": s.key, "model": s.model, "method": s.method, "span": [s.start, s.stop]}
            for s in shards
        ],
        "settings": settings,
    }


def _revision() -> dict[str, Any]:
    """Return git's revision of this code, and whether files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    command += ["--abbrev=40", "--exclude=*"]
    try:
        told = subprocess.check_output(command, stderr=subprocess.PIPE, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return {"revision": None, "changed": None, "command": sys.argv[1:]}
    revision, dirty, _ = told.strip().partition("-dirty")
    return {"revision": revision, "changed": bool(dirty), "command": sys.argv[1:]}
