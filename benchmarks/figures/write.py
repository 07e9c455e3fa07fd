"""Figures by number, drawn and written for a run: of its results, images and models."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from benchmarks.data.dataset import Data
from benchmarks.data.names import open_data
from benchmarks.figures import sample, sheets
from benchmarks.figures.plan import FIGURES, LackingError, Plan, check_numbers
from benchmarks.figures.subject import Family, Subject
from benchmarks.result_files import slug
from benchmarks.runner.collected import collect
from gae_metric.commands.folder import replace_file
from gae_metric.errors import InputError

Draw: TypeAlias = Callable[[Plan, Sequence[Subject]], Figure]
#: What runs have a model of a family.
_RUNS: dict[Family, str] = {
    "cnn": "convolutional network; a run with --model digits:vgg or --config table1 has",
    "vit": "vision transformer; a run with --model digits:vit or --config table5 has",
}
#: Figures that any model may stand in.
_OF_ONE_SAMPLE = ("curves", "impact", "mosaic")


class Drawn(NamedTuple):
    """A picture."""

    #: What its file is named by, after the number: the model.
    name: str
    figure: Figure
    #: What stands in it for what the paper's shows.
    instead: str


class Material:
    """A run, as its figures need it.

    Parameters
    ----------
    folder
        The run's results.
    named
        Images of several classes that are to be shown.

    Raises
    ------
    InputError
        If there are none, or no scores yet.
    """

    def __init__(self, folder: str | Path, named: Sequence[str] = ()) -> None:
        self.collected = collect(folder)
        self.named = named
        self.run = self.collected.run
        if self.collected.scores.empty:
            raise InputError(
                f"results: the run in {str(folder)!r} holds no scores yet; `python -m benchmarks "
                "run` with the same configuration goes on with it"
            )
        #: Methods that could not explain again, and why.
        self.problems: list[str] = []

    @functools.cached_property
    def data(self) -> Data:
        """The data set, of which each sample is found by its file."""
        data, masks = self.run.data, self.run.masks
        return open_data(data.name, labels=data.labels, split=data.split, masks=masks)

    @functools.cached_property
    def subjects(self) -> list[Subject]:
        """The models that there are scores of, as the run lists them."""
        scored = set(self.collected.scores["model"])
        device = device_of(self.run.devices[0])
        return [
            Subject(self.collected, entry, lambda: self.data, device, self.problems, self.named)
            for entry in self.run.models
            if entry.name in scored
        ]

    def standing_for(self, plan: Plan) -> list[Subject]:
        """Return the models that a figure is drawn for: of its network, else of its family.

        Raises
        ------
        LackingError
            If there is none.
        """
        if plan.kind in _OF_ONE_SAMPLE:
            return self.subjects
        network = re.findall("[a-z]+", plan.models[0])[0]
        family: Family = "vit" if network == "vit" else "cnn"
        alike = [subject for subject in self.subjects if subject.family == family]
        if not alike:
            raise LackingError(f"there are no scores of a {_RUNS[family]}")
        return [subject for subject in alike if network in subject.name] or alike

    def groups(self, plan: Plan, beside: Sequence[Material] = ()) -> list[list[Subject]]:
        """Return the models of each picture of a figure; of runs ``beside`` where it has two.

        Raises
        ------
        LackingError
            If there is none.
        """
        standing = self.standing_for(plan)
        if len(plan.models) > 1:
            return [_unlike_grids(standing)]
        if len(plan.data) < 2:
            return [[subject] for subject in standing]
        groups = []
        for subject in standing:
            others = [one for run in beside for one in run.subjects if one.name == subject.name]
            both = [subject, *(one for one in others if one.data_kind != subject.data_kind)][:2]
            order = [*plan.data, *(one.data_kind for one in both)]
            groups.append(sorted(both, key=lambda one: order.index(one.data_kind)))
        return groups

    def drawn(self, plan: Plan, beside: Sequence[Material] = ()) -> Iterator[Drawn | LackingError]:
        """Draw the pictures of a figure, or say what the run lacks for them."""
        try:
            groups = self.groups(plan, beside)
        except LackingError as error:
            yield error
            return
        for group in groups:
            try:
                picture = DRAW[plan.kind](plan, group)
            except LackingError as error:
                yield LackingError(f"{group[0].name}: {error}")
                continue
            name = "-vs-".join(dict.fromkeys(slug(subject.name) for subject in group))
            yield Drawn(name, picture, "; ".join(dict.fromkeys(_instead(plan, group))))


def _unlike_grids(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the vision transformers of the finest and of the coarsest grid of tokens."""
    ranked = sorted(subjects, key=lambda one: -math.prod(one.grid or ()))
    if ranked[0].grid == ranked[-1].grid:
        grids = ", ".join(f"{s.name} {'×'.join(map(str, s.grid or ()))}" for s in ranked)
        raise LackingError(
            "it takes scores of two vision transformers with different token grids, and there are "
            f"those of {grids}; a run with --config figure10 has both"
        )
    return [ranked[0], ranked[-1]]


