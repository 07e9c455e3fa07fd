"""A run: what is missing is computed, shard by shard, and put into the store."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from benchmarks.config.entries import ModelEntry
from benchmarks.config.runs import Run
from benchmarks.data.dataset import Data
from benchmarks.data.names import open_data
from benchmarks.metrics.registry import needs
from benchmarks.metrics.sample_blocks import Block, Plans
from benchmarks.runner.collected import PLAN, collect, consolidate
from benchmarks.runner.engines import compute
from benchmarks.runner.shards import Shard, digest, score_shards, target_shards
from benchmarks.runner.store import Store, replace_file
from benchmarks.runner.worker import Outcome, Task
from gae_metric.errors import InputError

__all__ = ["Summary", "execute", "versions"]

_PACKAGES = (
    *("gae-metric", "torch", "torchvision", "timm", "quantus", "captum", "zennit", "grad-cam"),
    *("lxt", "numpy", "scipy", "pandas", "pyarrow", "pillow", "ray"),
)


@dataclass
class Summary:
    """What a run did."""

    computed: int = 0
    found: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    #: Methods that do not apply to a model, and errors: what, and in how many shards.
    inapplicable: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


def execute(
    run: Run, *, address: str | None = None, retry_failed: bool = False, quiet: bool = False
) -> Summary:
    """Compute what is missing of a run.

    Parameters
    ----------
    run
        The run. Shards in its output folder that have the same settings are taken as they are,
        whichever run made them, and whatever stopped it.
    address
        Of a Ray cluster.
    retry_failed
        Whether shards with an error are computed again.
    quiet
        Whether to show no progress.

    Raises
    ------
    InputError
        If the folder cannot be written, the data or a model is not there, or there are too few
        images.
    OSError
        If the disk is full; what was finished is kept.
    """
    store = Store(run.output)
    with store.writing():
        data = _draw(run, store)
        targets = [s for model in run.models for s in target_shards(run, model, data)]
        scores = [s for model in run.models for s in score_shards(run, model, data)]
        _write_plan(run, store, data, [*targets, *scores])
        driver = _Driver(run, store, data, address, retry_failed, quiet)
        driver.compute(targets, "predictions")
        driver.compute(scores, "shards")
        consolidate(store)
        return _summary(store, driver, data)


class _Driver:
    """Gives out shards and puts away what comes back."""

    def __init__(
        self,
        run: Run,
        store: Store,
        data: Data,
        address: str | None,
        retry_failed: bool,
        quiet: bool,
    ) -> None:
        self.run, self.store, self.data = run, store, data
        self.address, self.retry_failed, self.quiet = address, retry_failed, quiet
        self.computed = self.found = 0
        self.facts = {"run": run.model_dump(mode="json"), "versions": versions(), **_revision()}

    def compute(self, shards: Sequence[Shard], unit: str) -> None:
        """Compute those of some shards that are missing."""
        missing = [shard for shard in shards if self._missing(shard)]
        self.found += len(shards) - len(missing)
        if not missing:
            return
        jobs = list(self._jobs(missing))
        outcomes = compute(self.run, jobs, self.address)
        with (
            closing(outcomes),
            tqdm(
                total=len(shards),
                initial=len(shards) - len(missing),
                unit="shard",
                desc=unit,
                disable=self.quiet,
                smoothing=0.05,
            ) as progress,
        ):
            for task, outcome in outcomes:
                self._keep(task, outcome)
                self.computed += 1
                progress.set_postfix_str(f"{task.shard.model} {task.shard.method}".strip())
                progress.update()

    def _missing(self, shard: Shard) -> bool:
        if not self.store.has(shard.key):
            return True
        if not self.retry_failed:
            return False
        return any(one["applies"] for one in self.store.facts(shard.key)["failures"])

    def _jobs(self, missing: Sequence[Shard]) -> Iterator[list[Task]]:
        """Put shards of the same model and block together."""
        groups: dict[tuple[str, int], list[Shard]] = {}
        for shard in missing:
            groups.setdefault((shard.model, shard.start), []).append(shard)
        models = {model.name: model for model in self.run.models}
        methods = {method.label: method for method in self.run.methods}
        plans: dict[str, Plans] = {}
        for (name, start), shards in groups.items():
            stop = shards[0].stop
            if not shards[0].method:
                rows = np.arange(start, stop)
                nothing = np.empty(0, dtype=np.int64)
                block = Block(start, stop, rows, rows - start, nothing)
            else:
                if name not in plans:
                    plans[name] = self._plans(models[name])
                block = plans[name].block(start, stop)
            part = self.data.part(block.indices)
            yield [
                Task(s, self.run, models[name], methods.get(s.method), block, part) for s in shards
            ]

    def _plans(self, model: ModelEntry) -> Plans:
        """Draw the mosaics of a model's whole data set."""
        shards = target_shards(self.run, model, self.data)
        table = pd.concat([self.store.read(shard.key)[0] for shard in shards])
        wanted = [needs(metric.name) for metric in self.run.metrics]
        return Plans.draw(
            table["content"].to_numpy(dtype=np.uint64),
            table["target"].to_numpy(dtype=np.int64),
            self.run.seed,
            mosaics=any(one for one, _ in wanted),
            focus=any(one for _, one in wanted),
        )

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


