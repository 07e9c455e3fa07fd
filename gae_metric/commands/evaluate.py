"""``gae-metric evaluate``: a user's own model and images; ``gae-metric demo``: the package's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gae_metric.commands.cells import Cells
from gae_metric.commands.figures import write_figures
from gae_metric.commands.folder import begin, new_folder
from gae_metric.commands.methods import method
from gae_metric.commands.named_metrics import METRICS, Settings
from gae_metric.commands.provenance import digest
from gae_metric.commands.quantus_evaluation import evaluate
from gae_metric.commands.reading import read_inputs
from gae_metric.commands.requests import DEFAULT_METHODS, DemoRequest, EvaluateRequest
from gae_metric.commands.tables import (
    Evaluation,
    Inputs,
    show,
    versions,
    write_report,
    write_tables,
)
from gae_metric.commands.terminal import Terminal, duration
from gae_metric.demo import digits, photographs
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import ExplainFunc
from gae_metric.inputs.models import load_model
from gae_metric.study.logits import predictions


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
    work = Run(request.out, methods, names, options, request.settings, terminal, request.figures)
    work.add(request.out, request.model, read_inputs(request, files, terminal))
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
        evaluation = Evaluation(name, inputs, results, self.methods, options)
        self.evaluations.append(evaluation)
        show(self.terminal, evaluation)
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


PHOTOGRAPH_METHODS = ("absLRP", "GradCAM", "cLRP", "Saliency", "Random")
"""The methods that are compared on photographs."""

#: Steps of Integrated Gradients, which would take three quarters of the time with the usual 20.
_STEPS = 8


def run_demo(request: DemoRequest, terminal: Terminal | None = None) -> list[Evaluation]:
    """Evaluate methods with all metrics on held-out digits or photographs, and write a folder.

    Parameters
    ----------
    request
        How many digits, 4 to 450, balanced over the classes, and which networks. The network's own
        predictions are explained.
    terminal
        Where tables and progress go.

    Returns
    -------
    list of Evaluation
        One for each network. The folder holds what :func:`run` writes, figures and cells in a
        folder for each network.

    Raises
    ------
    InputError
        If an argument is not as described, or the folder cannot be written.
    """
    terminal = terminal or Terminal()
    request.check()
    chosen = PHOTOGRAPH_METHODS if request.photographs else DEFAULT_METHODS.split(",")
    methods = dict(method(name) for name in chosen)
    if "IntegratedGradients" in methods:
        methods["IntegratedGradients"] = partial(methods["IntegratedGradients"], n_steps=_STEPS)
    folder = request.out
    options = Settings(seed=request.seed)
    work = Run(folder, methods, tuple(METRICS), options, request.settings, terminal)
    if request.photographs:
        work.metrics = ("GAE", "LC", "C", "ROAD")
        loaded = load_model("lite:0")
        names = list(photographs.SOURCES)
        x = photographs.load(loaded.preprocessing)
        targets = predictions(loaded.model, x).argmax(axis=1)
        pixels = loaded.preprocessing.to_display
        work.add(folder, "lite:0", Inputs(loaded.model, x, names, targets, pixels, loaded.classes))
        return work.finish()
    x, labels = digits.load("test", n=request.samples, seed=request.seed)
    for name in request.chosen:
        model = load_model(f"digits:{name}").model
        targets = predictions(model, x).argmax(axis=1)
        right = int((targets == labels).sum())
        terminal.say(f"{name}: {right} of {len(x)} held-out digits classified correctly")
        names = [f"digit {i}" for i in range(len(x))]
        work.add(folder / name, name, Inputs(model, x, names, targets, digits.to_display))
    return work.finish()
