"""The figures that an evaluation leaves behind."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from gae_metric import plotting
from gae_metric.commands.folder import replace_file
from gae_metric.commands.tables import Evaluation
from gae_metric.comparison.results import Results
from gae_metric.functional import MaskValue, mask_baseline, masking_trajectory, mosaics
from gae_metric.metrics.plot import typical
from gae_metric.study.conversion import as_input

#: Images on the sheet of maps.
_SHOWN = 6


def write_figures(folder: Path, evaluation: Evaluation) -> list[Path]:
    """Write an evaluation's figures as PNG files, and return their paths."""
    paths = []
    for name, figure in figures(evaluation):
        drawn = io.BytesIO()
        figure.savefig(drawn)
        paths.append(folder / f"{name}.png")
        replace_file(paths[-1], drawn.getvalue())
    return paths


def figures(evaluation: Evaluation) -> Iterable[tuple[str, Figure]]:
    """Draw the evaluation's figures.

    ``bars`` and ``maps``; where GAE was computed, ``scatter`` and, for the first method,
    ``extremes`` (figures 11 and 14); where GAE or LC was computed, ``curves`` and
    ``impact`` (figures 2 and 3); where GAE or C was, ``mosaic`` (figure 4) with the
    maps of the first two methods. The last three show a typical sample: that of the median
    LC, or C, of the first method.

    Yields
    ------
    Name and figure.
    """
    results = evaluation.results
    yield "bars", plotting.bars(evaluation.summary, title=evaluation.name)
    yield "maps", _maps(evaluation)
    parts = {
        method: table
        for method, table in results.components.items()
        if "gae" in table and np.isfinite(table["gae"]).sum() >= 2
    }
    if parts:
        yield "scatter", plotting.scatter(parts, title=evaluation.name)
        yield "extremes", _extremes(evaluation, *next(iter(parts.items())))
    contrast = _contrastiveness(results)
    if results.mosaics is not None and contrast:
        yield "mosaic", _mosaic(evaluation, results.mosaics, contrast)
    first = next((method for method in results.methods if method in results.curves), None)
    if first is None:
        return
    sample = typical(results.components[first]["local_consistency"].to_numpy())
    what = f"{evaluation.inputs.samples[sample]}, {evaluation.class_name(results.targets[sample])}"
    title = f"{evaluation.name}, {first}, {what}"
    yield "curves", plotting.curves(results.curves[first], sample, title)
    x, target = evaluation.inputs.x[[sample]], results.targets[[sample]]
    image, title = evaluation.inputs.to_display(x)[0], f"{evaluation.name}, {what}"
    masking = evaluation.settings.masking
    yield "impact", impact(evaluation.inputs.model, x, target, image, title, **masking)


def _maps(evaluation: Evaluation) -> Figure:
    x, targets = evaluation.inputs.x[:_SHOWN], evaluation.results.targets[:_SHOWN]
    methods = evaluation.results.methods
    attributions = {method: evaluation.explained(method, x, targets) for method in methods}
    tables = evaluation.results.components.items()
    gae = {name: parts["gae"].to_list()[:_SHOWN] for name, parts in tables if "gae" in parts}
    labels = [evaluation.class_name(target) for target in targets]
    title = f"{evaluation.name}: maps of the explained class" + (", GAE below" if gae else "")
    shown = evaluation.inputs.to_display(x)
    return plotting.maps(shown, attributions, labels, title=title, scores=gae)


def _extremes(evaluation: Evaluation, method: str, parts: pd.DataFrame) -> Figure:
    targets = evaluation.results.targets
    return plotting.extremes(
        evaluation.inputs.to_display(evaluation.inputs.x),
        lambda chosen: evaluation.explained(method, evaluation.inputs.x[chosen], targets[chosen]),
        parts["gae"],
        labels=[evaluation.class_name(target) for target in targets],
        title=f"{evaluation.name}, {method}: highest and lowest GAE",
    )


def _contrastiveness(results: Results) -> dict[str, NDArray[np.float64]]:
    """Return each method's Contrastiveness (N,), where any of its scores is a number."""
    found = {}
    for method in results.methods:
        parts = results.components.get(method, pd.DataFrame())
        values: Any = parts.get("contrastiveness", results.scores.get((method, "C"), []))
        found[method] = np.asarray(values, dtype=np.float64)
    return {method: values for method, values in found.items() if np.isfinite(values).any()}


def _mosaic(
    evaluation: Evaluation,
    layout: tuple[NDArray[np.int64], NDArray[np.int64]],
    contrast: Mapping[str, NDArray[np.float64]],
) -> Figure:
    methods = list(contrast)[:2]
    sample = typical(contrast[methods[0]])
    indices, positive = layout[0][sample], int(layout[1][sample])
    interpolation = evaluation.settings.mosaicking.get("interpolation", "nearest")
    x = mosaics(torch.as_tensor(evaluation.inputs.x), indices[None], interpolation).numpy()
    targets = evaluation.results.targets
    target = targets[sample : sample + 1]
    maps = {method: evaluation.explained(method, x, target)[0] for method in methods}
    image = evaluation.inputs.to_display(x)[0]
    labels = [evaluation.class_name(targets[i]) for i in indices]
    what = f"maps of {evaluation.class_name(targets[sample])}"
    title = f"{evaluation.name}, mosaic of {evaluation.inputs.samples[sample]}: {what}"
    scores = {method: float(contrast[method][sample]) for method in methods}
    return plotting.mosaic(image, maps, positive, labels, title, scores)


def impact(
    model: nn.Module,
    x: NDArray[Any],
    targets: NDArray[np.int64],
    image: NDArray[Any],
    title: str,
    *,
    mask_value: MaskValue = 0.0,
    **options: Any,
) -> Figure:
    """Draw figure 3: where masking changes the output of an input (1, C, H, W) for its target."""
    inputs = as_input(model, x)
    target = torch.as_tensor(targets, device=inputs.device)
    options |= {"baseline": mask_baseline(inputs, mask_value), "keep_impacts": True}
    impacts: Any = masking_trajectory(model, inputs, target, **options).impacts
    lerf, morf = impacts[:, 0].double().cpu().numpy()
    return plotting.impact(image, lerf, morf, title)
