"""``gae-metric evaluate``: a user's own model and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gae_metric._names import lookup
from gae_metric.commands.figures import write_figures
from gae_metric.commands.quantus_evaluation import METRICS, Settings, evaluate
from gae_metric.commands.reading import InputsRequest, check_least, read_inputs
from gae_metric.commands.tables import Evaluation, write_tables
from gae_metric.commands.terminal import Terminal
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import EXPLAINERS, explainer

__all__ = ["EvaluateRequest", "run"]


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(InputsRequest):
    """What to evaluate; see ``gae-metric evaluate --help``."""

    out: Path = Path("gae-evaluate")
    methods: Sequence[str] = tuple(EXPLAINERS)
    metrics: Sequence[str] = tuple(METRICS)
    lipschitz_samples: int = 10
    figures: bool = True


def run(request: EvaluateRequest, terminal: Terminal | None = None) -> Evaluation:
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
    Evaluation
        Its folder holds ``scores.csv`` (one row per method, metric and sample), ``summary.csv``,
        ``components.csv``, ``run.json``, and those of
        :func:`gae_metric.commands.figures.figures` that the metrics allow: ``bars.png``,
        ``maps.png``, ``scatter.png`` (LC against C), ``curves.png`` (figure 2), ``impact.png``
        (figure 3), ``mosaic.png`` (figure 4) and ``extremes.png`` (figures 11 and 14).

    Raises
    ------
    InputError
        If a part of the request is not as described.
    EvaluationError
        If no method could be evaluated.
    """
    terminal = terminal or Terminal()
    _check(request)
    model, preprocessing, images, targets = read_inputs(request, terminal)
    settings = Settings(
        seed=request.seed,
        lipschitz_samples=request.lipschitz_samples,
        batch_size=request.batch_size,
    )
    with terminal.progress(request.model) as progress:
        results = evaluate(
            model,
            images.x,
            targets,
            request.methods,
            request.metrics,
            settings=settings,
            progress=progress,
        )
    evaluation = Evaluation(
        request.model, model, images.x, images.files, preprocessing.to_display, results
    )
    terminal.show(evaluation)
    write_tables(
        request.out,
        [evaluation],
        {"command": "evaluate"} | asdict(request) | {"skipped": dict(images.skipped)},
    )
    if request.figures:
        write_figures(request.out, evaluation)
    terminal.out.print(f"Results are in {request.out}", markup=False, soft_wrap=True)
    return evaluation


def _check(request: EvaluateRequest) -> None:
    """Look at what needs no model."""
    for name in request.methods:
        explainer(name)
    for name in request.metrics:
        lookup("metrics", name, METRICS)
    for name, values in (("methods", request.methods), ("metrics", request.metrics)):
        if not values:
            raise InputError(f"{name}: expected at least one, got none")
    check_least(
        ("samples", request.samples, 1),
        ("seed", request.seed, 0),
        ("batch-size", request.batch_size, 1),
        ("lipschitz-samples", request.lipschitz_samples, 1),
    )
