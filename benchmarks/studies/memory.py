"""Memory of GAE on more images than it could hold.

    python -m benchmarks.studies.memory [--images 10000] [--steps 2]

Prints the figures of docs/limits.md: images of 224 x 224 are made from their index when they are
asked for, so nothing is downloaded, and only what the metric itself keeps stays in memory.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.utils.data import Dataset

from gae_metric import GAE
from gae_metric.explainers import saliency

CLASSES = 10


class Made(Dataset[tuple[Tensor, int]]):
    """Images (3, side, side) of noise, each from the seed that its index is, and their classes."""

    def __init__(self, images: int, side: int = 224) -> None:
        self.images, self.side = images, side

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Make one image, and draw a class for it."""
        rng = np.random.default_rng(i)
        image = rng.standard_normal((3, self.side, self.side), dtype=np.float32)
        return torch.from_numpy(image), int(rng.integers(CLASSES))


def network() -> nn.Module:
    """Make a small convolutional network with random weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, CLASSES),
    ).eval()  # fmt: skip


def peak() -> int:
    """Return the most memory that this process has had, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most >> (20 if sys.platform == "darwin" else 10)  # bytes there, KiB elsewhere


def main(
    images: Annotated[int, typer.Option(help="How many.")] = 10_000,
    steps: Annotated[int, typer.Option(help="States of the trajectory.")] = 2,
) -> None:
    """Score the images, and print how much memory that took."""
    model, made = network(), Made(images)
    typer.echo(f"before: {peak()} MiB")
    start = time.perf_counter()
    metric = GAE(steps=steps, disable_warnings=True, display_progressbar=True)
    scores = metric(model, made, explain_func=saliency)
    seconds = time.perf_counter() - start
    scored = np.isfinite(scores).sum()
    typer.echo(f"{scored} of {len(scores)} images scored in {seconds:.0f} s; at most {peak()} MiB")


if __name__ == "__main__":
    typer.run(main)
