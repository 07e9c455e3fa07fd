"""The tables of scores as HTML; a script makes their columns sort."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.report.markup import Markup, joined, tag
from benchmarks.tables.model_table import Table

__all__ = ["caption", "heading", "number", "score_table", "scrolling"]

LEGEND = joined(
    [
        "Mean ± standard error over the images; beside it the paper's number. ",
        tag("b", "Bold", class_="best"),
        ": best mean. ",
        tag("span", "*", class_="tie"),
        ": not told apart from the best (Wilcoxon's signed-rank test, p = 0.05). ↑ higher, ↓ lower "
        "is better. τ: Kendall's rank correlation between our order of the methods and the "
        "paper's. A click on a column's head sorts by it, best first; another one reverses.",
    ]
)


def score_table(table: Table, title: str) -> Markup:
    """Return a table of :func:`benchmarks.tables.against_paper.build_tables`.

    Parameters
    ----------
    table
        The table.
    title
        What is written above it.
    """
    cells = {(row["method"], row["score"]): row for row in table.cells.to_dict("records")}
    better = {row["score"]: row["better"] for row in cells.values()}
    with_paper = table.number is not None
    body = []
    for method in dict.fromkeys(table.cells["method"]):
        row = [tag("th", method, scope="row")]
        for score in table.scores:
            cell = cells.get((method, score))
            row.append(_ours(cell, table.samples, "number first" if with_paper else "number"))
            if with_paper:
                row.append(_theirs(cell))
        body.append(tag("tr", *row))
    foot = tag("tfoot", _agreement(table)) if len(table.agreement) else ""
    return scrolling(
        tag(
            "table",
            caption(title),
            _head(table.scores, better, with_paper),
            tag("tbody", *body),
            foot,
            class_="sortable scores",
        ),
        title,
    )


def caption(title: str) -> Markup:
    """Return the title of a table, which stays where it is seen as the table scrolls."""
    return tag("caption", tag("span", title))


def scrolling(table: Markup, name: str) -> Markup:
    """Put a table where it scrolls sideways, also by keyboard."""
    return tag("div", table, class_="scroll", role="region", aria_label=name, tabindex="0")


def heading(
    words: str, better: str | None = None, *, text: bool = False, **attributes: Any
) -> Markup:
    """Return the head of a column that sorts.

    Parameters
    ----------
    words
        What it says.
    better
        ``"higher"``, ``"lower"`` or None, which is no better way; the first click puts the best
        first.
    text
        Whether its cells are words.
    **attributes
        Of the cell.
    """
    arrow = {"higher": " ↑", "lower": " ↓"}.get(better or "", "")
    return tag(
        "th",
        f"{words}{arrow}",
        scope="col",
        data_sort="text" if text else "number",
        data_better=better,
        **attributes,
    )


def _head(scores: Sequence[str], better: Mapping[str, str], with_paper: bool) -> Markup:
    first = heading("method", text=True, rowspan=2 if with_paper else None)
    if not with_paper:
        row = tag("tr", first, *(heading(score, better.get(score)) for score in scores))
        return tag("thead", row)
    arrows = {"higher": " ↑", "lower": " ↓", None: ""}
    groups = [
        tag(
            "th",
            tag("span", f"{score}{arrows[better.get(score)]}"),
            colspan=2,
            scope="colgroup",
        )
        for score in scores
    ]
    columns = [
        tag(
            "th",
            whose,
            scope="col",
            data_sort="number",
            data_better=better.get(score),
            aria_label=f"{score}, {whose}",
            class_="first" if whose == "ours" else None,
        )
        for score in scores
        for whose in ("ours", "paper")
    ]
    return tag("thead", tag("tr", first, *groups), tag("tr", *columns))


def _ours(cell: Mapping[Hashable, Any] | None, samples: int, classes: str) -> Markup:
    if cell is None or not np.isfinite(cell["mean"]):
        return tag("td", "–", class_=f"{classes} none")
    parts: list[Any] = [tag("b" if cell["best"] else "span", number(cell["mean"]))]
    if np.isfinite(cell["standard_error"]):
        parts.append(tag("span", f" ± {number(cell['standard_error'])}", class_="error"))
    # There in every cell, so that digits stand below one another.
    tie = {"class_": "tie", "title": "not told apart from the best"} if cell["tie"] else {}
    parts.append(tag("span", "*" if cell["tie"] else "\u2007", **tie))
    if cell["samples"] < samples:
        parts.append(tag("small", f"n = {cell['samples']}"))
    classes += " best" if cell["best"] else ""
    return tag("td", *parts, class_=classes, data_value=repr(float(cell["mean"])))


def _theirs(cell: Mapping[Hashable, Any] | None) -> Markup:
    if cell is None or not np.isfinite(cell["paper"]):
        return tag("td", class_="number paper none")
    tie = tag("span", "*" if cell["paper_tie"] else "\u2007", class_="tie")
    value = float(cell["paper"])
    return tag("td", number(value), tie, class_="number paper", data_value=repr(value))


def _agreement(table: Table) -> Markup:
    rows = table.agreement.set_index("score")
    cells = []
    for score in table.scores:
        tau, methods = float(rows["tau"][score]), int(rows["methods"][score])
        words = number(tau, 2) if np.isfinite(tau) else "–"
        count = tag("span", f" {methods} methods", class_="error")
        value = repr(tau) if np.isfinite(tau) else None
        cells.append(tag("td", words, count, colspan=2, class_="number", data_value=value))
    return tag("tr", tag("th", "Kendall's τ", scope="row"), *cells)


def number(value: float, digits: int = 3) -> str:
    """Write a number with a minus sign that is one.

    Examples
    --------
    >>> number(0.2718), number(-0.00001), number(-1.5, 1), number(float("nan"))
    ('0.272', '0.000', '−1.5', '–')
    """
    if not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
