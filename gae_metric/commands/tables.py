"""What an evaluation leaves behind: a table on the screen, a folder of tables, and a page."""

import base64
import json
import platform
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment
from numpy.typing import NDArray
from rich import box
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from torch import nn

from abslrp.losses import untold
from gae_metric._names import two_lines
from gae_metric.commands.folder import replace_file
from gae_metric.commands.named_metrics import Settings
from gae_metric.commands.provenance import MATTER, digest_of_code, installed
from gae_metric.commands.terminal import Terminal, csv_text, visible
from gae_metric.comparison.intervals import summary
from gae_metric.comparison.pairs import least_pairs
from gae_metric.comparison.results import Results
from gae_metric.explainers.gradients import ExplainFunc

#: How warnings name samples, by their places.
_PLACES = re.compile(r"\b(samples \(?)(\d+(?:, \d+)*)")
ARROWS = {"higher": "↑", "lower": "↓"}


class Inputs(NamedTuple):
    """A model on its device, and images as it takes them."""

    model: nn.Module
    #: Inputs (N, 3, H, W), what they are called, and the classes to explain (N,).
    x: NDArray[np.float32]
    samples: Sequence[str]
    targets: NDArray[np.int64]
    #: From inputs to pixels in [0, 1].
    to_display: Callable[[NDArray[Any]], NDArray[Any]]
    #: Names of the model's classes, where they are known.
    classes: Sequence[str] | None = None
    #: Files that were left out, and why.
    skipped: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Evaluation:
    """A model, the images it was evaluated on, and the results."""

    #: Short name of the model, for titles and tables.
    name: str
    inputs: Inputs
    results: Results
    #: Explanation functions, for maps to show.
    functions: Mapping[str, ExplainFunc] = field(default_factory=dict)
    #: What the scores depend on, and so the figures that show how they come about.
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Each cell's mean, interval and comparison with the best method."""
        return summary(self.results)

    @cached_property
    def cells(self) -> dict[tuple[str, str], dict[Any, Any]]:
        """Rows of the summary by method and metric."""
        return {(row["method"], row["metric"]): row for row in self.summary.to_dict("records")}

    def explained(self, method: str, x: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return a method's maps of some inputs, which it may overwrite."""
        function, model = self.functions[method], self.inputs.model
        return untold(function, model=model, inputs=x.copy(), targets=targets)

    def class_name(self, index: int) -> str:
        """Return what a class is called."""
        classes = self.inputs.classes
        return f"class {index}" if classes is None else classes[index]


def caption(evaluation: Evaluation) -> str:
    """Say what the marks of a table mean, and its short names."""
    results = evaluation.results
    least = least_pairs()
    if len(results.targets) < least:
        marks = f"bold: best; fewer than {least} images cannot tell methods apart (Wilcoxon)"
    else:
        marks = "bold: best; *: tied with the best (Wilcoxon, p = 0.05)"
        if evaluation.summary["untold"].any():
            marks += f"; ?: no test, as fewer than {least} scores differ from the best method's"
    names = {"LC": "Local Consistency", "C": "Contrastiveness"}
    return "; ".join([marks, *(f"{k}: {v}" for k, v in names.items() if k in results.metrics)])


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
    >>> inputs = Inputs(nn.Identity(), x, ["a", "b"], results.targets, lambda x: x)
    >>> evaluation = Evaluation("net", inputs, results)
    >>> list(table(evaluation).columns[1].cells)
    ['[bold]0.500  ±0.500[/]', '0.000  ±0.000']
    """
    results = evaluation.results
    wide = width >= 22 + 18 * len(results.metrics)
    screen = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=not wide)
    screen.add_column("method", overflow="fold")
    for metric, better in results.metrics.items():
        name = metric if wide else two_lines(metric)
        screen.add_column(f"{name} {ARROWS[better]}", justify="right", no_wrap=True)
    for method in ranked(evaluation):
        row = (_cell(evaluation.cells.get((method, metric)), wide) for metric in results.metrics)
        screen.add_row(method if wide else two_lines(method), *row)
    return screen


def ranked(evaluation: Evaluation) -> list[str]:
    """Return the methods, the best by the first metric first."""
    table, (metric, better) = evaluation.summary, next(iter(evaluation.results.metrics.items()))
    rows = table[table["metric"] == metric]
    return list(rows.sort_values("mean", ascending=better == "lower", kind="stable")["method"])


def mark(row: Mapping[Any, Any]) -> str:
    """Return what stands beside a mean, as the caption says."""
    few = row["pairs"] < least_pairs()  # which the caption says once, of all methods
    return "*" if row["tie"] else "?" if row["untold"] and not few else ""


def _cell(row: Mapping[Any, Any] | None, wide: bool) -> str:
    if row is None or not row["samples"]:
        return "-"
    mean = f"{row['mean']:.3f}{mark(row) or ' '}"
    # Below the mean, the digits of its error stand below its own.
    space, end = (" ", "") if wide else ("\n", " ")
    if row["missing"]:  # means are over the samples that all methods have
        mean += f"{space}({row['missing']} missing){space}"
    error = "" if np.isnan(row["standard_error"]) else f"{space}±{row['standard_error']:.3f}{end}"
    return f"[bold]{mean}{error}[/]" if row["best"] else f"{mean}{error}"


def messages(evaluation: Evaluation) -> list[str]:
    """Return what a reader of the table must know: what is missing from it, and warnings."""
    results = evaluation.results
    lines = [f"{'left out' if one.expected else 'failed'}: {one}" for one in results.failures]
    for text, sources in results.notes.items():
        cells = "; ".join(sources[:3]) + (f"; {len(sources) - 3} more" if len(sources) > 3 else "")
        lines.append(f"note: {with_files(text, evaluation.inputs.samples)} [{cells}]")
    return lines


def with_files(text: str, files: Sequence[str] | None) -> str:
    """Return a warning with the files of samples, if they are known, in place of their places.

    Examples
    --------
    >>> with_files("no score: samples 0, 2 and 9 more", ["a.png", "b.png", "c.png"])
    'no score: samples a.png, c.png and 9 more'
    """
    if files is None:
        return text

    def named(found: re.Match[str]) -> str:
        return found[1] + ", ".join(files[int(place)] for place in found[2].split(", "))

    return _PLACES.sub(named, text)


def show(terminal: Terminal, evaluation: Evaluation) -> None:
    """Print an evaluation's table, and what is missing from it."""
    terminal.out.print(
        f"\n[bold]{escape(evaluation.name)}[/]: {len(evaluation.inputs.x)} images, "
        f"mean ± standard error; {caption(evaluation)}"
    )
    terminal.out.print(table(evaluation, terminal.out.width))
    for line in messages(evaluation):
        terminal.out.print(Padding(Text(line, style="yellow"), (0, 0, 0, 2)))
    terminal.out.print()


def write_tables(
    folder: Path, evaluations: Sequence[Evaluation], settings: Mapping[str, Any]
) -> list[Path]:
    """Write ``scores.csv``, ``summary.csv``, ``components.csv`` and ``run.json``; return them.

    Parameters
    ----------
    folder
        Where to; files of these names are replaced.
    evaluations
        One for each model.
    settings
        What the run was asked for, kept in ``run.json`` beside the versions of the packages.
    """
    made: dict[str, dict[str, pd.DataFrame]] = defaultdict(dict)
    for evaluation in evaluations:
        name, results = evaluation.name, evaluation.results
        long = made["scores"][name] = results.table()
        samples = np.asarray(evaluation.inputs.samples, dtype=object)
        long.insert(3, "file", samples[long["sample"].to_numpy(dtype=int)])
        made["summary"][name] = evaluation.summary
        if results.components:
            parts = pd.concat(results.components, names=["method", "sample"]).reset_index()
            places = parts["sample"].to_numpy(dtype=int)
            parts.insert(2, "file", samples[places])
            parts.insert(3, "target", results.targets[places])
            made["components"][name] = parts
    for table_name, frames in made.items():
        text = csv_text(pd.concat(frames, names=["model"]).reset_index("model"), index=False)
        replace_file(folder / f"{table_name}.csv", text.encode())
    run = {
        "settings": dict(settings),
        "messages": {evaluation.name: messages(evaluation) for evaluation in evaluations},
        "versions": versions(),
    }
    replace_file(folder / "run.json", json.dumps(run, indent=2, default=str).encode())
    return [folder / "run.json", *(folder / f"{name}.csv" for name in made)]


def versions() -> dict[str, str]:
    """Return the versions of Python and what scores may come from, and a digest of our code."""
    names = ("gae-metric", *MATTER, "captum", "scikit-learn", "scikit-image", "pandas")
    code = digest_of_code({"abslrp": (), "gae_metric": ()})
    return {"python": platform.python_version(), **installed(names), "code": code}


def write_report(
    path: Path, evaluations: Sequence[Evaluation], pictures: Mapping[str, Sequence[Path]]
) -> None:
    """Write the page, which needs nothing but itself.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    evaluations
        One for each model.
    pictures
        Figures to show, by the evaluation's name.
    """
    template = files("gae_metric.commands").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True)
    environment.filters["base64"] = lambda path: base64.b64encode(path.read_bytes()).decode()
    told = {"arrows": ARROWS, "caption": caption, "mark": mark, "messages": messages}
    page = environment.from_string(template).render(
        evaluations=evaluations, pictures=pictures, ranked=ranked, **told
    )
    replace_file(path, visible(page).encode())
