"""``gae-metric evaluate``: a user's own model and images; ``gae-metric demo``: the package's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gae_metric._names import DEFAULT_METHODS
from gae_metric.commands import tables
from gae_metric.commands.cells import Cells
from gae_metric.commands.figures import write_figures
from gae_metric.commands.folder import begin, new_folder, tidy
from gae_metric.commands.named_metrics import METRICS, Settings
from gae_metric.commands.provenance import digest
from gae_metric.commands.quantus_evaluation import evaluate
from gae_metric.commands.reading import read_inputs
from gae_metric.commands.requests import DemoRequest, EvaluateRequest
from gae_metric.commands.tables import Evaluation, Inputs
from gae_metric.commands.terminal import Terminal, duration
from gae_metric.demo import digits, photographs
from gae_metric.explainers.gradients import ExplainFunc, explainer
from gae_metric.inputs.models import load_model
from gae_metric.study.logits import predictions


def run(request: EvaluateRequest, terminal: Terminal) -> list[Evaluation]:
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
    files = request.check()
    methods = dict(explainer(name) for name in request.method_names)
    options = Settings(
        seed=request.seed,
        lipschitz_samples=request.lipschitz_samples,
        batch_size=request.batch_size,
        masking=request.masking,
        mosaicking=request.mosaicking,
    )
    models = [(request.out, request.model, read_inputs(request, files, terminal))]
    metrics = request.metric_names
    return _evaluate_all(request, models, methods, metrics, options, terminal, request.figures)


def _evaluate_all(
    request: EvaluateRequest | DemoRequest,
    models: Iterable[tuple[Path, str, Inputs]],
    methods: Mapping[str, ExplainFunc],
    metrics: Sequence[str],
    options: Settings,
    terminal: Terminal,
    figures: bool = True,
) -> list[Evaluation]:
    """Fill a folder model by model, each with its own folder and name, and show their tables."""
    settings: dict[str, Any] = request.settings
    evaluations: list[Evaluation] = []
    pictures: dict[str, list[Path]] = {}
    folders = {request.out}
    unshown: Exception | None = None
    for folder, name, inputs in models:
        if not evaluations:
            begin(request.out, settings)
        scored = replace(options, batch_size=0)
        made = digest(inputs.model, inputs.x, inputs.targets, scored, tables.versions())

        def planned(seconds: float, kept: int, name: str = name) -> None:
            of = len(methods) * len(metrics)
            more = f"; {kept} of {of} scores are there already" if kept else ""
            terminal.say(f"{name}: about {duration(seconds)} of work{more}")

        with terminal.progress(name) as progress:
            cells = Cells(new_folder(folder) / "cells", made)
            results = evaluate(inputs, methods, metrics, options, progress, cells, planned)
        evaluations.append(Evaluation(name, inputs, results, methods, options))
        try:
            tables.show(terminal, evaluations[-1])
        except (OSError, ValueError) as error:  # nobody reads any more: what is computed is written
            unshown = error
        if inputs.skipped:
            settings = {**settings, "skipped": dict(inputs.skipped)}
        folders.add(folder)
        if figures:
            pictures[name] = write_figures(folder, evaluations[-1])
    report = request.out / "report.html"
    written = tables.write_tables(request.out, evaluations, settings)
    tables.write_report(report, evaluations, pictures)
    tidy(folders, {report, *written, *(path for paths in pictures.values() for path in paths)})
    if unshown:
        raise unshown
    terminal.done(f"Results are in {request.out}; report.html shows them")
    return evaluations


PHOTOGRAPH_METHODS = ("absLRP", "GradCAM", "cLRP", "Saliency", "Random")
"""The methods that are compared on photographs."""

#: Steps of Integrated Gradients, which would take three quarters of the time with the usual 20.
_STEPS = 8


def run_demo(request: DemoRequest, terminal: Terminal) -> list[Evaluation]:
    """Evaluate methods with all metrics on held-out digits or photographs, and write a folder.

    Parameters
    ----------
    request
        How many digits, balanced over the classes, and which networks; or how many photographs.
        The network's own predictions are explained. It has been checked.
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
        If the folder cannot be written.
    """
    chosen = PHOTOGRAPH_METHODS if request.photographs else DEFAULT_METHODS.split(",")
    methods = dict(explainer(name) for name in chosen)
    if "IntegratedGradients" in methods:
        methods["IntegratedGradients"] = partial(methods["IntegratedGradients"], n_steps=_STEPS)
    metrics = ("GAE", "LC", "C", "ROAD") if request.photographs else tuple(METRICS)
    models = _photographs(request) if request.photographs else _digits(request, terminal)
    return _evaluate_all(request, models, methods, metrics, Settings(seed=request.seed), terminal)


def _photographs(request: DemoRequest) -> Iterator[tuple[Path, str, Inputs]]:
    loaded = load_model("lite:0")
    x = photographs.load(loaded.preprocessing, request.count)
    targets = predictions(loaded.model, x).argmax(axis=1)
    names, pixels = list(photographs.SOURCES)[: len(x)], loaded.preprocessing.to_display
    yield request.out, "lite:0", Inputs(loaded.model, x, names, targets, pixels, loaded.classes)


def _digits(request: DemoRequest, terminal: Terminal) -> Iterator[tuple[Path, str, Inputs]]:
    x, labels = digits.load("test", n=request.count, seed=request.seed)
    names = [f"digit {i}" for i in range(len(x))]
    for name in request.chosen:
        model = load_model(f"digits:{name}").model
        targets = predictions(model, x).argmax(axis=1)
        right = int((targets == labels).sum())
        terminal.say(f"{name}: {right} of {len(x)} held-out digits classified correctly")
        yield request.out / name, name, Inputs(model, x, names, targets, digits.to_display)
