"""Figures 2, 3 and 4: one sample, taken apart."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure

from benchmarks.figures.plan import LackingError, Plan
from benchmarks.figures.subject import Subject
from gae_metric import LocalConsistency, MosaicPlan, plotting
from gae_metric.commands.figures import impact as impact_of
from gae_metric.commands.named_metrics import scored
from gae_metric.functional import mosaics


def curves(plan: Plan, subjects: Sequence[Subject]) -> Figure:
    """Draw figure 2: the curves that Local Robustness compares."""
    (subject,) = subjects
    sample, main = subject.typical("LC"), subject.main
    x, targets = subject.images([sample]), subject.classes_of([sample])
    subject.maps([main], x, targets)  # says so where the method fails
    metric = LocalConsistency(disable_warnings=True, **_masking(subject))
    size = subject.run.batch_size
    scored(metric, subject.loaded.model, x, targets, subject.explainer(main), None, size)
    score = subject.scores("LC")[main].loc[sample]
    title = f"{subject.name}, {main}: {subject.describe(sample)}, LC {score:.3f}"
    return plotting.curves(metric.curves, 0, title)


def impact(plan: Plan, subjects: Sequence[Subject]) -> Figure:
    """Draw figure 3: where masking changes the output."""
    (subject,) = subjects
    sample = subject.typical("LC")
    x, targets = subject.images([sample]), subject.classes_of([sample])
    title = f"{subject.name}: {subject.describe(sample)}"
    picture = subject.display(x)[0]
    return impact_of(subject.loaded.model, x, targets, picture, title, **_masking(subject))


def _masking(subject: Subject) -> dict[str, Any]:
    """Return how the run masks."""
    value = subject.options("GAE", "LC").get("mask_value", 0.0)
    return {"steps": subject.run.steps, "schedule": subject.run.schedule, "mask_value": value}


def mosaic(plan: Plan, subjects: Sequence[Subject]) -> Figure:
    """Draw figure 4: a mosaic, and the positive parts of two methods' maps of it."""
    (subject,) = subjects
    sample = subject.typical("C")
    targets = subject.targets["target"].to_numpy(dtype="int64")
    if subject.targets.index.tolist() != list(range(len(targets))):
        raise LackingError("predictions are missing; `python -m benchmarks run` goes on with it")
    contents = subject.targets.get("content")
    if contents is None or contents.isna().any():
        raise LackingError("the run is older than the draw of mosaics by content; run it anew")
    drawn = MosaicPlan.draw(contents.to_numpy(dtype="uint64"), targets, subject.run.seed)
    indices, positive = drawn.indices[sample], int(drawn.positive[sample])
    images = torch.from_numpy(subject.images(indices))
    interpolation = subject.options("GAE", "C").get("interpolation", "nearest")
    x = mosaics(images, [[0, 1, 2, 3]], interpolation).numpy()
    maps = subject.maps(subject.methods_of(plan), x, subject.classes_of([sample]))
    scores = subject.scores_of([sample], maps, "C")
    shown = {label: values[0] for label, values in maps.items()}
    if plan.positive:  # parts of the sums over channels
        shown = {label: one.sum(axis=0, keepdims=True).clip(0) for label, one in shown.items()}
    what = "positive parts of maps" if plan.positive else "maps"
    title = f"{subject.name}: {subject.describe(sample)}, in a mosaic; {what}"
    picture, names = subject.display(x)[0], subject.class_names(indices)
    first = {label: values[0] for label, values in scores.items()}
    return plotting.mosaic(picture, shown, positive, labels=names, title=title, scores=first)
