"""``gae-metric evaluate``: a user's own model and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gae_metric._names import lookup
from gae_metric.commands.figures import write_figures
from gae_metric.commands.quantus_evaluation import METRICS, Settings, evaluate, predictions
from gae_metric.commands.tables import Evaluation, new_folder, write_tables
from gae_metric.commands.terminal import Terminal
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import EXPLAINERS, explainer
from gae_metric.inputs.images import ImageSet, list_images, load_images
from gae_metric.inputs.labels import read_labels
from gae_metric.inputs.models import load_model

__all__ = ["EvaluateRequest", "run"]

#: Share of labels that a model with the right preprocessing surely predicts.
_SUSPICIOUS = 0.2


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate; see ``gae-metric evaluate --help``."""

    model: str
    images: Path
    labels: str | None = None
    methods: Sequence[str] = tuple(EXPLAINERS)
    metrics: Sequence[str] = tuple(METRICS)
    weights: Path | None = None
    samples: int | None = None
    seed: int = 0
    batch_size: int = 16
    device: str = "auto"
    out: Path = Path("gae-evaluate")
    recursive: bool = False
    size: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    range: Sequence[float] | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
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
    files = list_images(request.images, request.recursive or request.labels == "folders")
    device = chosen_device(request.device)
    folder = new_folder(request.out)
    loaded = load_model(request.model, request.weights, request.model_args)
    preprocessing = loaded.preprocessing.changed(
        size=request.size, mean=request.mean, std=request.std, range=request.range
    )
    model = loaded.model.to(device)
    side = preprocessing.size
    classes = count_classes(model, np.zeros((1, 3, side, side), dtype=np.float32))
    labels = None if request.labels is None else read_labels(request.labels, files, classes)
    with terminal.progress(request.model) as progress:
        images = load_images(
            request.images,
            preprocessing,
            files=files,
            labels=labels,
            samples=request.samples,
            seed=request.seed,
            progress=lambda read, wanted: progress("reading images", read, wanted),
        )
    targets = explained_targets(model, images, request.batch_size, terminal)
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
        folder,
        [evaluation],
        {"command": "evaluate"} | asdict(request) | {"skipped": dict(images.skipped)},
    )
    if request.figures:
        write_figures(folder, evaluation)
    terminal.out.print(f"Results are in {folder}", markup=False, soft_wrap=True)
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
    for name, number, least in (
        ("samples", request.samples, 1),
        ("seed", request.seed, 0),
        ("batch-size", request.batch_size, 1),
        ("lipschitz-samples", request.lipschitz_samples, 1),
    ):
        if number is not None and number < least:
            raise InputError(f"{name}: expected at least {least}, got {number}")


def chosen_device(name: str) -> torch.device:
    """Return the device by name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: {name!r} cannot be used: {reason}") from error
    return device


def count_classes(model: torch.nn.Module, x: NDArray[np.float32]) -> int:
    """Return the number of classes of a model, found by trying it."""
    try:
        logits = predictions(model, x)
    except Exception as error:  # a model's own, at an image that it was not made for
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"model: it does not take images of shape {x.shape[1:]}: {reason}; another size is "
            "given with --size"
        ) from error
    if logits.ndim != 2 or len(logits) != 1:
        raise InputError(f"model: expected logits of shape (1, classes), got {logits.shape}")
    return int(logits.shape[1])


def explained_targets(
    model: torch.nn.Module, images: ImageSet, batch_size: int, terminal: Terminal
) -> NDArray[np.int64]:
    """Return the classes to explain, and say what was read."""
    count = len(images.files)
    if images.skipped:
        terminal.say(f"{len(images.skipped)} images were left out:")
        for file, reason in images.skipped.items():
            terminal.say(f"  {file}: {reason}")
    logits = predictions(model, images.x, batch_size)
    predicted: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
    if images.labels is None:
        terminal.say(f"{count} images; the model's own predictions are explained")
        return predicted
    right = int((predicted == images.labels).sum())
    terminal.say(
        f"{count} images, {right} of them classified as labelled; the labels are explained"
    )
    if right < _SUSPICIOUS * count:
        terminal.say(
            "note: that is few; do the class indices and the preprocessing (--mean, --std, "
            "--range, --size) fit the model?"
        )
    return images.labels
