"""Tables of a run: our mean ± standard error, with the paper's number beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.config.runs import Run
from benchmarks.methods import METHODS
from benchmarks.metrics.registry import kind_of
from benchmarks.paper import paper_table, paper_tables
from benchmarks.runner.collected import Collected, collect
from benchmarks.tables.formats import Table, csv, latex, markdown
from gae_metric.commands.folder import replace_file
from gae_metric.comparison import compare
from gae_metric.comparison.direction import directions
from gae_metric.comparison.results import Better
from gae_metric.errors import InputError

ROW_NAMES = {"absLRP: ViT ablation full": "absLRP"}
"""Rows of the paper's tables that are a method of another row's name."""

ROUNDED = 12
"""Digits of a mean that its rank is told by: two of the same scores in another order are equal."""

_WHY_EMPTY = {"Focus": ", as it needs two that are explained as the same class"}


def columns_of_run(run: Run) -> list[str]:
    """Return the scores that a run's tables show."""
    return [column for metric in run.metrics for column in kind_of(metric.name).columns]


def write_tables(results: str | Path, output: str | Path) -> tuple[str, list[Path]]:
    """Write a run's tables: ``tables.md``, ``tables.csv``, ``tables.tex`` and ``kendall.csv``.

    Those of a run that is not finished are ``tables-incomplete.md`` and so on.

    Parameters
    ----------
    results
        Folder of the run.
    output
        Folder of the tables.

    Returns
    -------
    The tables as Markdown, and the files.

    Raises
    ------
    InputError
        If there are no results.
    OSError
        If the tables cannot be written.
    """
    collected = collect(results)
    tables = build_tables(collected)
    text = markdown(tables)
    cells, agreement = csv(tables)
    contents = {"tables.md": text, "tables.tex": latex(tables), "tables.csv": cells}
    files = []
    for name, content in {**contents, "kendall.csv": agreement}.items():
        named = name.replace(".", "-incomplete.") if collected.missing else name
        files.append(Path(output) / named)
        replace_file(files[-1], content.encode())
    return text, files


def build_tables(collected: Collected) -> list[Table]:
    """Compare the methods of a run, one table for each model and table of the paper.

    Raises
    ------
    InputError
        If there are no finite scores.
    """
    run = collected.run
    shown = columns_of_run(run)
    scores = collected.scores[collected.scores["metric"].isin(shown)]
    if not np.isfinite(scores["score"]).any():
        what = "scores yet" if scores.empty else "finite scores"
        raise InputError(f"results: {run.output!r} holds no {what}")
    compared = compare(scores, better=_better(shown))
    dataset = "PascalVOC" if run.data.name.startswith("voc") else "ImageNet"
    tables = []
    for model in run.models:
        ours = compared[compared["model"] == model.name]
        samples = scores[scores["model"] == model.name]["sample"].nunique()
        scored: dict[Any, int] = ours.groupby("metric", sort=False)["samples"].max().to_dict()
        empty = [name for name, count in scored.items() if count < min(2, samples)]
        whys = [
            f"{name} is left out: {scored[name]} of {samples} images have a score"
            f"{_WHY_EMPTY.get(name, '')}"
            for name in empty
        ]
        notes = (*_notes(collected, model.name), *whys)
        left = [name for name in shown if name not in empty]
        for number in (*model.paper, None):
            # Last, what no table of the paper has.
            theirs = paper_tables()[:0] if number is None else paper_table(number, dataset)
            known = left if number is None else set(theirs["score"]) - set(empty)
            common = [name for name in shown if name in known]
            if not common:
                continue
            cells = _beside(ours[ours["metric"].isin(common)], theirs)
            if not set(common) & set(left):
                # All of our numbers stand in a table before this one already.
                cells = cells.dropna(subset="paper")
            left = [name for name in left if name not in common]
            source = ", ".join(theirs.iloc[0][["dataset", "model"]]) if number else ""
            agreement = _agreement(cells, common if number else ())
            about = model.name, number, source, samples, tuple(common)
            tables.append(Table(*about, cells, agreement, notes, _settings(run, common)))
    return tables


