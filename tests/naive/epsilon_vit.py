"""LRP-epsilon (eq. 3) on a vision transformer, and TIBAV (eq. 7) with it, as the paper words it.

Every layer that is linear, or linear when its statistics are held constant, follows eq. 3 with its
bias among the contributions: linear layers, the patches' convolution, layer norm (two layers),
sums (a constant's share is lost), the products of two activations (eq. 3 for each operand, the
other as its weights, half of R each, so that a product sends on what it received). Softmax and
GELU pass relevance on, as activation functions.
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
    head, norm = model.head, model.norm
    of_class = _linear(passed.normed[:1], head.weight, head.bias, start[None], epsilon)
    r = torch.zeros_like(passed.normed)
    r[0] = of_class[0]
    r = _norm(passed.blocks[-1].out, norm, r, epsilon)
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


def _norm(x: Tensor, layer: Any, r: Tensor, epsilon: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    deviation = (x.var(-1, unbiased=False, keepdim=True) + layer.eps).sqrt()
    middle = (x - mean) / deviation
    scaled = middle * layer.weight
    r = scaled / stabilized(scaled + layer.bias, epsilon) * r
    total: Tensor = x / deviation / stabilized(middle, epsilon) * r
    return total.detach()


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
    r = kept + _norm(block.middle, m.norm2, through, epsilon)

    kept, through = _sum(block.x, block.attended, r, epsilon)
    through = _linear(block.joined, attn.proj.weight, attn.proj.bias, through, epsilon)
    heads, length, width = block.v.shape
    through = through.reshape(length, heads, width).transpose(0, 1)
    of_attention, of_v = _product(block.attention, block.v, through, epsilon)
    of_q, of_k = _product(block.q, block.k.transpose(1, 2), of_attention, epsilon)
    parts = torch.stack((of_q, of_k.transpose(1, 2), of_v))
    of_qkv = parts.permute(2, 0, 1, 3).reshape(length, 3 * heads * width)
    through = _linear(block.normed, attn.qkv.weight, attn.qkv.bias, of_qkv, epsilon)
    return kept + _norm(block.x, m.norm1, through, epsilon), of_attention
