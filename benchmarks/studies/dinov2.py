"""Why absLRP is at 0 on the DINOv2 ViT: its rules taken apart, and mosaics of four groups.

    python -m benchmarks.studies.dinov2 [--samples 8]

Prints the tables of docs/experiments.md. The network is ``shared:vit_small_dinov2``.
"""

import copy
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from torch import Tensor, nn

import abslrp
from benchmarks.data.names import open_data
from benchmarks.methods.registry import find
from benchmarks.models import load, shared_folder
from gae_metric import Contrastiveness, LocalConsistency

CLASSES = 4


def scales_merged(model: nn.Module) -> nn.Module:
    """Return a copy whose layer scales are part of the weights before them."""
    model = copy.deepcopy(model)
    for block in model.blocks:  # type: ignore[union-attr]
        for layer, name in ((block.attn.proj, "ls1"), (block.mlp.fc2, "ls2")):
            gamma = getattr(block, name).gamma
            layer.weight.data *= gamma[:, None]
            layer.bias.data *= gamma
            setattr(block, name, nn.Identity())
    return model


def variants(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict[str, Any]]]:
    """Yield names, models that compute the same, and options of absLRP."""
    yield "absLRP", model, {}
    yield "one pass", model, {"contrast": "signed"}
    yield "no contrast", model, {"contrast": None}
    yield "softmax constant", model, {"attention": "values"}
    yield "queries and keys alone", model, {"attention": "queries_keys"}
    yield "nothing conserved", model, {"conserve": None}
    yield "layer scale merged", scales_merged(model), {}


def streams(model: nn.Module, x: Tensor, y: Tensor) -> pd.DataFrame:
    """Compare the target's stream, scaled to sum 1, with the others', from last to first."""
    own = nn.functional.one_hot(y, CLASSES).to(x.dtype)
    starts = torch.stack([own, (1 - own) / (CLASSES - 1)])
    rows = {}
    for name in (*(f"blocks.{index}" for index in (11, 10, 7, 3)), "input"):
        at = None if name == "input" else name
        found = abslrp.relevance(model, x, starts, at=at).flatten(2)
        one, other = found / found.sum(2, keepdim=True)
        alike = [np.corrcoef(*pair)[0, 1] for pair in zip(one, other, strict=True)]
        rows[name] = {"difference": float((one - other).abs().sum(1).mean())}
        rows[name] |= {"correlation": float(np.mean(alike))}
    return pd.DataFrame(rows).T


def remembering(variant: nn.Module, options: dict[str, Any], sign: int, maps: Any) -> Any:
    """Return what explains a variant of the model, with a sign; inputs seen before cost nothing."""

    def explain(model: nn.Module, inputs: Any, targets: Any) -> Any:
        key = inputs.tobytes()
        if key not in maps:
            maps[key] = abslrp.explain(variant, inputs, targets, **options)
        return sign * maps[key]

    return explain


def taken_apart(model: nn.Module, x: Tensor, y: Tensor) -> pd.DataFrame:
    """Score maps of each variant, and the same maps with the other sign, by LC_F."""
    rows = {}
    for name, variant, options in variants(model):
        maps: dict[bytes, Any] = {}
        scores = []
        for sign in (1, -1):
            metric = LocalConsistency(disable_warnings=True)
            explain = remembering(variant, options, sign, maps)
            metric(model, x.numpy(), y.numpy(), explain_func=explain)
            scores.append(metric.components["lc_faithfulness"].mean())
        rows[name] = dict(zip(("LC_F", "LC_F of -map"), scores, strict=True))
        print(name, rows[name], file=sys.stderr, flush=True)
    return pd.DataFrame(rows).T


def four_groups(model: nn.Module, x: Tensor, y: Tensor) -> pd.DataFrame:
    """Score C where the four images of each mosaic are of four predicted groups."""
    quartets = list(zip(*(np.flatnonzero(y == group) for group in range(CLASSES)), strict=False))
    rows = {}
    for name in ("absLRP", "absLRP-queries-keys", "HiResCAM", "AttnLRP", "Random"):
        scores: list[float] = []
        for four in map(list, quartets):
            metric = Contrastiveness(disable_warnings=True)
            scores += metric(model, x[four].numpy(), y[four].numpy(), explain_func=find(name))
        rows[name] = {"C": np.mean(scores), "mosaics": len(scores)}
    return pd.DataFrame(rows).T


def main(
    samples: Annotated[int, typer.Option(help="Photographs of the shared folder.")] = 8,
    mosaics: Annotated[int, typer.Option(help="Photographs that four are taken of.")] = 24,
) -> None:
    """Print the three tables."""
    loaded = load("shared:vit_small_dinov2")
    data = open_data(f"imagenet:{shared_folder()}/images/imagenet")
    images = [
        torch.from_numpy(data.sample(n).load(loaded.preprocessing).x) for n in (samples, mosaics)
    ]
    model = loaded.model
    with torch.no_grad():
        classes = [model(x).argmax(1) for x in images]
        print(f"logits of an image of zeros: {model(torch.zeros_like(images[0][:1]))[0].tolist()}")
    for title, study, x, y in (
        ("Two streams", streams, images[0], classes[0]),
        ("Rules taken apart", taken_apart, images[0], classes[0]),
        ("Mosaics of four groups", four_groups, images[1], classes[1]),
    ):
        print(f"\n{title}\n{study(model, x, y).round(4).to_string()}", flush=True)


if __name__ == "__main__":
    typer.run(main)
