"""GAE against the model work that it consists of."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pandas as pd
import torch

from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed import measure
from benchmarks.speed.measure import Mode, Work
from gae_metric import GAE, clear_cache

STEPS = 10


def case(
    name: str, samples: int, batch: int, device: str, mode: Mode = "plain"
) -> tuple[dict[str, Work], Work]:
    """Build a model of :mod:`benchmarks.speed.abslrp` with seeded noise as images.

    Returns
    -------
    What is timed of a batch, and what scores absLRP of all samples, with nothing cached from
    before.
    """
    model = measure.prepared(abslrp_speed.build(name, device), mode)
    explain = measure.explainer(mode)
    x = torch.randn(samples, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    y = torch.arange(samples, device=device) % 2  # mosaics need two classes, noise has none

    def gae() -> None:
        clear_cache()
        metric = GAE(steps=STEPS, disable_warnings=True)
        with warnings.catch_warnings(), measure.context(mode, device):
            warnings.simplefilter("ignore")  # random weights: some target logits are negative
            images, classes = x.cpu().numpy(), y.cpu().numpy()
            metric(model, images, classes, explain_func=explain, batch_size=batch, device=device)

    return abslrp_speed.pieces(model, x[:batch], y[:batch], mode, explain), gae


def rows(
    name: str, samples: int, batch: int, repeats: int, device: str, mode: Mode
) -> list[dict[str, Any]]:
    """Return the times of one model: GAE and its own work."""
    pieces, gae = case(name, samples, batch, device, mode)
    own = {name: pieces[name] for name in ("forward", "gradient", "absLRP")}
    times = measure.interleaved({**own, "GAE": gae}, repeats, device)
    one_gradient = times["gradient"] / batch
    work = (2 * STEPS - 1) * one_gradient + 2 * STEPS * times["absLRP"] / batch
    per_sample = times["GAE"] / samples
    memory = measure.peak(gae, device, _work, name, samples, batch, device, mode)
    whole = {"of own work": per_sample / work, "images/s": 1 / per_sample, "peak MB": memory / 1e6}
    same, forward = {"batch": batch, "mode": mode, "model": name}, times["forward"] / batch
    taken = {"one forward pass": forward, "one gradient": one_gradient, "GAE's own work": work}
    return [
        {**same, "what": what, "seconds per sample": each, "gradients": each / one_gradient}
        | (whole if what == "GAE" else {})
        for what, each in {**taken, "GAE": per_sample}.items()
    ]


def _work(*arguments: Any) -> Work:
    return case(*arguments)[1]


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
        found += rows(name, max(samples, batch), batch, repeats, device, mode)
    return pd.DataFrame(found)
