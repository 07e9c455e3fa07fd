"""What the commands read: a model, images, and the classes that are explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gae_metric.commands.quantus_evaluation import predictions
from gae_metric.commands.tables import new_folder
from gae_metric.commands.terminal import Terminal
from gae_metric.errors import InputError
from gae_metric.inputs.images import ImageSet, list_images, load_images
from gae_metric.inputs.labels import read_labels
from gae_metric.inputs.models import load_model
from gae_metric.inputs.preprocessing import Preprocessing
from gae_metric.study.logits import LogitsModel

__all__ = ["Inputs", "InputsRequest", "check_least", "read_inputs"]

#: Share of labels that a model with the right preprocessing surely predicts.
_SUSPICIOUS = 0.2


@dataclass(frozen=True, kw_only=True)
class InputsRequest:
    """What to read; see ``gae-metric evaluate --help``."""

    model: str
    images: Path
    #: Folder or file to write.
    out: Path
    labels: str | None = None
    weights: Path | None = None
    samples: int | None = None
    seed: int = 0
    batch_size: int = 16
    device: str = "auto"
    recursive: bool = False
    size: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    range: Sequence[float] | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    #: What selects the logits from the model's result, as in the metrics.
    output: str | int | None = None

    @property
    def folder(self) -> Path:
        """Folder that is written to."""
        return self.out


class Inputs(NamedTuple):
    """A model on its device, images as it takes them, and the classes to explain (N,)."""

    model: torch.nn.Module
    preprocessing: Preprocessing
    images: ImageSet
    targets: NDArray[np.int64]


def check_least(*numbers: tuple[str, int | None, int]) -> None:
    """Refuse what is no integer, given by name, or below what it must be at least.

    Raises
    ------
    InputError
        If one is.
    """
    for name, number, least in numbers:
        if number is not None and (type(number) is not int or number < least):
            raise InputError(f"{name}: expected at least {least}, a whole number, got {number!r}")


def read_inputs(request: InputsRequest, terminal: Terminal) -> Inputs:
    """Read what a request names, and say what was read.

    Raises
    ------
    InputError
        If a part of the request is not as described.
    """
    files = list_images(request.images, request.recursive or request.labels == "folders")
    device = chosen_device(request.device)
    new_folder(request.folder)
    loaded = load_model(request.model, request.weights, request.model_args)
    preprocessing = loaded.preprocessing.changed(
        size=request.size, mean=request.mean, std=request.std, range=request.range
    )
    logits = LogitsModel(loaded.model.to(device), request.output)
    side = preprocessing.size
    classes = count_classes(logits, np.zeros((1, 3, side, side), dtype=np.float32))
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
    model = logits.explained
    targets = explained_targets(model, images, request.batch_size, terminal)
    return Inputs(model, preprocessing, images, targets)


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
        if reason.startswith(("model:", "output:")):
            raise InputError(reason) from error
        raise InputError(
            f"model: it does not take images of shape {x.shape[1:]}: {reason}; another size is "
            "given with --size"
        ) from error
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
