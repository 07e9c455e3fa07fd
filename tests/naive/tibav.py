"""TIBAV as its authors' published code computes it (Chefer et al. 2021, CVPR).

Code: github.com/hila-chefer/Transformer-Explainability, ``transformer_attribution``. Relevance
starts as 1 at the explained class. R / h is R / (h + 1e-9), and 0 where h is 0.

- Linear layers: the contributions above 0 take R in proportion, without the bias.
- A sum: in proportion (signed), then each side scaled as a whole so that they share the total by
  the absolute value of their sums. Two branches that leave one tensor, and the choice of the class
  token: R x / (x + 1e-9).
- Product of two activations: in proportion (signed), half to each operand.
- Layer norm, softmax, GELU: unchanged.

The map of a block is the mean over heads of (gradient of the attention x its relevance)+.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.naive.vit import Block, forward, rollout


def tibav(model: Any, x: Tensor, target: int) -> Tensor:
    """Relevance of the tokens (without the class token's) of one sample x (1, 3, H, W)."""
    passed = forward(model, x, target)
    start = torch.zeros_like(passed.logits)
    start[target] = 1
    head = _linear(passed.normed[:1], model.head.weight, start[None])
    relevance = torch.zeros_like(passed.normed)
    relevance[0] = passed.normed[0] * divide(head[0], passed.normed[0])
    maps: list[Tensor] = []
    for block, gradient in zip(reversed(passed.blocks), reversed(passed.gradients), strict=True):
        relevance, of_attention = _block(block, relevance)
        maps.insert(0, (gradient * of_attention).clamp(min=0).mean(0).detach())
    return rollout(maps)


def divide(a: Tensor, b: Tensor) -> Tensor:
    """a / (b + 1e-9), and 0 where b is 0."""
    moved = b + 1e-9
    moved = torch.where(moved == 0, 1e-9, moved)
    return torch.where(b == 0, torch.zeros_like(a), a / moved)


def _linear(x: Tensor, weights: Tensor, r: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for token in range(len(x)):
        for j in range(len(weights)):
            z = (x[token] * weights[j]).clamp(min=0)
            total[token] += z * divide(r[token, j], z.sum())
    return total


def _sum(a: Tensor, b: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    share = divide(r, a + b)
    a, b = a * share, b * share
    both = a.sum().abs() + b.sum().abs()
    a_total = divide(a.sum().abs(), both) * r.sum()
    b_total = divide(b.sum().abs(), both) * r.sum()
    return a * divide(a_total, a.sum()), b * divide(b_total, b.sum())


def _product(a: Tensor, b: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of a (heads, n, m) and b (heads, m, d), a @ b having relevance r."""
    share = divide(r, a @ b)
    return a * (share @ b.transpose(1, 2)) / 2, b * (a.transpose(1, 2) @ share) / 2


def _joined(x: Tensor, *relevances: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for r in relevances:
        total = total + divide(r, x)
    return x * total


def _block(block: Block, r: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of a block's input, and of its attention (heads, tokens, tokens)."""
    attn, mlp = block.module.attn, block.module.mlp
    kept, through = _sum(block.middle, block.expanded, r)
    through = _linear(block.active, mlp.fc2.weight, through)
    through = _linear(block.normed2, mlp.fc1.weight, through)
    r = _joined(block.middle, kept, through)

    kept, through = _sum(block.x, block.attended, r)
    through = _linear(block.joined, attn.proj.weight, through)
    heads, length, width = block.v.shape
    through = through.reshape(length, heads, width).transpose(0, 1)
    of_attention, of_v = _product(block.attention, block.v, through)
    of_q, of_k = _product(block.q, block.k.transpose(1, 2), of_attention)
    parts = torch.stack((of_q, of_k.transpose(1, 2), of_v))
    of_qkv = parts.permute(2, 0, 1, 3).reshape(length, 3 * heads * width)
    through = _linear(block.normed, attn.qkv.weight, of_qkv)
    return _joined(block.x, kept, through), of_attention
