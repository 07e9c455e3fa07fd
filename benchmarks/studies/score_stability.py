"""What moves a score besides the method: the draw of mosaics, a constant, wrong classes, blanks.

    python -m benchmarks.studies.score_stability [--samples 32] [--seeds 16]

Prints the tables of docs/gae.md ("How much of C is the draw") and docs/limits.md. On the digits
networks and held-out digits that ship with the package: nothing is downloaded.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np
import pandas as pd
import torch
import typer
from numpy.typing import NDArray
from torch import nn

from gae_metric import GAE, Contrastiveness
from gae_metric.demo import digits, networks
from gae_metric.explainers.gradients import EXPLAINERS, ExplainFunc, not_applicable

NETWORKS = ("vgg", "resnet", "vit")
ADDED = (-5, 0, 5, 20)
Array: TypeAlias = NDArray[Any]
METHODS = ("absLRP", "GradCAM", "InputXGradient", "Saliency")


def draws(
    model: nn.Module,
    explain: ExplainFunc,
    x: Array,
    y: Array,
    *,
    seeds: int = 16,
    mosaics: Sequence[int] = (1, 2, 4, 8),
) -> pd.DataFrame:
    """Measure the standard deviation of C over seeds, by the number K of mosaics.

    Returns
    -------
    Columns ``K``, ``C`` (its mean), ``sample`` (deviation of one sample's C over seeds, root mean
    square over samples), ``mean`` (deviation of the data set's mean over seeds) and ``between``
    (deviation between samples, of which the draw is a part).
    """
    rows = []
    for k in mosaics:
        each = (Contrastiveness(s, n_mosaics=k, disable_warnings=True) for s in range(seeds))
        scores = np.array([metric(model, x, y, explain_func=explain) for metric in each])
        within, between = scores.var(axis=0, ddof=1), scores.std(axis=1, ddof=1)
        row = {"K": k, "C": scores.mean(), "sample": np.sqrt(within.mean())}
        rows.append({**row, "mean": scores.mean(axis=1).std(ddof=1), "between": between.mean()})
    return pd.DataFrame(rows)


def constants(
    model: nn.Module, explain: ExplainFunc, x: Array, y: Array, added: Sequence[float] = ADDED
) -> pd.DataFrame:
    """Score when a constant is added to all logits, which changes no prediction and no map."""

    def unchanged(inputs: Any, targets: Any, **_: Any) -> Any:
        return explain(model=model, inputs=inputs, targets=targets)

    rows = []
    for constant in added:
        metric = GAE(output=functools.partial(torch.add, other=constant), disable_warnings=True)
        metric(model, x, y, explain_func=unchanged)
        rows.append({"added": constant, **metric.components[list(metric.columns)].mean()})
    return pd.DataFrame(rows)


def wrong_classes(model: nn.Module, explain: ExplainFunc, x: Array, y: Array) -> pd.DataFrame:
    """Score true classes, others, and blank images in place of half the samples."""
    blank = x.copy()
    blank[::2] = np.linspace(0.1, 1, len(blank[::2]), dtype=x.dtype)[:, None, None, None]
    zero = x.copy()
    zero[::2] = 0
    rows = []
    for what, inputs, classes, counted in (
        ("true", x, y, slice(None)),
        ("next", x, (y + 1) % 10, slice(None)),
        ("blank", blank, y, slice(0, None, 2)),
        ("zero", zero, y, slice(0, None, 2)),
    ):
        metric = GAE(disable_warnings=True)
        metric(model, inputs, classes, explain_func=explain)
        rows.append({"classes": what, **metric.components[list(metric.columns)][counted].mean()})
    return pd.DataFrame(rows)


def main(
    samples: Annotated[int, typer.Option(help="Held-out digits.")] = 32,
    seeds: Annotated[int, typer.Option(help="Draws of mosaics.")] = 16,
) -> None:
    """Print the three tables."""
    x, y = digits.load("test", n=samples)
    for title, study, options in (
        ("Standard deviation of C over seeds", draws, {"seeds": seeds}),
        ("A constant is added to all logits", constants, {}),
        ("Classes that are not predicted, and blank images", wrong_classes, {}),
    ):
        frames = []
        for network in NETWORKS:
            model = networks.load(network)
            for method in METHODS:
                if not_applicable(method, model, torch.as_tensor(x[:1])):
                    continue
                found = study(model, EXPLAINERS[method], x, y, **options)
                found.insert(0, "network", network)
                found.insert(1, "method", method)
                frames.append(found)
        print(f"\n{title}\n{pd.concat(frames).round(3).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    typer.run(main)
