"""Whether what a run needs is there, and about what it would cost."""

import math
from collections.abc import Callable
from time import perf_counter

import torch

from benchmarks.config.entries import MethodEntry
from benchmarks.config.runs import Run
from benchmarks.data.names import open_data
from benchmarks.figures.write import device_of
from benchmarks.methods import METHODS
from benchmarks.metrics.registry import kind_of
from benchmarks.models import load
from gae_metric.study.conversion import usable_device

#: Options by which a method evaluates the model that often.
_EVALUATIONS = ("n_steps", "n_samples", "n_masks")


def check_run(run: Run, say: Callable[[str], None]) -> None:
    """Open a run's data and models, and estimate its time from one gradient of each model.

    The estimate is right to a factor of two or so; ``benchmarks cost`` measures a run's own.

    Raises
    ------
    InputError
        If the data, its labels, or a model's weights are not there. Published weights are fetched.
    """
    data = open_data(run.data.name, labels=run.data.labels, split=run.data.split, masks=run.masks)
    samples = min(run.samples or len(data), len(data))
    left = f", {len(data.skipped)} without a label" if data.skipped else ""
    say(f"data: {run.data.name}: {len(data)} images with labels{left}; {samples} are drawn")
    gradients = gradients_of(run)
    for name in run.devices if run.engine == "local" else ():  # those of a cluster are elsewhere
        usable_device(name)
    device = device_of(run.devices[0])
    hours = 0.0
    for entry in run.models:
        loaded = load(entry.name, entry.weights, entry.args, entry.size)
        side, model = loaded.preprocessing.size, loaded.model.to(device)
        x = torch.zeros(1, 3, side, side, device=device)
        for _ in range(2):  # the first one takes longer
            start, leaf = perf_counter(), x.clone().requires_grad_()
            torch.autograd.grad(model(leaf).sum(), leaf)[0].cpu()
            seconds = perf_counter() - start
        hours += gradients * samples * seconds / 3600
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        say(f"model: {entry.name}: {millions:.1f} million parameters, {side} x {side} pixels")
    say(
        f"cost: about {gradients:,} input gradients an image and model, {hours:.2g} hours of one "
        f"{device} for {samples} images"
    )


def gradients_of(run: Run) -> int:
    """Return about how many input gradients a run computes for an image and model.

    Examples
    --------
    >>> from benchmarks.config.runs import parse
    >>> gradients_of(parse({"models": "digits:vgg", "methods": "absLRP", "metrics": "GAE"}))
    59
    """
    names = {metric.name: dict(metric.options) for metric in run.metrics}
    whole = {"GAE": 2 * run.steps, "LC": 2 * run.steps - 1, "C": 1}
    shared = 2 * run.steps - 1 if {"GAE", "LC"} & set(names) else 0
    maps = 1 if set(names) - {"GAE", "LC", "C", "LocalLipschitz"} else 0
    maps += sum(count for name, count in whole.items() if name in names)
    forward = 0
    for name, given in names.items():
        options = {**kind_of(name).options, **given}
        maps += options["samples"] + 1 if name == "LocalLipschitz" else 0
        forward += len(options["percentages"]) if name.startswith("ROAD") else 0
        forward += options["regions"] if name in ("AOPC", "ABPC") else 0
    each = [maps * evaluations(method) + math.ceil(forward / 3) for method in run.methods]
    return shared + sum(each)


def evaluations(entry: MethodEntry) -> int:
    """Return about how many gradients a map costs: two, or as many as its options say."""
    options = {**METHODS[entry.name].defaults, **entry.options}
    return max(2, math.prod(int(options.get(name, 1)) for name in _EVALUATIONS))
