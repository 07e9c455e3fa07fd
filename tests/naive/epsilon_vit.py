"""LRP-epsilon (eq. 3) and LRP-alpha-beta (eq. 4) on a vision transformer; TIBAV (eq. 7) by eq. 3.

Every linear layer follows eq. 3 (eq. 4) with its bias among the contributions. Whatever the rule,
eq. 3 is that of sums (a constant's share is lost), of a mean over tokens, and of products of two
activations (for each operand, the other as its weights, half of R each, so that a product sends on
what it received). The paper says no more; the convention for what is not linear is AttnLRP's
(Achtibat et al. 2024): softmax by its first-order expansion, x (R - p sum R); layer norm and GELU
pass relevance on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tests.naive import alpha_beta
from tests.naive.epsilon import stabilized
from tests.naive.vit import Block, Forward, forward, gradients, read_rows, rollout

Shares = Callable[[Tensor, "Tensor | float"], Tensor]
"""What each contribution to one output of a linear layer takes of its relevance, from the bias."""


def lrp_epsilon_vit(model: Any, x: Tensor, target: int, epsilon: float) -> Tensor:
    """Relevance of one image x (1, 3, H, W) for class `target`, from 1 at that class."""
    return _to_image(model, x, target, epsilon, partial(_by_epsilon, epsilon=epsilon))


def lrp_alpha_beta_vit(model: Any, x: Tensor, target: int, alpha: float, beta: float) -> Tensor:
    """As `lrp_epsilon_vit`, by eq. 4."""
    shares = partial(alpha_beta.shares, alpha=alpha, beta=beta)
    return _to_image(model, x, target, alpha_beta.EPSILON, shares)


def tibav_epsilon(model: Any, x: Tensor, target: int, epsilon: float = 1e-9) -> Tensor:
    """Relevance of the patches of one sample x (1, 3, H, W)."""
    passed = forward(model, x)
    shares = partial(_by_epsilon, epsilon=epsilon)
    relevances = _to_tokens(model, passed, target, epsilon, shares)[1]
    pairs = zip(gradients(model, x, target).attention, relevances, strict=True)
    return rollout(model, [(g * r).clamp(min=0).mean(0) for g, r in pairs])


def _by_epsilon(z: Tensor, bias: Tensor | float, epsilon: float) -> Tensor:
    return z / stabilized(z.sum() + bias, epsilon)


def _to_image(model: Any, x: Tensor, target: int, epsilon: float, shares: Shares) -> Tensor:
    passed = forward(model, x)
    tokens = _to_tokens(model, passed, target, epsilon, shares)[0]
    of_patches = passed.tokens / stabilized(passed.embedded, epsilon) * tokens
    proj = model.patch_embed.proj
    columns = nn.functional.unfold(x, proj.kernel_size, stride=proj.stride)[0].T
    layer = nn.Linear(columns.shape[1], proj.out_channels)
    layer.weight.data, layer.bias.data = proj.weight.flatten(1), proj.bias
    spread = _linear(columns, layer, of_patches[model.num_prefix_tokens :], shares)
    return nn.functional.fold(spread.T[None], x.shape[2:], proj.kernel_size, stride=proj.stride)


def _to_tokens(
    model: Any, passed: Forward, target: int, epsilon: float, shares: Shares
) -> tuple[Tensor, list[Tensor]]:
    start = torch.zeros_like(passed.logits)
    start[target] = 1
    of_read = _linear(passed.read[None], model.head, start[None], shares)[0]
    rows = read_rows(model, len(passed.normed))
    r = torch.zeros_like(passed.normed)
    r[rows] = of_read
    if len(rows) > 1:
        r[rows] = passed.normed[rows] / len(rows) * of_read / stabilized(passed.pooled, epsilon)
    relevances: list[Tensor] = []
    for block in reversed(passed.blocks):
        r, of_attention = _block(block, r, epsilon, shares)
        relevances.insert(0, of_attention)
    return r, relevances


def _linear(x: Tensor, layer: nn.Linear, r: Tensor, shares: Shares) -> Tensor:
    total = torch.zeros_like(x)
    bias = torch.zeros_like(r[0]) if layer.bias is None else layer.bias.detach()
    for token in range(len(x)):
        for j in range(len(bias)):
            z = x[token] * layer.weight[j].detach()
            total[token] += shares(z, bias[j]) * r[token, j]
    return total


def _softmax(x: Tensor, p: Tensor, r: Tensor) -> Tensor:
    return x * (r - p * r.sum(-1, keepdim=True))


def _sum(a: Tensor, b: Tensor, r: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    share = r / stabilized(a + b, epsilon)
    return a * share, b * share


def _product(a: Tensor, b: Tensor, r: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    share = r / stabilized(a @ b, epsilon) / 2
    return a * (share @ b.transpose(1, 2)), b * (a.transpose(1, 2) @ share)


def _block(block: Block, r: Tensor, epsilon: float, shares: Shares) -> tuple[Tensor, Tensor]:
    """Relevance of a block's input, and of its attention (heads, tokens, tokens)."""
    m = block.module
    kept, through = _sum(block.middle, block.expanded, r, epsilon)
    through = _linear(block.active, m.mlp.fc2, through, shares)
    r = kept + _linear(block.normed2, m.mlp.fc1, through, shares)

    kept, through = _sum(block.x, block.attended, r, epsilon)
    through = _linear(block.joined, m.attn.proj, through, shares)
    heads, length, width = block.v.shape
    through = through.reshape(length, heads, width).transpose(0, 1)
    of_attention, of_v = _product(block.attention, block.v, through, epsilon)
    of_dots = _softmax(block.dots * width**-0.5, block.attention, of_attention)
    scaled = block.q * width**-0.5  # as timm does
    of_q, of_k = _product(scaled, block.k.transpose(1, 2), of_dots, epsilon)
    parts = torch.stack((of_q, of_k.transpose(1, 2), of_v))
    of_qkv = parts.permute(2, 0, 1, 3).reshape(length, 3 * heads * width)
    return kept + _linear(block.normed, m.attn.qkv, of_qkv, shares), of_attention
