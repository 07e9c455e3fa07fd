"""``gae-metric evaluate``: a user's own model and images; and what it shares with the demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gae_metric.commands.cells import Cells
from gae_metric.commands.figures import write_figures
from gae_metric.commands.folder import begin, claim, new_folder
from gae_metric.commands.methods import method
from gae_metric.commands.provenance import digest
from gae_metric.commands.quantus_evaluation import METRICS, Settings, evaluate
from gae_metric.commands.reading import read_inputs
from gae_metric.commands.report import write_report
from gae_metric.commands.requests import EvaluateRequest, settings_of
from gae_metric.commands.tables import Evaluation, Inputs, versions, write_tables
from gae_metric.commands.terminal import Terminal, duration
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import ExplainFunc


def run(request: EvaluateRequest, terminal: Terminal | None = None) -> list[Evaluation]:
    """Evaluate methods on a model and a folder of images, and write a folder.

    Everything that can be wrong is looked at before the long work begins.

    Parameters
    ----------
    request
        What to evaluate.
    terminal
        Where the table and progress go.

    Returns
    -------
    list of Evaluation
        One. Its folder holds ``scores.csv`` (one row per method, metric and sample),
        ``summary.csv``, ``components.csv``, ``run.json``, ``report.html``, the finished ``cells``,
        and those of :func:`gae_metric.commands.figures.figures` that the metrics allow:
        ``bars.png``, ``maps.png``, ``scatter.png`` (LC against C), ``curves.png`` (figure 2),
        ``impact.png`` (figure 3), ``mosaic.png`` (figure 4) and ``extremes.png`` (figures 11 and
        14).

    Raises
    ------
    InputError
        If a part of the request is not as described.
    EvaluationError
        If no method could be evaluated.
    """
    terminal = terminal or Terminal()
    files = request.check()
    methods = dict(method(name) for name in request.method_names)
    settings = {"command": "evaluate"} | settings_of(request)
    options = Settings(
        seed=request.seed,
        lipschitz_samples=request.lipschitz_samples,
        batch_size=request.batch_size,
        masking=request.masking,
        mosaicking=request.mosaicking,
    )
    names = request.metric_names
    try:
        for name in names:
            METRICS[name](options)
    except ValueError as error:  # an option of theirs
        raise InputError(str(error)) from error
    folder = claim(request.out, settings, request.overwrite)
    work = Run(folder, methods, names, options, settings, terminal, request.figures)
    work.add(folder, request.model, read_inputs(request, files, terminal))
    return work.finish()


@dataclass
class Run:
    """A folder that is filled model by model, so that what is done stays if it is stopped."""

    folder: Path
    methods: Mapping[str, ExplainFunc]
    metrics: Sequence[str]
    options: Settings
    #: What the run is of.
    settings: Mapping[str, Any]
    terminal: Terminal
    figures: bool = True
    evaluations: list[Evaluation] = field(default_factory=list)
    pictures: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, folder: Path, name: str, inputs: Inputs) -> None:
        """Evaluate a model, show its table, and write what there is by now."""
        options = self.options
        if not self.evaluations:
            begin(self.folder, self.settings)
        scored = replace(options, batch_size=0)
        made = digest(inputs.model, inputs.x, inputs.targets, scored, versions())
        cells = Cells(new_folder(folder) / "cells", made)

        def planned(seconds: float, kept: int) -> None:
            more = f"; {kept} cells of the table are there already" if kept else ""
            self.terminal.say(f"{name}: about {duration(seconds)} of work{more}")

        with self.terminal.progress(name) as progress:
            results = evaluate(
                inputs.model,
                inputs.x,
                inputs.targets,
                self.methods,
                self.metrics,
                settings=options,
                progress=progress,
                cells=cells,
                planned=planned,
            )
        evaluation = Evaluation(name, inputs, results, self.methods)
        self.evaluations.append(evaluation)
        self.terminal.show(evaluation)
        if inputs.skipped:
            self.settings = {**self.settings, "skipped": dict(inputs.skipped)}
        if self.figures:
            self.pictures[name] = write_figures(folder, evaluation)

    def finish(self) -> list[Evaluation]:
        """Write tables of all models and the page, and say where everything is."""
        write_tables(self.folder, self.evaluations, self.settings)
        write_report(self.folder / "report.html", self.evaluations, self.pictures)
        self.terminal.done(f"Results are in {self.folder}; report.html shows them")
        return self.evaluations
