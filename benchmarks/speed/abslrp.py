"""absLRP against one forward pass and one input gradient of the plain model."""

import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.speed import measure
from benchmarks.speed.measure import Mode, Work

MODELS = {
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "ViT-B/16": "vit_b_16",
    "EfficientNet-Lite0": "timm:tf_efficientnet_lite0",
    "ConvNeXt-T": "convnext_tiny",
    "Swin-T": "swin_t",
    "SqueezeNet": "squeezenet1_1",
}
#: SqueezeNet is for a quick look.
DEFAULT = [name for name in MODELS if name != "SqueezeNet"]
_ONE = "absLRP, one stream"


def build(name: str, device: str) -> nn.Module:
    """Build a model of torchvision or timm with seeded random weights, parameters frozen."""
    torch.manual_seed(0)
    source, _, key = MODELS[name].rpartition(":")
    make = timm.create_model if source else torchvision.models.get_model
    model: nn.Module = make(key)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():  # the ViT's head starts at zero
            nn.init.normal_(parameter, std=0.02)
    return model.to(device).eval().requires_grad_(False)


def data(batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Seeded noise (B, 3, 224, 224) and a target for each."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, 224, 224, generator=generator).to(device)
    return x, torch.arange(batch, device=device)


def pieces(
    model: nn.Module, x: Tensor, targets: Tensor, mode: Mode, explain: Callable[..., Any]
) -> dict[str, Work]:
    """Return what is timed: the reference, and absLRP with its options."""

    def reference() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(model(leaf).gather(1, targets[:, None]).sum(), leaf)[0]

    timed: dict[str, Work] = {
        "gradient": reference,
        "forward": torch.no_grad()(lambda: model(x)),
        "absLRP": lambda: explain(model, x, targets),
        _ONE: lambda: explain(model, x, targets, contrast=None),
    }
    return {name: measure.within(task, mode, str(x.device)) for name, task in timed.items()}


def tasks(model: nn.Module, batch: int, device: str, mode: Mode = "plain") -> dict[str, Work]:
    """Return the pieces that a mode makes a difference to."""
    evaluated, explain = measure.prepared(model, mode), measure.explainer(mode)
    timed = pieces(evaluated, *data(batch, device), mode, explain)
    if mode == "compiled":  # absLRP intercepts every call, so it has nothing of that
        return {"gradient": timed["gradient"]}
    if mode == "recorded":
        del timed["gradient"]
    return timed


def table(
    batches: list[int],
    repeats: int,
    device: str,
    names: list[str],
    wanted: tuple[Mode, ...] = ("plain",),
) -> pd.DataFrame:
    """Seconds, ratios and peak memory for every model and batch size.

    Ratios are to the gradient of the plain model, in whichever mode; ``map error`` is the distance
    to its absLRP maps in L2 norms, relative to their own, for one stream: the weights are random,
    with which two streams differ by less than bfloat16 resolves. What does not fit in memory has
    its error in place of numbers.
    """
    rows: list[dict[str, object]] = []
    reference: tuple[str, Mode] = ("gradient", "plain")
    nan = float("nan")
    for name, batch in itertools.product(names, batches):
        model = build(name, device)
        timed: dict[tuple[str, Mode], Work] = {
            (task, mode): work
            for mode in wanted
            for task, work in tasks(model, batch, device, mode).items()
        }
        row: dict[str, object] = {"model": name, "batch": batch}
        try:
            times = measure.interleaved(timed, repeats, device)
        except torch.OutOfMemoryError as error:
            rows.append(row | {"error": str(error).partition(".")[0]})
            continue
        finally:
            if device.startswith("cuda"):
                torch.cuda.empty_cache()
        exact = timed[_ONE, "plain"]() if "plain" in wanted else None
        memory = {
            (task, mode): _peak(work, task, mode, name, batch, device)
            for (task, mode), work in timed.items()
            if task in ("gradient", "absLRP")
        }
        for (task, mode), taken in times.items():
            peak = memory.get((task, mode), nan)
            other = exact is not None and task == _ONE and mode != "plain"
            own = {
                "method": task if mode == "plain" else f"{task}, {mode}",
                "seconds": taken,
                "images/s": batch / taken,
                "ratio": taken / times.get(reference, nan),
                "map error": _apart(timed[task, mode](), exact) if other else nan,
                "peak MB": peak / 1e6,
                "peak ratio": peak / memory.get(reference, nan),
            }
            rows.append(row | own)
    return pd.DataFrame(rows)


def _apart(maps: Any, exact: Any) -> float:
    """Return how far maps are from the plain model's."""
    return float((maps - exact).double().norm() / exact.double().norm())


def _peak(work: Work, task: str, mode: Mode, name: str, batch: int, device: str) -> float:
    if mode == "recorded" and device.startswith("cuda"):
        return float("nan")  # what a recording holds was taken when it was made
    return measure.peak(work, device, _work, task, name, batch, device, mode)


def _work(task: str, name: str, batch: int, device: str, mode: Mode) -> Work:
    work = tasks(build(name, device), batch, device, mode)[task]
    if mode == "compiled":  # which takes more memory than what it compiles
        work()
    return work
