"""LRP-epsilon (eq. 3) on a vision transformer, and TIBAV (eq. 7) with it, as the paper words it.

Every linear layer follows eq. 3 with its bias among the contributions: linear layers, the patches'
convolution, sums (a constant's share is lost), the products of two activations (eq. 3 for each
operand, the other as its weights, half of R each, so that a product sends on what it received).
The paper says no more; the convention for what is not linear is AttnLRP's (Achtibat et al. 2024):
softmax by its first-order expansion, x (R - p sum R); layer norm and GELU pass relevance on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.naive.epsilon import stabilized
from tests.naive.vit import Block, Forward, forward, rollout


def lrp_epsilon_vit(model: Any, x: Tensor, target: int, epsilon: float) -> Tensor:
    """Relevance of one image x (1, 3, H, W) for class `target`, from 1 at that class."""
    passed = forward(model, x, target)
    tokens = _to_tokens(model, passed, target, epsilon)[0]
    of_patches = (passed.tokens / stabilized(passed.embedded, epsilon) * tokens)[1:]
    proj = model.patch_embed.proj
    columns = nn.functional.unfold(x, proj.kernel_size, stride=proj.stride)[0].T
    weights = proj.weight.flatten(1)
    spread = _linear(columns, weights, proj.bias, of_patches, epsilon)
    return nn.functional.fold(
        spread.T[None], x.shape[2:], proj.kernel_size, stride=proj.stride
    )  # fmt: skip


def tibav_epsilon(model: Any, x: Tensor, target: int, epsilon: float = 1e-9) -> Tensor:
    """Relevance of the tokens (without the class token's) of one sample x (1, 3, H, W)."""
    passed = forward(model, x, target)
    relevances = _to_tokens(model, passed, target, epsilon)[1]
    pairs = zip(passed.gradients, relevances, strict=True)
    return rollout([(g * r).clamp(min=0).mean(0).detach() for g, r in pairs])


def _to_tokens(
    model: Any, passed: Forward, target: int, epsilon: float
) -> tuple[Tensor, list[Tensor]]:
    start = torch.zeros_like(passed.logits)
    start[target] = 1
    head = model.head
    of_class = _linear(passed.normed[:1], head.weight, head.bias, start[None], epsilon)
    r = torch.zeros_like(passed.normed)
    r[0] = of_class[0]
    relevances: list[Tensor] = []
    for block in reversed(passed.blocks):
        r, of_attention = _block(block, r, epsilon)
        relevances.insert(0, of_attention)
    return r.detach(), relevances


def _linear(x: Tensor, weights: Tensor, bias: Tensor, r: Tensor, epsilon: float) -> Tensor:
    total = torch.zeros_like(x)
    for token in range(len(x)):
        for j in range(len(weights)):
            z = x[token] * weights[j]
            total[token] += z * r[token, j] / stabilized(z.sum() + bias[j], epsilon)
    return total.detach()


def _softmax(x: Tensor, p: Tensor, r: Tensor) -> Tensor:
    return (x * (r - p * r.sum(-1, keepdim=True))).detach()


def _sum(a: Tensor, b: Tensor, r: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    share = r / stabilized(a + b, epsilon)
    return (a * share).detach(), (b * share).detach()


def _product(a: Tensor, b: Tensor, r: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    share = r / stabilized(a @ b, epsilon) / 2
    return (a * (share @ b.transpose(1, 2))).detach(), (b * (a.transpose(1, 2) @ share)).detach()


def _block(block: Block, r: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Relevance of a block's input, and of its attention (heads, tokens, tokens)."""
    m = block.module
    attn, mlp = m.attn, m.mlp
    kept, through = _sum(block.middle, block.expanded, r, epsilon)
    through = _linear(block.active, mlp.fc2.weight, mlp.fc2.bias, through, epsilon)
    through = _linear(block.normed2, mlp.fc1.weight, mlp.fc1.bias, through, epsilon)
    r = kept + through

    kept, through = _sum(block.x, block.attended, r, epsilon)
    through = _linear(block.joined, attn.proj.weight, attn.proj.bias, through, epsilon)
    heads, length, width = block.v.shape
    through = through.reshape(length, heads, width).transpose(0, 1)
    of_attention, of_v = _product(block.attention, block.v, through, epsilon)
    of_dots = _softmax(block.dots * width**-0.5, block.attention, of_attention)
    scaled = block.q * width**-0.5  # as timm does
    of_q, of_k = _product(scaled, block.k.transpose(1, 2), of_dots, epsilon)
    parts = torch.stack((of_q, of_k.transpose(1, 2), of_v))
    of_qkv = parts.permute(2, 0, 1, 3).reshape(length, 3 * heads * width)
    through = _linear(block.normed, attn.qkv.weight, attn.qkv.bias, of_qkv, epsilon)
    return kept + through, of_attention
