"""What a run was, what it took, and what it could not do."""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmarks.report.templates import count_of
from benchmarks.runner.collected import Collected


def outline(collected: Collected) -> str:
    """Say in a line what the run was."""
    run = collected.run
    samples = int(collected.targets.groupby("model").size().max()) if len(collected.targets) else 0
    explained = "predicted classes" if run.targets == "predicted" else "labels"
    return " · ".join(
        [
            f"{samples} images of {run.data.name}",
            count_of(len(run.models), "model"),
            count_of(len(run.methods), "method"),
            f"{explained} explained",
            f"T = {run.steps}",
            f"seed {run.seed}",
        ]
    )


def seconds(collected: Collected, model: str) -> pd.DataFrame | None:
    """Return the seconds that a model's methods took, by metric and in all; None if unknown."""
    times = collected.seconds[collected.seconds["model"] == model]
    # The model's own predictions are a shard without a method.
    mine = times[times["method"] != ""]
    if mine.empty:
        return None
    wide = mine.pivot_table("seconds", "method", "metric", "sum", sort=False)
    wide = wide.reindex([m.label for m in collected.run.methods if m.label in wide.index])
    return wide.assign(all=wide.sum(axis=1))


def failures(collected: Collected) -> list[dict[str, Any]]:
    """Say once for each reason which methods of a model, and how many images, it is about."""
    keys = ["applies", "model", "metric", "error"]
    found = collected.failures.assign(metric=collected.failures["metric"].fillna("all"))
    rows = []
    for values, part in found.groupby(keys, sort=False):
        spans = zip(part["start"], part["stop"], strict=True)
        rows.append(
            {
                **dict(zip(keys, values, strict=True)),
                "methods": list(part["method"].unique()),
                "images": len({i for start, stop in spans for i in range(start, stop)}),
            }
        )
    # Errors first: that a method is not for a model is no surprise.
    return sorted(rows, key=lambda row: not row["applies"])


def versions(collected: Collected) -> list[dict[str, str]]:
    """Return the versions that the run, or its parts, were run with."""
    found = []
    for facts in collected.facts:
        revision = str(facts.get("revision") or "unknown")
        if facts.get("changed"):
            revision += ", with changes that are not committed"
        found.append({"git revision": revision, **facts.get("versions", {})})
    return found
