"""``python -m benchmarks.studies.cam_study``: why CAMs point less at one class than cLRP does.

On SqueezeNet and MobileNetV2, where the folder of reference material is; on the residual digits
network anywhere. Each table has Contrastiveness of the same mosaics that
:class:`gae_metric.Contrastiveness` draws, of the classes that the network predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.methods import METHODS
from benchmarks.methods.gradients import attribute, with_relus
from benchmarks.studies.class_maps import (
    STEP,
    Centred,
    Study,
    prepare,
    with_constant,
    without_last_relu,
)
from gae_metric import Contrastiveness, MosaicPlan
from gae_metric._names import lookup
from gae_metric.commands.quantus_evaluation import predictions
from gae_metric.errors import InputError
from gae_metric.functional.mosaic import mosaics, quadrant_scores, quadrants, score_map
from gae_metric.functional.scores import contrastiveness, positive_map

__all__ = ["by_layer", "by_map", "by_output", "by_place", "by_rank", "main"]

CAMS = ("GradCAM", "HiResCAM", "LayerCAM", "GradCAM++")
METHODS_OF_OUTPUTS = (*CAMS, "GuidedGradCAM", "LRP-alpha1beta0", "cLRP", "RAP", "cRAP", "absLRP")
LAYERS = {
    "shared:mobilenet": (
        *("features.18.2", "features.18.1", "features.18.0"),
        *("features.17", "features.17.conv.1", "features.16"),
    ),
    "shared:squeezenet": ("classifier.0", "features.12.squeeze", "features.9"),
    "digits:resnet": ("layer4.0.act2", "layer4.0.bn2", "layer3.0.act2"),
}


def by_map(study: Study) -> pd.DataFrame:
    """Contrastiveness of maps of the head's resolution, alone and times guided backpropagation.

    ``class map`` is GradCAM (the head's bias, which GradCAM leaves out, is in it). The rows below
    subtract the mean of all classes' positive maps, subtract it after both were scaled to sum 1
    (what cLRP does with its two streams), or take the softmax over classes at each position.
    ``tile`` is the right answer at that resolution: the most that such a map can get.
    """
    x = torch.from_numpy(study.x)
    plan = MosaicPlan.draw(len(x))
    mosaic = mosaics(x, plan.indices)
    score = _scorer(study, plan, mosaic)
    maps = study.class_maps(mosaic)[1]
    rectified = maps.clamp(min=0)
    target = torch.from_numpy(study.y)
    own = torch.arange(len(x))
    mean = rectified.mean(1)
    chosen: dict[str, Tensor] = {
        "none": torch.ones_like(mean),
        "class map": rectified[own, target],
        "class map - mean": rectified[own, target] - mean,
        "class map - mean, each of sum 1": _shares(rectified[own, target]) - _shares(mean),
        "softmax of class maps": maps.softmax(1)[own, target],
        "tile": _tiles(plan, mean.shape[1:]).to(mean),
    }
    guided = _guided(study, mosaic, target)
    rows = []
    for name, values in chosen.items():
        positive = values.clamp(min=0)[:, None]
        near = F.interpolate(positive, size=mosaic.shape[2:], mode="nearest")
        alone = F.interpolate(positive, size=mosaic.shape[2:], mode="bilinear")
        rows.append(
            {
                "map": name,
                "C": score(alone).mean(),
                "C of guided x map": score(guided * near).mean(),
            }
        )
    for name in ("LRP-alpha1beta0", "cLRP"):
        pixels = METHODS[name](study.model, mosaic, target, batch_size=STEP).sum(1, keepdim=True)
        coarse = F.adaptive_avg_pool2d(pixels, (mean.shape[1], mean.shape[2])).clamp(min=0)
        coarse = F.interpolate(coarse, size=mosaic.shape[2:], mode="nearest")
        rows.append({"map": name, "C": score(pixels).mean()})
        rows.append({"map": f"{name}, summed to the head's grid", "C": score(coarse).mean()})
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def by_place(study: Study) -> pd.DataFrame:
    """Means of class maps in the mosaics' right quadrant and outside, and of the images' logits."""
    plan = MosaicPlan.draw(len(study.x))
    maps = study.rectify(study.class_maps(mosaics(torch.from_numpy(study.x), plan.indices))[1])
    own = torch.arange(len(maps))
    tile = _tiles(plan, maps.shape[2:]) > 0
    rows = []
    for name, values, logits in (
        ("predicted", maps[own, torch.from_numpy(study.y)], study.logits.amax(1)),
        ("mean of all", maps.mean(1), study.logits.mean(1)),
    ):
        inside, outside = values[tile].mean().item(), values[~tile].mean().item()
        rows.append(
            {"class": name, "tile": inside, "outside": outside, "logit": logits.mean().item()}
        )
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def by_output(study: Study, methods: tuple[str, ...] = METHODS_OF_OUTPUTS) -> pd.DataFrame:
    """Contrastiveness on networks that predict alike, and on SqueezeNet without its last ReLU.

    ``less the mean`` subtracts the mean of the logits from each. ``plus a constant`` adds one
    number to all weights of the last layer, so that all logits get the same addition, which is, as
    on SqueezeNet, half as large on average as what the predicted class has above the mean. The last
    row is the share of images for which the prediction is the same.
    """
    outputs: dict[str, tuple[nn.Module, str]] = {
        "as it is": (study.model, ""),
        "less the mean": (Centred(study.model), "model."),
    }
    if study.rectify is torch.relu:
        outputs["no last ReLU"] = (without_last_relu(study.model), "")
    else:
        outputs["plus a constant"] = (with_constant(study), "")
    rows = []
    for name in methods:
        row: dict[str, Any] = {"method": name}
        for output, (model, prefix) in outputs.items():
            options = {"layer": prefix + study.layer} if "CAM" in name else {}
            row[output] = _mean(study, METHODS[name].bind(**options), model)
        rows.append(row)
    kept = {
        output: float((predictions(model, study.x).argmax(1) == study.y).mean())
        for output, (model, _) in outputs.items()
    }
    rows.append({"method": "same prediction", **kept})
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def by_rank(study: Study) -> pd.DataFrame:
    """Contrastiveness of the class map by how well the network sees the class in the mosaic.

    ``rank`` is that of the class among the mosaic's logits; ``tile's top 5`` the share of mosaics
    in whose right quadrant the class map's mean is among the five largest. Mosaics as the metric
    builds them, with area sampling, and of tiles that were not shrunk.
    """
    x = torch.from_numpy(study.x)
    plan = MosaicPlan.draw(len(x))
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    target = torch.from_numpy(study.y)
    own = torch.arange(len(x))
    rows = []
    for name, mosaic in {
        "nearest": mosaics(x, plan.indices),
        "area": mosaics(x, plan.indices, "area"),
        "full size": mosaics(large, plan.indices),
    }.items():
        logits, maps = study.class_maps(mosaic)
        maps = study.rectify(maps)
        alone = F.interpolate(
            maps[own, target].clamp(min=0)[:, None], size=mosaic.shape[2:], mode="bilinear"
        )
        scores = _scorer(study, plan, mosaic)(alone)
        rank = _rank(logits, target)
        tile = _tiles(plan, maps.shape[2:]).to(maps)[:, None]
        inside = _rank((maps * tile).mean((2, 3)), target)
        rows.append(
            {
                "tiles": name,
                "C": scores.mean(),
                "top 5": (rank < 5).mean(),
                "tile's top 5": (inside < 5).mean(),
                "C, rank 1 to 5": _mean_of(scores[rank < 5]),
                "C, 6 to 100": _mean_of(scores[(rank >= 5) & (rank < 100)]),
                "C, below": _mean_of(scores[rank >= 100]),
            }
        )
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def by_layer(study: Study, methods: tuple[str, ...] = (*CAMS, "GuidedGradCAM")) -> pd.DataFrame:
    """Contrastiveness of class activation maps of other layers."""
    rows = []
    for layer in LAYERS[study.name]:
        means = {one: _mean(study, METHODS[one].bind(layer=layer), study.model) for one in methods}
        rows.append({"layer": layer, **means})
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def _mean(study: Study, explain: Any, model: nn.Module) -> float:
    metric = Contrastiveness(disable_warnings=True)
    scores = metric(model, study.x, study.y, explain_func=explain, batch_size=STEP)
    return float(np.mean(scores))


def _scorer(study: Study, plan: MosaicPlan, mosaic: Tensor) -> Callable[[Tensor], NDArray[Any]]:
    """Return the function from maps of mosaics to their scores."""
    values = quadrant_scores(study.logits, study.y[plan.indices], plan.positive)
    right = score_map(values, mosaic.shape[2:])
    return lambda maps: contrastiveness(positive_map(maps), right).numpy()


def _guided(study: Study, mosaic: Tensor, target: Tensor) -> Tensor:
    from captum.attr import GuidedBackprop

    method = GuidedBackprop(with_relus(study.model, mosaic[:1]))
    maps = [
        attribute(method, mosaic[i : i + STEP], target[i : i + STEP])
        for i in range(0, len(mosaic), STEP)
    ]
    return torch.cat(maps)


def _tiles(plan: MosaicPlan, shape: torch.Size) -> Tensor:
    """Where the right quadrants lie on a grid, (M, h, w)."""
    result = torch.zeros(len(plan), *shape)
    places = quadrants(shape)
    for one, quadrant in zip(result, plan.positive, strict=True):
        one[places[quadrant]] = 1
    return result


def _rank(logits: Tensor, target: Tensor) -> NDArray[np.int64]:
    rank: NDArray[np.int64] = (logits > logits.gather(1, target[:, None])).sum(1).numpy()
    return rank


def _shares(maps: Tensor) -> Tensor:
    return maps / (maps.sum((1, 2), keepdim=True) + 1e-9)


def _mean_of(scores: NDArray[Any]) -> float:
    return float(scores.mean()) if len(scores) else float("nan")


def main(
    network: Annotated[
        list[str] | None, typer.Option(help="shared:squeezenet, shared:mobilenet, digits:resnet.")
    ] = None,
    samples: Annotated[int, typer.Option(min=4, help="Photographs, or digits.")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Print Contrastiveness by map, by what is explained, by mosaic and by layer."""
    torch.set_num_threads(threads)
    for name in network or LAYERS:
        try:
            study = prepare(lookup("network", name, LAYERS)[0], samples)
        except InputError as error:
            typer.echo(f"\n{name}: skipped: {error}")
            continue
        for table in (by_place, by_map, by_rank, by_output, by_layer):
            typer.echo(f"\n{name}, {table.__name__}")
            typer.echo(table(study).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    typer.run(main)