def _draw(run: Run, store: Store) -> Data:
    """Draw the images; those of a run before this one are taken without reading them again."""
    source = open_data(run.data.name, labels=run.data.labels, split=run.data.split, masks=run.masks)
    asked = {
        "data": run.data.model_dump(mode="json"),
        "files": digest([source.files, source.labels.tolist()]),
        "samples": run.samples,
        "seed": run.seed,
    }
    path = store.root / "data.json"
    try:
        drawn = json.loads(path.read_text(encoding="utf-8"))
        places = {file: place for place, file in enumerate(source.files)}
        known = drawn["asked"] == asked
        chosen = [places[file] for file in drawn["drawn"]] if known else []
        skipped = {str(file): str(reason) for file, reason in drawn["skipped"].items()}
    # Whatever is wrong with it: images are drawn by the seed, so they can be drawn again.
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        known = False
    if known:
        data = source.part(chosen)
    else:
        data = source.sample(run.samples, run.seed, run.readers)
        skipped = dict(data.skipped)
    if len(data) < 4 and any(needs(metric.name)[0] for metric in run.metrics):
        raise InputError(
            f"samples: mosaics need at least 4 images, and there are {len(data)}"
            + (f"; {len(skipped)} were left out" if skipped else "")
        )
    content = {"asked": asked, "drawn": list(data.files), "skipped": skipped}
    replace_file(path, json.dumps(content, indent=1).encode())
    return data


def _write_plan(run: Run, store: Store, data: Data, shards: Sequence[Shard]) -> None:
    plan = {
        "run": run.model_dump(mode="json"),
        "samples": len(data),
        "shards": [
            {"key": s.key, "model": s.model, "method": s.method, "span": [s.start, s.stop]}
            for s in shards
        ],
    }
    replace_file(store.root / PLAN, json.dumps(plan, indent=1).encode())


def _summary(store: Store, driver: _Driver, data: Data) -> Summary:
    skipped = json.loads((store.root / "data.json").read_text(encoding="utf-8"))["skipped"]
    summary = Summary(driver.computed, driver.found, skipped)
    for row in collect(store.root).failures.to_dict("records"):
        metric = f", {row['metric']}" if row["metric"] else ""
        text = f"{row['model']}: {row['method']}{metric}: {row['error']}"
        kind = summary.failed if row["applies"] else summary.inapplicable
        kind[text] = kind.get(text, 0) + 1
    return summary


def versions() -> dict[str, str]:
    """Return the versions of all that scores come from."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # noqa: PERF203 - a handful
            continue
    return found


def _revision() -> dict[str, Any]:
    """Return git's revision of this code, and whether files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"revision": git("rev-parse", "HEAD"), "changed": changed, "command": sys.argv[1:]}
    except (OSError, subprocess.SubprocessError):
        return {"revision": None, "changed": None, "command": sys.argv[1:]}