def _settings(run: Run, shown: Sequence[str]) -> tuple[str, ...]:
    """Say the options of the metrics that are shown, also those that a run leaves as they are."""
    lines = []
    for metric in run.metrics:
        kind = kind_of(metric.name)
        given = {**kind.options, **metric.options}
        if given and set(kind.columns) & set(shown):
            options = ", ".join(f"{name} = {value}" for name, value in given.items())
            lines.append(f"{metric.name}: {options}.")
    return tuple(lines)


def _better(scores: Sequence[str]) -> dict[str, Better]:
    """Say which way Quantus's metrics are read, by the names that they have here."""
    found: dict[str, Better] = {}
    for score in scores:
        source, colon, name = score.partition(":")
        if source == "quantus" and colon:
            try:
                found[score] = directions([name], None)[name]
            except ValueError:  # Quantus does not say so itself
                found[score] = "higher"
    return found


def paper_name(method: str) -> str:
    """Return what the paper's tables call a method; its own name where they do not have it."""
    return METHODS[method].paper_name if method in METHODS else method


def _beside(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Put the paper's numbers beside ours."""
    cells = ours.rename(columns={"metric": "score"}).drop(columns="model")
    columns = {"method": "row", "value": "paper", "tie_by_wilcoxon": "paper_tie"}
    numbers = theirs.rename(columns=columns).replace({"row": ROW_NAMES})
    named = cells.assign(row=cells["method"].map(paper_name))
    kept = ["row", "score", "paper", "paper_tie"]
    joined: pd.DataFrame = named.merge(numbers[kept], on=["row", "score"], how="left")
    joined["paper_tie"] = joined["paper_tie"].eq(True)
    return joined.drop(columns="row")


def _agreement(cells: pd.DataFrame, scores: Sequence[str]) -> pd.DataFrame:
    """Compare our order of methods with the paper's."""
    rows = []
    for score in scores:
        both = cells[(cells["score"] == score)].dropna(subset=["mean", "paper"])
        tau, p = np.nan, np.nan
        if len(both) > 1:
            test = stats.kendalltau(both["mean"].round(ROUNDED), both["paper"])
            tau, p = float(test.statistic), float(test.pvalue)
        rows.append({"score": score, "methods": len(both), "tau": tau, "p": p})
    return pd.DataFrame(rows, columns=["score", "methods", "tau", "p"])


def _differ(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what is not the same for all shards, of what is noted of them."""
    noted = [
        {"git": one.get("revision"), "host": one.get("host"), **one.get("versions", {})}
        for one in facts
    ]
    lines = []
    for name in dict.fromkeys(name for one in noted for name in one):
        values = list(dict.fromkeys(str(one.get(name)) for one in noted))
        if len(values) > 1:
            lines.append(f"Not all shards are of the same {name}: {', '.join(values)}.")
    return lines


def _notes(collected: Collected, model: str) -> tuple[str, ...]:
    """Say what is missing, and why."""
    notes = []
    if count := collected.missing:
        lacking = {m: n for (name, m), n in collected.lacking.items() if name == model}
        parts = ", ".join(f"{method or 'predictions'} ({n})" for method, n in lacking.items())
        own = f"; of this model: {parts}" if parts else ""
        notes.append(f"The run is not finished: {count} of its shards are missing{own}.")
    notes += _differ(collected.facts)
    failures = collected.failures[collected.failures["model"] == model]
    for applies, words in ((False, "does not apply"), (True, "failed")):
        some = failures[failures["applies"].eq(applies)]
        for (method, error), rows in some.groupby(["method", "error"], sort=False):
            metrics = list(rows["metric"].dropna().unique())
            what = f"{method} ({', '.join(metrics)})" if metrics else str(method)
            # On one line: a note is an item of a list, and a comment in LaTeX.
            notes.append(" ".join(f"{what} {words}: {error}".split()))
    return tuple(notes)
