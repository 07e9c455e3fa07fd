"""What an evaluation leaves behind: a table on the screen, and a folder of tables."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from torch import nn

from gae_metric._names import two_lines
from gae_metric.commands.escaping import csv_text
from gae_metric.comparison.results import Results
from gae_metric.comparison.summary import summary
from gae_metric.errors import InputError

__all__ = ["Evaluation", "messages", "new_folder", "table", "write_tables"]

_ARROWS = {"higher": "↑", "lower": "↓"}
_PACKAGES = (
    "gae-metric",
    "quantus",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "matplotlib",
)


@dataclass(frozen=True)
class Evaluation:
    """A model, the images it was evaluated on, and the results."""

    #: Short name of the model, for titles and tables.
    name: str
    model: nn.Module
    #: Inputs (N, C, H, W).
    x: NDArray[np.float32]
    #: Name of each sample, such as its file.
    samples: Sequence[str]
    #: From inputs to pixels in [0, 1].
    to_display: Callable[[NDArray[Any]], NDArray[Any]]
    results: Results


def table(evaluation: Evaluation, width: int = 80) -> Table:
    """Return the results as a table for the terminal: mean and standard error.

    The best method is bold; ``*`` marks methods that are not told apart from it, as in the paper's
    tables (see :func:`gae_metric.compare`).

    Parameters
    ----------
    evaluation
        The evaluation.
    width
        Columns of the terminal. Standard errors go below the means where they do not fit beside
        them.

    Examples
    --------
    >>> results = Results(("A", "B"), {"GAE": "higher"}, np.zeros(2, dtype=np.int64))
    >>> results.scores = {("A", "GAE"): np.array([0.0, 1.0]), ("B", "GAE"): np.zeros(2)}
    >>> x = np.zeros((2, 3, 1, 1), dtype=np.float32)
    >>> evaluation = Evaluation("net", nn.Identity(), x, ["a", "b"], lambda x: x, results)
    >>> list(table(evaluation).columns[1].cells)
    ['[bold]0.500* ±0.500[/]', '0.000* ±0.000']
    """
    results = evaluation.results
    wide = width >= 22 + 18 * len(results.metrics)
    screen = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_lines=not wide,
    )
    screen.add_column("method", overflow="fold")
    for metric, better in results.metrics.items():
        name = metric if wide else two_lines(metric)
        screen.add_column(f"{name} {_ARROWS[better]}", justify="right", no_wrap=True)
    cells = {(row["method"], row["metric"]): row for row in summary(results).to_dict("records")}
    for method in results.methods:
        row = (_cell(cells.get((method, metric)), wide) for metric in results.metrics)
        screen.add_row(method if wide else two_lines(method), *row)
    return screen


def _cell(row: Mapping[Any, Any] | None, wide: bool) -> str:
    if row is None or not row["samples"]:
        return "-"
    mean = f"{row['mean']:.3f}{'*' if row['tie'] else ' '}"
    space = " " if wide else "\n"
    if row["missing"]:  # means are over the samples that all methods have
        mean += f"{space}({row['missing']} missing){space}"
    error = "" if np.isnan(row["standard_error"]) else f"{space}±{row['standard_error']:.3f}"
    if not wide and error:
        error += " "  # the digits stand below those of the mean
    return f"[bold]{mean}{error}[/]" if row["best"] else f"{mean}{error}"


def messages(results: Results) -> list[str]:
    """Return what a reader of the table must know: what is missing from it, and warnings."""
    lines = []
    for failure in results.failures:
        kind = "left out" if failure.expected else "failed"
        lines.append(f"{kind}: {failure}")
    for text, sources in results.notes.items():
        named = "; ".join(sources[:3]) + (f"; {len(sources) - 3} more" if len(sources) > 3 else "")
        lines.append(f"note: {text} [{named}]")
    return lines


def new_folder(path: str | Path) -> Path:
    """Make a folder and see that it can be written to, before any work is done for it.

    Raises
    ------
    InputError
        If it cannot.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"out: cannot write to {str(folder)!r}: {reason}") from error
    return folder


def write_tables(
    folder: Path, evaluations: Sequence[Evaluation], settings: Mapping[str, Any]
) -> None:
    """Write ``scores.csv``, ``summary.csv``, ``components.csv`` and ``run.json``.

    Parameters
    ----------
    folder
        Where to; files of these names are replaced.
    evaluations
        One for each model.
    settings
        What the run was asked for, kept in ``run.json`` beside the versions of the packages.
    """
    scores, summaries, components = [], [], []
    for evaluation in evaluations:
        long = evaluation.results.table()
        names = np.asarray(evaluation.samples, dtype=object)
        long.insert(3, "file", names[long["sample"].to_numpy(dtype=int)])
        scores.append(_of_model(evaluation.name, long))
        summaries.append(_of_model(evaluation.name, summary(evaluation.results)))
        for method, parts in evaluation.results.components.items():
            frame = parts.rename_axis("sample").reset_index()
            frame.insert(0, "method", method)
            components.append(_of_model(evaluation.name, frame))
    for name, frames in (("scores", scores), ("summary", summaries), ("components", components)):
        if frames:
            text = csv_text(pd.concat(frames), index=False)
            (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
    run = {
        "settings": dict(settings),
        "messages": {evaluation.name: messages(evaluation.results) for evaluation in evaluations},
        "versions": _versions(),
    }
    (folder / "run.json").write_text(json.dumps(run, indent=2, default=str), encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):  # run from a checkout
            found[package] = version(package)
    return found


def _of_model(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    frame.insert(0, "model", name)
    return frame