def _instead(plan: Plan, group: Sequence[Subject]) -> Iterator[str]:
    """Say what stands for what the paper's figure shows."""
    lead = group[0]
    wanted = [(model, data) for model in plan.models for data in plan.data]
    for (model, data), subject in zip(wanted, group, strict=False):
        if subject.name != f"paper:{model}":
            yield f"{subject.name} for {model}"
        if subject.data_kind != data:
            yield f"{subject.data_kind} for {data}"
    if len(group) < len(wanted):
        yield f"no run of {wanted[-1][1]} beside it"
    if lead.main != "absLRP":
        yield f"{lead.main} for absLRP"
    if len(lead.scored_targets) < plan.samples:
        yield f"{len(lead.scored_targets)} samples for {plan.samples}"


def device_of(wanted: str) -> str:
    """Return the run's device where this machine has it."""
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError):  # torch's own words for a device that is not there
        return "cpu"
    return wanted


DRAW: dict[str, Draw] = {
    "curves": sample.curves,
    "impact": sample.impact,
    "mosaic": sample.mosaic,
    "maps": sheets.maps,
    "classes": sheets.classes,
    "ranked": sheets.ranked,
}
"""What draws each kind of figure."""

#: Dots per inch of the PNG files; the PDF files beside them are for print.
DPI = 150


def write_figures(
    results: str | Path,
    output: str | Path,
    numbers: Sequence[int] = (),
    say: Callable[[str], None] = lambda line: None,
    beside: Sequence[str | Path] = (),
    named: Sequence[str] = (),
) -> list[Path]:
    """Draw a run's figures, each as PNG and as PDF: ``figure02-digits-vgg.png``.

    Parameters
    ----------
    results
        Folder of the run, finished or not.
    output
        Folder of the figures; files of the same names are replaced.
    numbers
        The paper's figures that are wanted; all of them by default.
    say
        Takes a line on each figure as soon as there is one.
    beside
        Folders of other runs, for the figure that shows two data sets.
    named
        Images of several classes that are to be shown, ``FILE:CLASS,CLASS``.

    Returns
    -------
    The files.

    Raises
    ------
    InputError
        If there is no such figure, there are no results, or the data or a model is not there.
    OSError
        If a file cannot be written.
    """
    wanted = check_numbers(numbers)
    material = Material(results, named)
    two = any(len(FIGURES[number].data) > 1 for number in wanted)
    others = [Material(one) for one in beside if two]
    files: list[Path] = []
    for number in wanted:
        for outcome in material.drawn(FIGURES[number], others):
            if isinstance(outcome, LackingError):
                say(f"figure {number}: skipped: {outcome}")
                continue
            stem = f"figure{number:02d}-{outcome.name}"
            files += _save(outcome.figure, Path(output), stem)
            instead = f" ({outcome.instead})" if outcome.instead else ""
            say(f"wrote {files[-2]} and .pdf{instead}")
    for problem in material.problems:
        say(f"left out: {problem}")
    return files


def _save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    paths = []
    title = {"Title": " ".join(figure.get_suptitle().split())}
    # Type 42 fonts: what publishers take. No date, so that the same run gives the same file.
    with mpl.rc_context({"pdf.fonttype": 42}):
        for ending, metadata in (("png", title), ("pdf", title | {"CreationDate": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, dpi=DPI, metadata=metadata)
            path = folder / f"{stem}.{ending}"
            replace_file(path, buffer.getvalue())
            paths.append(path)
    return paths
