"""One run in the page: its scores, figures, samples, times and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures.material import Material
from benchmarks.figures.subject import Subject
from benchmarks.report import facts
from benchmarks.report.explained import Explained, chosen, explain
from benchmarks.report.markup import Markup, data, joined, tag
from benchmarks.report.page_figures import figures
from benchmarks.report.page_tables import score_table
from benchmarks.report.pictures import MAP_SIDE
from benchmarks.report.samples import browser, content
from benchmarks.runner.collected import collect
from benchmarks.tables.against_paper import build_tables
from benchmarks.tables.model_table import Table
from gae_metric.errors import InputError

__all__ = ["Progress", "Section"]

Progress = Callable[[str], None]


class Section:
    """One run's part of the page.

    Parameters
    ----------
    ident
        What its ids begin with.
    folder
        Of the run's results.
    samples, maps, progress
        See :func:`benchmarks.report.build.write_report`.

    Raises
    ------
    InputError
        If there are no results, or the data or a model is not there any more.
    """

    def __init__(
        self, ident: str, folder: Path, samples: int, maps: bool, progress: Progress
    ) -> None:
        self.ident, self.folder, self.samples, self.progress = ident, folder, samples, progress
        self.name = folder.resolve().name
        self.problems: list[str] = []
        progress(self.name)
        self.collected = collect(folder)
        self.tables = build_tables(self.collected)
        scored = {table.model for table in self.tables if len(table.cells)}
        self.models = [m.name for m in self.collected.run.models if m.name in scored]
        try:
            self.subjects = {s.name: s for s in Material(folder).subjects} if maps else {}
            self._scores = joined(self._of_model(i, name) for i, name in enumerate(self.models))
            browse = self._samples()
        except InputError as error:
            if not maps:
                raise
            raise InputError(
                f"{error}. Images and maps of {str(folder)!r} need its data and models where they "
                "were; --no-maps makes the page without"
            ) from error
        self._parts = {
            "samples": ("Samples", browse),
            "times": ("Times", facts.seconds(self.collected, self.models)),
            "failures": ("Not computed", facts.failures(self.collected, _skipped(folder))),
            "settings": ("Settings", facts.settings(self.collected)),
        }

    @property
    def contents(self) -> Markup:
        """Links to what there is."""
        links = [
            *((f"{self.ident}-model-{i}", name) for i, name in enumerate(self.models)),
            *((f"{self.ident}-{key}", title) for key, (title, _) in self._parts.items()),
        ]
        items = [tag("li", tag("a", words, href=f"#{ident}")) for ident, words in links]
        head = tag("a", self.name, href=f"#{self.ident}")
        return tag("li", head, tag("ul", *items))

    @property
    def html(self) -> Markup:
        """The section."""
        parts = [
            tag("section", tag("h3", title), inner, id=f"{self.ident}-{key}")
            for key, (title, inner) in self._parts.items()
        ]
        return tag(
            "section",
            tag("h2", self.name),
            tag("p", facts.outline(self.collected), class_="outline"),
            self._scores,
            *parts,
            id=self.ident,
            class_="run",
        )

    def _of_model(self, i: int, model: str) -> Markup:
        """Return a model's tables and figures."""
        self.progress(f"{self.name}: figures of {model}")
        mine = [table for table in self.tables if table.model == model]
        parts = [score_table(table, _title(table)) for table in mine]
        drawn = list(figures(self.collected, model, mine, self.subjects.get(model)))
        return tag(
            "section",
            tag("h3", model),
            *parts,
            tag("div", *drawn, class_="figures"),
            id=f"{self.ident}-model-{i}",
        )

    def _samples(self) -> Markup:
        """Return the frame to browse samples in, and their data."""
        found: list[dict[str, Any]] = []
        counts: list[tuple[int, int]] = []
        notes: list[Markup] = []
        for model in self.models:
            subject = self.subjects.get(model)
            targets = self.collected.targets
            known = sorted(int(s) for s in targets[targets["model"] == model]["sample"])
            shown = chosen(known, self.samples)
            better = self._better(model)
            explained = None if subject is None else self._explained(subject, shown)
            counts.append((len(shown), len(known)))
            found.append(content(self.collected, model, shown, better, explained))
            if explained is not None and explained.changed:
                self.problems.append(
                    f"{model}: the output for {len(explained.changed)} of {len(shown)} images is "
                    "not what it was in the run; maps are those of the model as it is now"
                )
                notes.append(tag("p", self.problems[-1], class_="warning"))
        blocks = [data(one, id=f"{self.ident}-data-{i}") for i, one in enumerate(found)]
        comparable = all(one["comparable"] for one in found)
        size = sum(
            len(one) for block in found for maps in block["maps"] for one in maps or () if one
        )
        told = _browsed(*max(counts, key=lambda count: count[1]), size)
        return joined(
            [
                tag("p", told, class_="note"),
                *notes,
                tag("noscript", tag("p", "Samples need JavaScript.", class_="warning")),
                browser(self.ident, self.models, comparable),
                *blocks,
            ]
        )

    def _better(self, model: str) -> dict[str, str]:
        """Return which way each score of a model's tables is read; GAE first."""
        cells = [table.cells for table in self.tables if table.model == model]
        ways = {row["score"]: row["better"] for c in cells for row in c.to_dict("records")}
        names = [name for t in self.tables if t.model == model for name in t.scores if name in ways]
        ordered = sorted(dict.fromkeys(names), key=lambda name: name != "GAE")
        return {name: str(ways[name]) for name in ordered}

    def _explained(self, subject: Subject, samples: Sequence[int]) -> Explained:
        explained = explain(
            subject,
            samples,
            subject.methods,
            lambda method: self.progress(f"{self.name}: maps of {subject.name}, {method}"),
        )
        for method, problem in explained.problems.items():
            self.problems.append(f"{subject.name}: no maps of {method}: {problem}")
        return explained


def _title(table: Table) -> str:
    if table.number is None:
        return f"{table.model}, {table.samples} images"
    return (
        f"{table.model}, {table.samples} images, beside table {table.number} of the paper "
        f"({table.theirs})"
    )


def _browsed(shown: int, total: int, size: int) -> str:
    which = f"All {total} images" if shown == total else f"{shown} of the {total} images"
    how = "" if shown == total else ", spread evenly over the run (--samples shows more)"
    if not size:
        return f"{which}{how}. Made without images and maps."
    return (
        f"{which}{how}. Maps were made anew, of the class that the run explains: red speaks for "
        "it, blue against it, each map on a scale of its own, at most "
        f"{MAP_SIDE} pixels wide. They take {size / 1e6:.1f} MB."
    )


def _skipped(folder: Path) -> dict[str, str]:
    """Return the images that were left out, where the run still says so."""
    try:
        drawn = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        return {str(file): str(reason) for file, reason in drawn["skipped"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
