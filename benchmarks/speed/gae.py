"""GAE against the model work that it consists of."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import abslrp
from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed import measure
from benchmarks.speed.measure import Mode
from gae_metric import GAE, clear_cache

STEPS = 10


@dataclass(frozen=True)
class Case:
    """A model with data: ``samples`` images, of which ``batch`` are worked on at a time."""

    model: nn.Module
    x: Tensor
    y: Tensor
    batch: int
    mode: Mode = "plain"
    explain: Callable[..., Any] = abslrp.explain

    def gae(self) -> None:
        """Score absLRP by GAE, with nothing cached from before."""
        clear_cache()
        metric = GAE(steps=STEPS, disable_warnings=True)
        device = str(self.x.device)
        with warnings.catch_warnings(), measure.context(self.mode, device):
            warnings.simplefilter("ignore")  # random weights: some target logits are negative
            metric(
                self.model,
                self.x.cpu().numpy(),
                self.y.cpu().numpy(),
                None,
                explain_func=self.explain,
                batch_size=self.batch,
                device=device,
            )

    def first(self, n: int) -> Case:
        """Return the case with its first samples only."""
        return replace(self, x=self.x[:n], y=self.y[:n], batch=min(n, self.batch))


def case(name: str, samples: int, batch: int, device: str, mode: Mode = "plain") -> Case:
    """Build a model of :mod:`benchmarks.speed.abslrp` with seeded noise as images."""
    model = measure.prepared(abslrp_speed.build(name, device), mode)
    x = torch.randn(samples, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    y = torch.arange(samples, device=device) % 2  # mosaics need two classes, noise has none
    return Case(model, x, y, batch, mode, measure.explainer(mode))


def rows(name: str, given: Case, repeats: int) -> list[dict[str, Any]]:
    """Return the times of one model: GAE and its own work."""
    samples, batch, mode, device = len(given.x), given.batch, given.mode, str(given.x.device)
    part = given.first(batch)
    pieces = abslrp_speed.pieces(part.model, part.x, part.y, mode, part.explain)
    own = {name: pieces[name] for name in ("forward", "gradient", "absLRP")}

    times = measure.interleaved({**own, "GAE": given.gae}, repeats, device)
    one_gradient = times["gradient"] / batch
    work = (2 * STEPS - 1) * one_gradient + 2 * STEPS * times["absLRP"] / batch
    per_sample = times["GAE"] / samples
    memory = measure.peak(given.gae, device, _work, name, samples, batch, device, mode)
    whole = {"of own work": per_sample / work, "images/s": 1 / per_sample, "peak MB": memory / 1e6}
    same, forward = {"batch": batch, "mode": mode, "model": name}, times["forward"] / batch
    taken = {"one forward pass": forward, "one gradient": one_gradient, "GAE's own work": work}
    return [
        {**same, "what": what, "seconds per sample": each, "gradients": each / one_gradient}
        | (whole if what == "GAE" else {})
        for what, each in {**taken, "GAE": per_sample}.items()
    ]


def _work(*arguments: Any) -> Callable[[], None]:
    return case(*arguments).gae


def table(
    names: list[str],
    samples: int,
    batches: list[int],
    repeats: int,
    device: str,
    wanted: tuple[Mode, ...] = ("plain",),
) -> pd.DataFrame:
    """Seconds per sample, in gradients of one sample, and as a multiple of GAE's own work.

    There are at least as many samples as a batch has.
    """
    found: list[dict[str, Any]] = []
    for name, batch, mode in itertools.product(names, batches, wanted):
        given = case(name, max(samples, batch), batch, device, mode)
        found += rows(name, given, repeats)
    return pd.DataFrame(found)
