"""``python -m benchmarks.contrast_study``: what absLRP and cLRP differ by, on digits."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

import abslrp
from abslrp.rules import absolute, addition, normalization
from gae_metric import GAE, Contrastiveness
from gae_metric.demo import digits, networks

__all__ = ["main", "rules_and_contrasts", "stabilisers"]

EPSILONS = (1e-9, 1e-3, 1e-2, 1e-1, 1.0)


def rules_and_contrasts(network: str, samples: int) -> pd.DataFrame:
    """Mean parts of GAE of two rules with each contrast."""
    x, y = digits.load("test", n=samples)
    rows = []
    for rules in ("absLRP", "alpha1beta0"):
        for contrast in ("streams", "difference", None):
            metric = GAE(disable_warnings=True)
            explain = functools.partial(abslrp.explain, rules=rules, contrast=contrast)
            metric(networks.load(network), x, y, explain_func=explain)
            rows.append({"rules": rules, "contrast": str(contrast), **metric.components.mean()})
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def stabilisers(network: str, samples: int) -> pd.DataFrame:
    """Contrastiveness of absLRP with larger stabilisers of eq. 12."""
    x, y = digits.load("test", n=samples)
    rows = []
    for epsilon in EPSILONS:
        metric = Contrastiveness(disable_warnings=True)
        with _stabiliser(epsilon):
            scores = np.asarray(metric(networks.load(network), x, y, explain_func=abslrp.explain))
        rows.append(
            {
                "epsilon": epsilon,
                "mean": scores.mean(),
                "median": np.median(scores),
                "below 0.6": int((scores < 0.6).sum()),
            }
        )
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


@contextmanager
def _stabiliser(value: float) -> Iterator[None]:
    """Set it for a while; no option, as the paper's is no parameter."""
    modules = (absolute, addition, normalization)
    before = absolute.EPSILON
    try:
        for module in modules:
            vars(module)["EPSILON"] = value
        yield
    finally:
        for module in modules:
            vars(module)["EPSILON"] = before


def main(
    network: Annotated[list[str] | None, typer.Option(help="vgg, resnet, vit.")] = None,
    samples: Annotated[int, typer.Option(min=4, help="Held-out digits.")] = 128,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Print parts of GAE by rule and contrast, and Contrastiveness by stabiliser."""
    torch.set_num_threads(threads)
    for name in network or ("vgg", "resnet"):
        for table in (rules_and_contrasts(name, samples), stabilisers(name, samples)):
            typer.echo(f"\n{name}")
            typer.echo(table.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    typer.run(main)
