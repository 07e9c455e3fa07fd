"""What the commands read: a model, images, and the classes that are explained."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gae_metric.commands.options import arguments_of, check_count
from gae_metric.commands.requests import InputsRequest
from gae_metric.commands.tables import Inputs
from gae_metric.commands.terminal import Terminal
from gae_metric.errors import InputError, first_line
from gae_metric.inputs import ImageSet, load_images, load_model, read_labels
from gae_metric.study.conversion import usable_device
from gae_metric.study.logits import LogitsModel, predictions

#: Share of labels that a model with the right preprocessing surely predicts.
_SUSPICIOUS = 0.2


def read_inputs(request: InputsRequest, files: Sequence[str], terminal: Terminal) -> Inputs:
    """Read what a request names, and say what was read.

    Parameters
    ----------
    request
        What to read.
    files
        The images in the folder.
    terminal
        Where to say it.

    Raises
    ------
    InputError
        If a part of the request is not as described.
    """
    own = "cuda" if torch.cuda.is_available() else "cpu"
    device = usable_device(own if request.device == "auto" else request.device)
    # Before it, as a download takes long and hubs are asked again and again.
    ours = "its own" if request.model.startswith("digits:") else "the published"
    terminal.say(f"{request.model}: opening it with {request.weights or f'{ours} weights'}")
    loaded = load_model(request.model, request.weights, arguments_of(request.model_arg))
    preprocessing = loaded.preprocessing.changed(**request.changes)
    logits = LogitsModel(loaded.model.to(device), request.selected)
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
    model = logits.for_explainers
    images, targets = explained_targets(model, images, request.batch_size, terminal)
    # After it, as it says which images were left out, and why.
    check_count(len(images.files), request.least)
    known = loaded.classes if loaded.classes and len(loaded.classes) == classes else None
    show = preprocessing.to_display
    return Inputs(model, images.x, images.files, targets, show, known, images.skipped)


def count_classes(model: torch.nn.Module, x: NDArray[np.float32]) -> int:
    """Return the number of classes of a model, found by trying it."""
    try:
        logits = predictions(model, x)
    except Exception as error:  # a model's own, at an image that it was not made for
        reason = first_line(error)
        if reason.startswith(("model:", "output:")):
            raise InputError(reason) from error
        raise InputError(
            f"model: it does not take images of shape {x.shape[1:]}: {reason}; images have three "
            "channels, and another size is given with --size"
        ) from error
    return int(logits.shape[1])


def explained_targets(
    model: torch.nn.Module, images: ImageSet, batch_size: int, terminal: Terminal
) -> tuple[ImageSet, NDArray[np.int64]]:
    """Return the images that have a class to explain, and these, and say what was read."""
    logits = predictions(model, images.x, batch_size)
    known = np.isfinite(logits.max(axis=1))
    if images.labels is None and not known.all():
        # They would stand in other images' mosaics as of any class.
        files = np.array(images.files)
        lost = dict.fromkeys(files[~known].tolist(), "the model's outputs are not finite")
        skipped, kept = dict(sorted({**images.skipped, **lost}.items())), files[known].tolist()
        images = replace(images, x=images.x[known], files=tuple(kept), skipped=skipped)
        logits = logits[known]
    count = len(images.files)
    if images.skipped:
        terminal.say(f"{len(images.skipped)} images were left out:")
        for file, reason in images.skipped.items():
            terminal.say(f"  {repr(file)[1:-1]}: {reason}")  # a name may have lines
    predicted: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
    if images.labels is None:
        terminal.say(f"{count} images; the model's own predictions are explained")
        return images, predicted
    right = int((predicted == images.labels).sum())
    terminal.say(
        f"{count} images, {right} of them classified as labelled; the labels are explained"
    )
    if right < _SUSPICIOUS * count:
        terminal.say(
            "note: that is few; do the class indices and the preprocessing (--mean, --std, "
            "--range, --size) fit the model?"
        )
    return images, images.labels
