"""The compatibility table as Markdown."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

from benchmarks.compatibility.candidates import ENTRIES
from benchmarks.compatibility.one_model import BATCH, REPEATS, Result

PACKAGES = ("gae-metric", "torch", "torchvision", "timm", "transformers", "onnx", "onnx2torch")

TEXT = """\
# Models that absLRP explains

Written by `{command}`.

{count} They are unchanged models with random weights (seed 0), ten classes and standard normal
inputs; weights that a library starts at zero are drawn too, since no relevance could pass them.

{versions}

- **input**: shape of one sample. Sizes are small where the model allows it, and two models have
  fewer blocks than their name says, so that the table takes minutes.
- **time**: CPU time of `abslrp.explain(model, x, targets)` (two streams, conserving) over that of a
  forward pass and an input gradient of the plain model with frozen parameters: medians of
  {repeats}, batch of {batch}, one thread. At small inputs the Python code between operations
  weighs more; `python -m benchmarks.speed abslrp` measures speed properly.
- **arrives**, **leaks**: of a relevance of 1 at the target, what reaches the input, and what is
  lost in the two known ways: on constants (class tokens, padding), and at operations none of
  whose inputs contributes positively. Means over the batch; they depend on the weights.
- **error**: largest |arrives + leaks - 1| in the batch, that is, rounding in float32.

| library | model | input | explained | time | arrives | leaks | error |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


def markdown(results: Mapping[str, Result], command: str) -> str:
    """Return the whole document for results by model key."""
    done = sum(result.error is None for result in results.values())
    installed = [f"{name} {_version(name)}" for name in PACKAGES]
    return TEXT.format(
        command=command,
        count=f"{done} of {len(results)} models are explained.",
        versions=f"Python {platform.python_version()}, {', '.join(installed)}.",
        repeats=REPEATS,
        batch=BATCH,
        rows="\n".join(_row(key, result) for key, result in results.items()),
    )


def _row(key: str, result: Result) -> str:
    entry = ENTRIES[key]
    shape = "×".join(map(str, entry.shape))
    name = f"{entry.name} ({entry.note})" if entry.note else entry.name
    cells = [entry.library, name, shape]
    if result.error is not None:
        cells += [f"no: {result.error}".replace("|", "\\|"), "", "", "", ""]
    else:
        cells += [
            "yes",
            f"{result.relative_time:.1f}",
            _share(result.arriving),
            _share(result.leaking),
            f"{result.deviation:.0e}",
        ]
    return f"| {' | '.join(cells)} |"


def _share(value: float | None) -> str:
    return "" if value is None else f"{abs(round(value, 3)):.3f}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
