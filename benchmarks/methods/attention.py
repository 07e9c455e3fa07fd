"""Methods that read attention matrices: last-layer attention, rollout, TIBAV.

The class token's row is the row that the model's head reads: the rows of the last attention whose
gradient is not zero. With class token pooling that is the class token's alone, also where there
are registers beside it; with average pooling it is those of all tokens that are averaged, and
their mean is taken.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abslrp import propagation
from abslrp.registry import RuleSet
from abslrp.rule_sets import epsilon
from benchmarks.methods.attention_maps import Attentions, Grid, attend, by_heads, tokens_of
from benchmarks.methods.copies import working_copy
from benchmarks.methods.registry import Explain, method
from gae_metric.explainers.chunked_gradients import selected

for_vit = functools.partial(method, family="vit", source="benchmarks", chunks=True)
VIT = ("vit",)

Matrices: TypeAlias = "list[Tensor]"

#: From the model, a chunk, its targets, its attention matrices (B, h, T, T) block by block and
#: their gradients, to values (B, T, T).
Combine = Callable[[nn.Module, Tensor, Tensor, Matrices, Matrices], Tensor]


@for_vit(
    "LLAttention",
    "Chefer et al., CVPR 2021 (raw attention of the last block, mean over heads)",
    paper=VIT,
)
def last_layer_attention(model: nn.Module, x: Tensor, *, grid: Grid = None) -> Explain:
    """Attention of the class token in the last block, the same for every target."""
    return _token_maps(model, grid, lambda model, x, target, maps, slopes: maps[-1].mean(1))


@for_vit(
    "Rollout", "Abnar and Zuidema, ACL 2020, as eq. 6 has it (rows not renormalised)", paper=VIT
)
def rollout(model: nn.Module, x: Tensor, *, grid: Grid = None) -> Explain:
    """Product over blocks of I + E_h A (eq. 6), the same for every target."""
    return _token_maps(
        model, grid, lambda model, x, target, maps, slopes: _product([one.mean(1) for one in maps])
    )


def _tibav(name: str, rules: str | RuleSet, citation: str, *, paper: tuple[str, ...] = ()) -> None:
    """Register TIBAV with a rule set for the relevance of attention, from 1 at the target."""

    def product(
        model: nn.Module, x: Tensor, target: Tensor, maps: Matrices, slopes: Matrices
    ) -> Tensor:
        pairs = zip(slopes, attention_relevance(model, x, target, rules), strict=True)
        return _product([(g * r).clamp(min=0).mean(1) for g, r in pairs])

    @for_vit(name, citation, paper=paper)
    def explain(model: nn.Module, x: Tensor, *, grid: Grid = None) -> Explain:
        """Product over blocks of I + E_h (grad A * R^A)^+ (eq. 7)."""
        return _token_maps(model, grid, product)


_tibav("TIBAV", "Chefer", "Chefer et al., CVPR 2021 (eq. 7), by its authors' code", paper=VIT)
_tibav(
    "TIBAV-epsilon", epsilon.build(1e-9), "Chefer et al., CVPR 2021 (eq. 7), R by LRP-epsilon, 1e-9"
)


def attention_relevance(
    model: nn.Module, x: Tensor, target: Tensor, rules: str | RuleSet
) -> Matrices:
    """Return the relevance of the attention matrices, block by block: (B, h, T, T)."""
    leaf = x.detach().clone()
    with propagation(rules, None, inputs=[leaf]) as context, Attentions() as found:
        logits = model(leaf)
        start = F.one_hot(target, logits.shape[1]).to(logits)
    relevances = context.relevance(logits, start, found.maps)
    return [
        by_heads(torch.zeros_like(matrix) if one is None else one, len(x))
        for one, matrix in zip(relevances, found.maps, strict=True)
    ]


def _product(blocks: Matrices) -> Tensor:
    """Return the product of ``I + A``, the last block leftmost."""
    result = torch.eye(blocks[0].shape[-1]).to(blocks[0]).expand_as(blocks[0])
    for block in blocks:
        result = result + block @ result
    return result


def _token_maps(model: nn.Module, grid: Grid, combine: Combine) -> Explain:
    """Return the row that the head reads, as a map (B, 1, H, W), upsampled bilinearly."""
    copied = working_copy(model).eval()

    def explain(chunk: Tensor, target: Tensor) -> Tensor:
        logits, found = attend(copied, chunk)
        size = (chunk.shape[2], chunk.shape[3])
        tokens = tokens_of(found, size, len(chunk), grid)
        gradients = torch.autograd.grad(selected(logits, target).sum(), found.maps)
        maps = [by_heads(one.detach(), len(chunk)) for one in found.maps]
        slopes = [by_heads(one, len(chunk)) for one in gradients]
        read = _rows_read(slopes[-1])
        rows = combine(copied, chunk, target, maps, slopes)
        row = (read[:, :, None] * rows).sum(1) / read.sum(1, keepdim=True)
        return F.interpolate(tokens.features(row[..., None]), size=size, mode="bilinear")

    return explain


def _rows_read(gradient: Tensor) -> Tensor:
    """Return 1 for each token whose attention the head reads, (B, T); the first if none."""
    read = (gradient != 0).any(-1).any(1)
    read[:, 0] |= ~read.any(1)
    return read.to(gradient.dtype)
