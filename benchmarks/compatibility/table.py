"""The compatibility table as Markdown: the template ``table.md`` with the results in it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.compatibility.candidates import ENTRIES
from benchmarks.compatibility.one_model import BATCH, REPEATS, Result
from gae_metric.commands.provenance import installed

PACKAGES = ("gae-metric", "torch", "torchvision", "timm", "transformers", "onnx", "onnx2torch")


def markdown(results: Mapping[str, Result], command: str) -> str:
    """Return the whole document for results by model key."""
    versions = {"Python": platform.python_version(), **installed(PACKAGES)}
    return _TEMPLATES.get_template("table.md").render(
        command=command,
        results=results,
        entries=ENTRIES,
        explained=sum(result.error is None for result in results.values()),
        versions=", ".join(f"{name} {one}" for name, one in versions.items()) + ".",
        repeats=REPEATS,
        batch=BATCH,
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{abs(round(value, 3)):.3f}"


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["share"] = _share
