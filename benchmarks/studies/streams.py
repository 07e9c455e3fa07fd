"""Where absLRP's two streams part: ``python -m benchmarks.studies.streams``.

Block by block of the trained ViT of the reference material, from the logits to the input: the
size of the streams' difference, and its cosine with activation times gradient of the same
difference of logits.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

import abslrp
from benchmarks.data.names import open_data
from benchmarks.models import load, shared_folder


def parted(model: Any, x: Tensor, **options: Any) -> dict[str, tuple[float, float]]:
    """Return size and cosine by name of each module of ``model.blocks``, and of the input."""
    names = [f"blocks.{i}" for i in reversed(range(len(model.blocks)))]
    kept: dict[str, Tensor] = {"input": x.clone().requires_grad_()}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda module, given, found, name=name: kept.update({name: found})
        )
        for name in names
    ]
    logits = model(kept["input"])
    for handle in handles:
        handle.remove()
    hot = one_hot(logits.argmax(1), logits.shape[1]).to(logits)
    start = torch.stack([hot, (1 - hot) / (logits.shape[1] - 1)])
    every = [*names, "input"]
    gradients = torch.autograd.grad(
        (logits * (start[0] - start[1])).sum(), [kept[name] for name in every]
    )
    relevance: dict[str, Tensor] = dict(abslrp.relevance(model, x, start, at=names, **options))
    relevance["input"] = abslrp.relevance(model, x, start, **options)
    found = {}
    for name, gradient in zip(every, gradients, strict=True):
        one, other = (
            stream / stream.flatten(1).sum(1).view(-1, *[1] * (gradient.ndim - 1))
            for stream in relevance[name]
        )
        apart, by = (one - other).flatten(1), (kept[name] * gradient).detach().flatten(1)
        found[name] = float(apart.abs().sum(1).mean()), float(cosine_similarity(apart, by).mean())
    return found


def main(samples: Annotated[int, typer.Option(help="Photographs.")] = 4) -> None:
    """Print the size of the streams' difference and its cosine, block by block."""
    loaded = load("shared:vit_small_dinov2")
    data = open_data(f"imagenet:{shared_folder()}/images/imagenet").sample(samples, 0)
    x = torch.from_numpy(data.load(loaded.preprocessing, 0).x)
    for name, (size, cosine) in parted(loaded.model.requires_grad_(False), x).items():
        typer.echo(f"{name:10} size {size:.4f}  cosine {cosine:+.3f}")


if __name__ == "__main__":
    typer.run(main)
