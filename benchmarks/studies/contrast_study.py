"""``python -m benchmarks.studies.contrast_study``: what absLRP and LRP-alpha1beta0 differ by.

On the digits networks, and on SqueezeNet where the folder of reference material is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
import pandas as pd
import scipy.stats
import torch
import typer
from torch import nn

import abslrp
from abslrp.registry import ABSLRP, RuleSet
from abslrp.rule_sets.alpha_beta import ALPHA1BETA0
from abslrp.rules import absolute, addition, normalization, pooling, softmax
from benchmarks.data.names import open_data
from benchmarks.models import load, shared_folder
from gae_metric import GAE, Contrastiveness
from gae_metric.demo import digits, networks
from gae_metric.errors import InputError
from gae_metric.study.logits import predictions

#: Every module that stabilises by eq. 12's epsilon.
STABILISED = (absolute, addition, normalization, pooling, softmax)
EPSILONS = (1e-9, 1e-3, 1e-2, 1e-1, 1.0)


def rules_and_contrasts(network: str, samples: int) -> pd.DataFrame:
    """Mean parts of GAE of two rules with each contrast."""
    x, y = digits.load("test", n=samples)
    rules = {name: name for name in ("absLRP", "alpha1beta0")}
    return _scored(networks.load(network), x, y, rules, GAE)


def stabilisers(network: str, samples: int) -> pd.DataFrame:
    """Contrastiveness of absLRP with larger stabilisers of eq. 12."""
    x, y = digits.load("test", n=samples)
    rows = []
    # Rule by rule: what the accelerated way cancels is 1 for a stabiliser below rounding only.
    explain = functools.partial(abslrp.explain, accelerate=False)
    for epsilon in EPSILONS:
        metric = Contrastiveness(disable_warnings=True)
        with _stabiliser(epsilon):
            scores = np.asarray(metric(networks.load(network), x, y, explain_func=explain))
        row = {"epsilon": epsilon, "mean": scores.mean(), "median": np.median(scores)}
        rows.append({**row, "below 0.6": int((scores < 0.6).sum())})
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def heads(samples: int) -> pd.DataFrame:
    """Contrastiveness on SqueezeNet, with another rule for its last convolution.

    Its logits are averages of rectified class maps, as the paper's networks' are not.
    """
    loaded = load("shared:squeezenet")
    data = open_data(f"imagenet:{shared_folder()}/images/imagenet").sample(samples, 0)
    x = data.load(loaded.preprocessing, 0).x
    predicted = predictions(loaded.model, x).argmax(axis=1)
    rules = {
        "absLRP": ABSLRP,
        "absLRP, head alpha1beta0": _with_head(ABSLRP, ALPHA1BETA0),
        "alpha1beta0, head absLRP": _with_head(ALPHA1BETA0, ABSLRP),
        "alpha1beta0": ALPHA1BETA0,
    }
    return _scored(loaded.model, x, predicted, rules, Contrastiveness)


def _scored(
    model: nn.Module, x: Any, y: Any, rule_sets: Mapping[str, str | RuleSet], metric: Any
) -> pd.DataFrame:
    """Return means of a metric's parts, and its standard error, by rules and contrast."""
    rows = []
    for name, rules in rule_sets.items():
        for contrast in ("streams", None):
            made = metric(disable_warnings=True)
            explain = functools.partial(abslrp.explain, rules=rules, contrast=contrast)
            error = scipy.stats.sem(made(model, x, y, explain_func=explain))
            row = {"rules": name, "contrast": str(contrast), **made.components.mean()}
            rows.append({**row, "standard error": error})
    result: pd.DataFrame = pd.DataFrame(rows)
    return result


def _with_head(rules: RuleSet, head: RuleSet) -> RuleSet:
    """Return rules that take those of another set for a convolution to 1000 classes."""
    mixed = RuleSet(f"{rules.name}, head {head.name}", rules, conserves=rules.conserves)

    @mixed.rule(torch.ops.aten.conv2d.default)
    def convolution(call: abslrp.Call, input: Any, weight: Any, *rest: Any) -> Any:
        chosen = (head if len(weight) == 1000 else rules).find(torch.ops.aten.conv2d.default)
        assert chosen is not None
        return chosen.function(call, input, weight, *rest)

    return mixed


@contextmanager
def _stabiliser(value: float) -> Iterator[None]:
    """Set it for a while; no option, as the paper's is no parameter."""
    before = absolute.EPSILON
    try:
        for module in STABILISED:
            vars(module)["EPSILON"] = value
        yield
    finally:
        for module in STABILISED:
            vars(module)["EPSILON"] = before


def main(
    network: Annotated[list[str] | None, typer.Option(help="vgg, resnet, vit.")] = None,
    samples: Annotated[int, typer.Option(min=4, help="Held-out digits.")] = 128,
    photographs: Annotated[int, typer.Option(min=4, help="Photographs for SqueezeNet.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Print parts of GAE by rule and contrast, and Contrastiveness by stabiliser."""
    torch.set_num_threads(threads)
    for name in network or ("vgg", "resnet"):
        for table in (rules_and_contrasts(name, samples), stabilisers(name, samples)):
            _show(name, table)
    if network is None:
        try:
            _show("squeezenet", heads(photographs))
        except InputError as error:
            typer.echo(f"\nsqueezenet: skipped: {error}")


def _show(name: str, table: pd.DataFrame) -> None:
    typer.echo(f"\n{name}")
    typer.echo(table.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    typer.run(main)
