"""absLRP against one forward pass and one input gradient of the plain model."""

from __future__ import annotations

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


def tasks(model: nn.Module, batch: int, device: str) -> dict[str, Callable[[], Tensor]]:
    """Return what is timed: the reference, and absLRP with its options."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, 224, 224, generator=generator).to(device)
    targets = torch.arange(batch, device=device)

    def reference() -> Tensor:
        leaf = x.clone().requires_grad_()
        chosen = model(leaf).gather(1, targets[:, None]).sum()
        return torch.autograd.grad(chosen, leaf)[0]

    return {
        "gradient": reference,
        "absLRP": lambda: abslrp.explain(model, x, targets),
        "absLRP, one stream": lambda: abslrp.explain(model, x, targets, contrast=None),
    }


def table(batches: list[int], repeats: int, device: str, names: list[str]) -> pd.DataFrame:
    """Seconds, ratios and peak memory for every model and batch size."""
    rows = []
    for name in names:
        for batch in batches:
            model = build(name, device)
            times = measure.interleaved(tasks(model, batch, device), repeats, device)
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
    result: pd.DataFrame = pd.DataFrame(rows)
    return result
