"""What a run was, what it took, and what it could not do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmarks.report.markup import Markup, joined, tag
from benchmarks.report.page_tables import caption, heading, number, scrolling
from benchmarks.runner.collected import Collected

__all__ = ["failures", "outline", "seconds", "settings"]


def outline(collected: Collected) -> str:
    """Say in a line what the run was."""
    run = collected.run
    samples = int(collected.targets.groupby("model").size().max()) if len(collected.targets) else 0
    explained = "predicted classes" if run.targets == "predicted" else "labels"
    return " · ".join(
        [
            f"{samples} images of {run.data.name}",
            _count(len(run.models), "model"),
            _count(len(run.methods), "method"),
            f"{explained} explained",
            f"T = {run.steps}",
            f"seed {run.seed}",
        ]
    )


def seconds(collected: Collected, models: Sequence[str]) -> Markup:
    """Return the time of each model's methods and metrics."""
    devices = sorted(set(collected.seconds["device"].dropna()) - {""})
    note = (
        f"On {', '.join(devices) or 'an unknown device'}. The first method of a block computes the "
        "masking trajectories, and the others share them."
    )
    tables = tag("div", *(_seconds(collected, model) for model in models), class_="times")
    return joined([tag("p", note, class_="note"), tables])


def _seconds(collected: Collected, model: str) -> Markup:
    times = collected.seconds[collected.seconds["model"] == model]
    # The model's own predictions are a shard without a method.
    mine = times[times["method"] != ""]
    if mine.empty:
        return tag("p", f"{model}: no times were kept.")
    wide = mine.pivot_table("seconds", "method", "metric", "sum", sort=False)
    wide = wide.reindex([m.label for m in collected.run.methods if m.label in wide.index])
    total = wide.sum(axis=1)
    columns = [*map(str, wide.columns), "all"]
    body = []
    for method, row in wide.assign(all=total).iterrows():
        cells = [
            tag(
                "td",
                number(value, 1),
                class_="number",
                data_value=None if pd.isna(value) else repr(float(value)),
            )
            for value in row
        ]
        body.append(tag("tr", tag("th", method, scope="row"), *cells))
    sums = [*wide.sum(), total.sum()]
    title = f"{model}, seconds of wall time"
    table = tag(
        "table",
        caption(title),
        tag("thead", tag("tr", heading("method", text=True), *map(heading, columns))),
        tag("tbody", *body),
        tag(
            "tfoot",
            tag(
                "tr",
                tag("th", "all", scope="row"),
                *(tag("td", number(value, 1), class_="number") for value in sums),
            ),
        ),
        class_="sortable",
    )
    return scrolling(table, title)


def failures(collected: Collected, skipped: Mapping[str, str]) -> Markup:
    """Return what does not apply, what failed, and which images were left out."""
    parts: list[Markup] = []
    if collected.missing:
        words = f"The run is not finished: {_count(collected.missing, 'shard')} to go."
        parts.append(tag("p", words, class_="warning"))
    if len(collected.failures):
        parts.append(_failed(collected.failures))
    if skipped:
        parts.append(tag("p", f"{_count(len(skipped), 'image')} left out:"))
        items = (tag("li", tag("code", file), f": {reason}") for file, reason in skipped.items())
        parts.append(tag("ul", *items))
    return joined(parts or [tag("p", "Every method explained every model, without an error.")])


def _failed(failures: pd.DataFrame) -> Markup:
    """Say once for each reason which methods of a model, and how many images, it is about."""
    found: dict[tuple[bool, str, str, str], tuple[dict[str, None], set[int]]] = {}
    for one in failures.to_dict("records"):
        metric = one["metric"] if isinstance(one["metric"], str) else "all"
        key = (bool(one["applies"]), str(one["model"]), metric, str(one["error"]))
        methods, samples = found.setdefault(key, ({}, set()))
        methods[str(one["method"])] = None
        samples.update(range(int(one["start"]), int(one["stop"])))
    body = [
        tag(
            "tr",
            tag("td", tag("span", "failed", class_="failed") if applies else "does not apply"),
            tag("td", model),
            tag("td", ", ".join(methods), class_="methods"),
            tag("td", metric),
            tag("td", error, class_="reason"),
            tag("td", len(samples), class_="number", data_value=len(samples)),
        )
        # Errors first: that a method is not for a model is no surprise.
        for (applies, model, metric, error), (methods, samples) in sorted(
            found.items(), key=lambda item: not item[0][0]
        )
    ]
    names = ("what", "model", "methods", "metric", "reason")
    heads = [heading(name, text=True) for name in names] + [heading("images")]
    title = "Methods that do not apply, and errors"
    table = tag(
        "table",
        caption(title),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *body),
        class_="sortable failures",
    )
    return scrolling(table, title)


def settings(collected: Collected) -> Markup:
    """Return the configuration, and what it was run with."""
    values = collected.run.model_dump(mode="json", warnings=False)
    rows = [
        tag("tr", tag("th", key, scope="row"), tag("td", _value(value)))
        for key, value in values.items()
    ]
    parts = [
        scrolling(
            tag("table", caption("Configuration"), tag("tbody", *rows), class_="pairs"),
            "Configuration",
        )
    ]
    for number_of, facts in enumerate(collected.facts, 1):
        title = "Versions" if len(collected.facts) == 1 else f"Versions, {number_of}"
        revision = str(facts.get("revision") or "unknown")
        if facts.get("changed"):
            revision += ", with changes that are not committed"
        pairs = {"git revision": revision, **facts.get("versions", {})}
        body = [
            tag("tr", tag("th", name, scope="row"), tag("td", tag("code", value)))
            for name, value in pairs.items()
        ]
        table = tag("table", caption(title), tag("tbody", *body), class_="pairs")
        parts.append(scrolling(table, title))
    whole = tag("pre", json.dumps(values, indent=1, ensure_ascii=False), tabindex="0")
    parts.append(tag("details", tag("summary", "The configuration as JSON"), whole))
    return joined(parts)


def _value(value: Any) -> Markup:
    """Write a part of the configuration: entries by name, with what else is said of them."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return tag("ul", *(tag("li", _entry(one)) for one in value))
    if isinstance(value, dict):
        return _entry(value)
    if isinstance(value, list):
        return joined([", ".join(map(str, value)) or "–"])
    return joined(["–" if value is None else value])


def _entry(entry: Mapping[str, Any]) -> Markup:
    name, label = entry.get("name"), entry.get("label")
    parts: list[Any] = [tag("code", name)]
    if label and label != name:
        parts.append(f" as {label}")
    for key, value in entry.items():
        if key not in ("name", "label") and value not in (None, {}, [], ""):
            parts.append(f"; {key}: {json.dumps(value, ensure_ascii=False)}")
    return joined(parts)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
