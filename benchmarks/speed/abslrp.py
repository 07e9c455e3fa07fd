"""absLRP against one forward pass and one input gradient of the plain model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pandas as pd
import torch
import torchvision
from torch import Tensor, nn

import abslrp
from benchmarks.speed import measure

MODELS = {"VGG16": "vgg16", "ResNet50": "resnet50", "ViT-B/16": "vit_b_16"}
LIMITS = {"VGG16": 1.7, "ResNet50": 1.9, "ViT-B/16": 2.8}


def build(name: str, device: str) -> nn.Module:
    """Build a torchvision model with seeded random weights, parameters frozen."""
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.get_model(MODELS[name], weights=None)
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():  # the ViT's head starts at zero
            nn.init.normal_(parameter, std=0.02)
    return model.to(device).eval().requires_grad_(False)


def data(batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Seeded noise (B, 3, 224, 224) and a target for each."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, 224, 224, generator=generator).to(device)
    return x, torch.arange(batch, device=device)


def tasks(model: nn.Module, batch: int, device: str) -> dict[str, Callable[[], object]]:
    """Return what is timed: the reference, and absLRP with its options."""
    x, targets = data(batch, device)

    def reference() -> Tensor:
        leaf = x.clone().requires_grad_()
        chosen = model(leaf).gather(1, targets[:, None]).sum()
        return torch.autograd.grad(chosen, leaf)[0]

    return {
        "gradient": reference,
        "absLRP": lambda: abslrp.explain(model, x, targets),
        "absLRP, one stream": lambda: abslrp.explain(model, x, targets, contrast=None),
    }


def other_tasks(
    name: str, model: nn.Module, x: Tensor, targets: Tensor
) -> dict[str, Callable[[], object]]:
    """Return the other rule sets and other libraries' LRP."""
    from benchmarks.speed import others

    return others.rule_sets(model, x, targets) | others.libraries(name, model, x, targets)


def table(
    batches: list[int], repeats: int, device: str, names: list[str], others: bool
) -> pd.DataFrame:
    """Seconds, ratios and peak memory for every model and batch size."""
    rows = []
    for name in names:
        for batch in batches:
            model = build(name, device)
            timed = tasks(model, batch, device)
            if others:
                timed |= other_tasks(name, model, *data(batch, device))
            times = measure.interleaved(timed, repeats, device)
            memory = {
                task: float(
                    measure.in_a_fresh_process(
                        "peak", task, "--model", name, "--batch", str(batch), "--device", device
                    )
                )
                for task in ("gradient", "absLRP")
            }
            for task, taken in times.items():
                rows.append(
                    {
                        "model": name,
                        "batch": batch,
                        "method": task,
                        "seconds": taken,
                        "ratio": taken / times["gradient"],
                        "limit": LIMITS[name] if task == "absLRP" else float("nan"),
                        "peak MB": memory.get(task, float("nan")) / 1e6,
                        "peak ratio": memory.get(task, float("nan")) / memory["gradient"],
                    }
                )
            if others and name == "ViT-B/16":
                rows.append(_lxt(batch, repeats, device))
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def _lxt(batch: int, repeats: int, device: str) -> dict[str, object]:
    """Return LXT's row; it changes torchvision's classes, so it has a process of its own."""
    row: dict[str, object] = {"model": "ViT-B/16", "batch": batch, "method": "LXT AttnLRP"}
    options = ("--batch", str(batch), "--repeats", str(repeats), "--device", device)
    try:
        return row | {"ratio": float(measure.in_a_fresh_process("lxt", *options))}
    except subprocess.CalledProcessError as error:
        return row | {"error": error.stderr.strip().splitlines()[-1]}
