"""One model's table, the paper's numbers beside ours; and tables as Markdown, CSV and LaTeX."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.result_files import number, templates
from gae_metric.commands.terminal import csv_text, markdown_text, visible


@dataclass(frozen=True, eq=False)
class Table:
    """A table of one model.

    Attributes
    ----------
    model
        Our model.
    number
        The paper's table that ours stands beside; None: there is none.
    theirs
        The data set and model of the paper's.
    samples
        Number of images.
    scores
        Names of the columns.
    cells
        A row for each method and score: ``method``, ``score``, ``better``, ``mean``,
        ``standard_error``, ``ci_low``, ``ci_high``, ``samples``, ``best``, ``tie`` (not told apart
        from the best, see :func:`gae_metric.compare`), ``paper`` and ``paper_tie``.
    agreement
        A row for each score that both have: ``score``, ``methods`` (that both have), ``tau``
        (Kendall's τ-b between our order of them and the paper's) and ``p``.
    notes
        What is missing from it, and why.
    settings
        The options of its metrics.
    """

    model: str
    number: int | None
    theirs: str
    samples: int
    scores: tuple[str, ...]
    cells: pd.DataFrame
    agreement: pd.DataFrame
    notes: tuple[str, ...]
    settings: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """What it is of, in words."""
        images = f"{self.model}, {self.samples} images"
        if self.number is None:
            return images
        return f"{images}; beside it table {self.number} of the paper ({self.theirs})"

    @property
    def by_place(self) -> dict[tuple[Any, Any], dict[Hashable, Any]]:
        """Its cells by method and score."""
        return {(row["method"], row["score"]): row for row in self.cells.to_dict("records")}

    @property
    def ways(self) -> dict[str, str | None]:
        """Which way each score is read: ``"higher"`` or ``"lower"``; None where there is none."""
        known = dict(zip(self.cells["score"], self.cells["better"], strict=True))
        return {score: known.get(score) for score in self.scores}


_CELLS = (
    *("model", "table", "method", "score", "better", "mean", "standard_error", "ci_low", "ci_high"),
    *("samples", "best", "tie", "paper", "paper_tie"),
)


def markdown(tables: Sequence[Table]) -> str:
    """Return all tables as GitHub's Markdown."""
    parts = []
    for table in tables:
        head, rows = _grid(table, _markdown_ours)
        rows = [[markdown_text(row[0]), *row[1:]] for row in rows]
        grid = pd.DataFrame(rows, columns=list(map(markdown_text, head)))
        text = grid.to_markdown(index=False, tablefmt="github", disable_numparse=True)
        parts.append((table, text))
    return _TEMPLATES.get_template("tables.md").render(parts=parts)


def latex(tables: Sequence[Table]) -> str:
    """Return all tables as LaTeX, for the package booktabs."""
    parts = [(table, *_grid(table, _latex_ours)) for table in tables]
    return _TEMPLATES.get_template("tables.tex").render(parts=parts)


def csv(tables: Sequence[Table]) -> tuple[str, str]:
    """Return all cells in long form, and the rank correlations."""
    cells = [t.cells.assign(model=t.model, table=t.number)[list(_CELLS)] for t in tables]
    agreement = [t.agreement.assign(model=t.model, table=t.number) for t in tables]
    columns = ["model", "table", "score", "methods", "tau", "p"]
    both = pd.concat([t for t in agreement if len(t)] or [pd.DataFrame(columns=columns)])
    joined = pd.concat(cells, ignore_index=True)
    joined["table"] = joined["table"].astype("Int64")
    return csv_text(joined, index=False), csv_text(both[columns], index=False)


def _grid(table: Table, ours: Any) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table."""
    cells = table.by_place
    arrows = {"higher": "↑", "lower": "↓"}
    with_paper = table.number is not None
    head = ["method"]
    for score, way in table.ways.items():
        head += [f"{score} {arrows.get(way or '', '')}".strip(), *(["paper"] if with_paper else [])]
    rows = []
    for method in dict.fromkeys(table.cells["method"]):
        row = [str(method)]
        for score in table.scores:
            cell = cells.get((method, score))
            row.append("" if cell is None else ours(cell, table.samples))
            if with_paper:
                tie = "*" if cell and cell["paper_tie"] else ""
                row.append(f"{_number(cell['paper'])}{tie}" if cell else "")
        rows.append(row)
    if len(table.agreement):
        taus = table.agreement.set_index("score")["tau"]
        rows.append(["Kendall's τ"])
        for score in table.scores:
            rows[-1] += [_number(taus[score], 2), ""]
    return head, rows


_number = partial(number, minus="-", nothing="")


def _ours(cell: Mapping[Hashable, Any], samples: int, bold: str, star: str, nothing: str) -> str:
    """Return mean, deviation and marks."""
    mean, error = _number(cell["mean"]), _number(cell["standard_error"])
    if not mean:
        return nothing
    fewer = f" (n = {cell['samples']})" if cell["samples"] < samples else ""
    deviation = f" ± {error}" if error else ""
    shown = bold.format(mean) if cell["best"] else mean
    return f"{shown}{deviation}{star * cell['tie']}{fewer}"


#: In Markdown an asterisk that is one.
_markdown_ours = partial(_ours, bold="**{}**", star=r"\*", nothing="–")
_latex_ours = partial(_ours, bold=r"\textbf{{{}}}", star="*", nothing="--")

_SYMBOLS: dict[str, Any] = {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
_SYMBOLS |= {"*": r"$^{*}$", "τ": r"$\tau$"}
_ESCAPED: dict[str, Any] = {letter: f"\\{letter}" for letter in "&%$#_{}"}
_ESCAPED |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
_ESCAPED |= {"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"}
_ESCAPED |= {"[": "{[}", "]": "{]}"}  # after a row's end, a bracket would be its argument
_ESCAPED |= {letter: _SYMBOLS[letter] for letter in "*τ"}


def _line(text: str) -> str:
    return visible(" ".join(text.split()))


_TEMPLATES = templates(Path(__file__).parent, keep_trailing_newline=True)
_TEMPLATES.filters |= {"line": _line, "markdown": markdown_text}
_TEMPLATES.filters["latex"] = lambda text: _line(text).translate(str.maketrans(_ESCAPED))
_TEMPLATES.filters["symbols"] = lambda text: text.translate(str.maketrans(_SYMBOLS))
