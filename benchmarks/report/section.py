"""One run in the page: its scores, figures, samples, times and settings."""

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.figures.write import Material
from benchmarks.report.explained import Progress, chosen, content
from benchmarks.report.page_figures import Picture, figures
from benchmarks.runner.collected import Collected, collect
from benchmarks.tables.against_paper import build_tables
from gae_metric.errors import InputError


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


def failures(collected: Collected) -> pd.DataFrame:
    """Say once for each reason which methods of a model, and how many images, it is about."""
    keys = ["applies", "model", "metric", "error"]
    found = collected.failures.assign(metric=collected.failures["metric"].fillna("all"))
    found["images"] = [range(*span) for span in zip(found["start"], found["stop"], strict=True)]
    rows = found.groupby(keys, sort=False).agg({"method": "unique", "images": list})
    rows["images"] = [len(set().union(*spans)) for spans in rows["images"]]
    # Errors first: that a method is not for a model is no surprise.
    return rows.reset_index().sort_values("applies", ascending=False, kind="stable")


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
        self.ident, self.count, self.progress = ident, samples, progress
        self.name = folder.resolve().name
        self.problems: list[str] = []
        progress(self.name)
        self.collected = collect(folder)
        self.tables = build_tables(self.collected)
        scored = {table.model for table in self.tables if len(table.cells)}
        self.models = [m.name for m in self.collected.run.models if m.name in scored]
        try:
            self.subjects = {s.name: s for s in Material(folder).subjects} if maps else {}
            self.figures = {name: self._figures(name) for name in self.models}
            self._samples()
        except InputError as error:
            if not maps:
                raise
            raise InputError(
                f"{error}. Images and maps of {str(folder)!r} need its data and models where they "
                "were; --no-maps makes the page without"
            ) from error
        # What the template ``run.html`` shows besides.
        self.images = self.collected.targets["sample"].nunique()
        self.devices = sorted(set(self.collected.seconds["device"].dropna()) - {""})
        self.times = {name: seconds(self.collected, name) for name in self.models}
        self.failures = failures(self.collected).to_dict("records")
        self.settings = self.collected.run.model_dump(mode="json", warnings=False)

    def _figures(self, model: str) -> list[Picture]:
        self.progress(f"{self.name}: figures of {model}")
        mine = [table for table in self.tables if table.model == model]
        return list(figures(self.collected, model, mine, self.subjects.get(model)))

    def _samples(self) -> None:
        """Collect the samples to browse, and what is said of them."""
        self.samples: list[dict[str, Any]] = []
        self.changed: list[str] = []
        counts: list[tuple[int, int]] = []

        def told(what: str) -> None:
            self.progress(f"{self.name}: maps of {what}")

        for model in self.models:
            targets = self.collected.targets
            known = sorted(int(s) for s in targets[targets["model"] == model]["sample"])
            shown = chosen(known, self.count)
            counts.append((len(shown), len(known)))
            subject = self.subjects.get(model)
            block = content(self.collected, model, shown, self._better(model), subject, told)
            self.samples.append(block)
            for method, problem in block["problems"].items():
                self.problems.append(f"{model}: no maps of {method}: {problem}")
            if block["changed"]:
                self.changed.append(
                    f"{model}: the output for {len(block['changed'])} of {len(shown)} images is "
                    "not what it was in the run; maps are those of the model as it is now"
                )
                self.problems.append(self.changed[-1])
        self.comparable = all(one["comparable"] for one in self.samples)
        maps = [one for block in self.samples for some in block["maps"] for one in some or ()]
        self.size = sum(len(one or "") for one in maps)
        #: Samples that are shown, of all that there are.
        self.shown, self.total = max(counts, key=lambda count: count[1])

    def _better(self, model: str) -> dict[str, str]:
        """Return which way each score of a model's tables is read; GAE first."""
        mine = [table.ways for table in self.tables if table.model == model]
        ways = {name: way for own in mine for name, way in own.items() if way is not None}
        return dict(sorted(ways.items(), key=lambda one: one[0] != "GAE"))
