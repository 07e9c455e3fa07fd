"""Train the demo's networks: ``python scripts/train_digits.py --network all --out DIR``.

Half of what a network sees are single digits of random size and place, half are mosaics of four
halved digits whose label gives each of the four a quarter. Trained on single full-size digits
alone, a network sees nothing in a half-size quadrant, and every method's Contrastiveness is near
0 (SPEC 1.6).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from gae_metric.demo import digits
from gae_metric.demo.networks import NAMES, build, load


@dataclass(frozen=True)
class Recipe:
    """How one network is trained."""

    steps: int
    learning_rate: float
    weight_decay: float = 0.05
    batch_size: int = 64
    smallest: float = 0.4
    largest: float = 1.1
    smallest_in_mosaic: float = 0.8


RECIPES = {
    "vgg": Recipe(steps=900, learning_rate=2e-3),
    "resnet": Recipe(steps=1000, learning_rate=4e-3),
    "vit": Recipe(steps=2500, learning_rate=2e-3),
}


def _scatter(ink: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw each digit at a random size and at a random place where all of it is on the canvas."""
    scale = torch.empty(len(ink)).uniform_(low, high, generator=generator)
    room = (digits.CANVAS - digits.DIGIT * scale) / 2
    offset = torch.empty(len(ink), 2).uniform_(-1, 1, generator=generator) * room[:, None]
    return digits.render(ink, scale, offset)


def assemble(canvases: Tensor) -> Tensor:
    """Put four canvases each, halved with nearest sampling, into one, row by row (SPEC 2.3)."""
    half = F.interpolate(canvases, scale_factor=0.5, mode="nearest")
    # (mosaic, row, column, channel, y, x)
    quadrants = half.reshape(-1, 2, 2, *half.shape[1:])
    return quadrants.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def batches(
    ink: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield training batches without end: canvases (B, 3, 48, 48) and soft labels (B, 10)."""
    mosaics = recipe.batch_size // 2
    singles = recipe.batch_size - mosaics
    per_batch = singles + 4 * mosaics
    queue = torch.empty(0, dtype=torch.long)
    while True:
        while len(queue) < per_batch:  # every digit once before any comes again
            queue = torch.cat([queue, torch.randperm(len(ink), generator=generator)])
        chosen, queue = queue[:per_batch], queue[per_batch:]
        hot = F.one_hot(labels[chosen], digits.CLASSES).float()
        single = _scatter(ink[chosen[:singles]], recipe.smallest, recipe.largest, generator)
        quadrants = _scatter(
            ink[chosen[singles:]], recipe.smallest_in_mosaic, recipe.largest, generator
        )
        yield (
            torch.cat([single, assemble(quadrants)]),
            torch.cat([hot[:singles], hot[singles:].reshape(-1, 4, digits.CLASSES).mean(1)]),
        )


def fit(
    model: nn.Module,
    ink: Tensor,
    labels: Tensor,
    recipe: Recipe,
    seed: int = 0,
    steps: int | None = None,
    progress: bool = False,
) -> list[float]:
    """Train a network in place and leave it in evaluation mode.

    Parameters
    ----------
    model
        Network from canvases to logits.
    ink, labels
        Scans (N, 8, 8) in [0, 1] and their classes (N,).
    recipe
        How to train.
    seed
        Seed of the order of the digits, their sizes and places.
    steps
        Stop after so many steps; by default the recipe's.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Cross-entropy of each step.
    """
    generator = torch.Generator().manual_seed(seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.learning_rate,
        total_steps=recipe.steps,
        pct_start=0.1,
        cycle_momentum=False,
    )
    losses: list[float] = []
    model.train()
    data = batches(ink, labels, recipe, generator)
    for _ in tqdm(range(steps or recipe.steps), disable=not progress, mininterval=5):
        x, soft = next(data)
        loss = F.cross_entropy(model(x), soft)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses


def measure(model: nn.Module, mosaics: int = 300, seed: int = 0) -> dict[str, float]:
    """Measure a network on the held-out digits.

    Returns
    -------
    ``accuracy`` on single digits of full size; ``recall``: share of a mosaic's four classes that
    are among its four largest logits; ``positive``: share of digits whose class has a positive
    logit.
    """
    images, classes = digits.load("test")
    x, y = torch.from_numpy(images), torch.from_numpy(classes)
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(classes == one) for one in range(digits.CLASSES)]
    chosen = torch.from_numpy(
        np.array(
            [
                [random.choice(members[one]) for one in random.permutation(digits.CLASSES)[:4]]
                for _ in range(mosaics)
            ]
        )
    )
    with torch.no_grad():
        logits = model(x)
        mixed = model(assemble(x[chosen.flatten()]))
    top = mixed.topk(4, 1).indices
    found = (top[:, :, None] == y[chosen][:, None, :]).any(1)
    return {
        "accuracy": (logits.argmax(1) == y).double().mean().item(),
        "recall": found.double().mean().item(),
        "positive": (logits.gather(1, y[:, None]) > 0).double().mean().item(),
    }


def difference(name: str, state: Mapping[str, Tensor]) -> str:
    """Say how far weights, float16 by name, are from those that ship with the package."""
    shipped = load(name).state_dict()
    largest = max((state[key].float() - shipped[key]).abs().max().item() for key in state)
    if largest == 0:
        return "bit for bit those of the package"
    return f"up to {largest:.3g} from those of the package"


def main(
    network: Annotated[str, typer.Option(help="vgg, resnet, vit or all.")] = "all",
    out: Annotated[Path, typer.Option(help="Folder for the weights.")] = Path("weights"),
    seed: Annotated[int, typer.Option(help="Seed of weights and data.")] = 0,
) -> None:
    """Train the demo's networks on the training digits and save them as safetensors."""
    torch.set_num_threads(1)  # the order of sums, and so the weights, would depend on it
    out.mkdir(parents=True, exist_ok=True)
    ink, labels = map(torch.from_numpy, digits.scans("train"))
    for name in NAMES if network == "all" else [network]:
        model = build(name, seed)
        start = time.perf_counter()
        fit(model, ink, labels, RECIPES[name], seed, progress=True)
        measured = measure(model)
        state = {
            key: value.half().contiguous()
            for key, value in model.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        metadata = {
            "measured": json.dumps(measured),
            "recipe": json.dumps(asdict(RECIPES[name]) | {"seed": seed}),
            "command": f"python scripts/train_digits.py --network {name} --seed {seed}",
        }
        save_file(state, out / f"{name}.safetensors", metadata)
        typer.echo(
            f"{name}: {measured}, {time.perf_counter() - start:.0f} s, {difference(name, state)}"
        )


if __name__ == "__main__":
    typer.run(main)
