"""TIBAV as its authors' published code computes it (Chefer et al. 2021, CVPR).

Code: github.com/hila-chefer/Transformer-Explainability, ``transformer_attribution``. Relevance
starts as 1 at the explained class. R / h is R / (h + 1e-9), and 0 where h is 0. What this project
does otherwise is `HERE`: 1e-9 has the sign of h, and is not added where relevance is scaled as a
whole or added up; in products of queries and keys, the queries are scaled before it, as timm does.

- Linear layers: the contributions above 0 take R in proportion, without the bias.
- A sum: in proportion (signed), then each side scaled as a whole so that they share the total by
  the absolute value of their sums. Two branches that leave one tensor, and the choice of the class
  token: R x / (x + 1e-9).
- A mean over tokens, which the code does not have, as its poolings: in proportion (signed).
- Product of two activations: in proportion (signed), half to each operand.
- Layer norm, softmax, GELU: unchanged.

The map of a block is the mean over heads of (gradient of the attention x its relevance)+.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.naive.vit import Block, forward, gradients, read_rows, rollout

Divide = Callable[[Tensor, Tensor], Tensor]


def _plain(a: Tensor, b: Tensor) -> Tensor:
    moved = b + 1e-9
    moved = torch.where(moved == 0, 1e-9, moved)
    return torch.where(b == 0, torch.zeros_like(a), a / moved)


def _signed(a: Tensor, b: Tensor) -> Tensor:
    return a / torch.where(b < 0, b - 1e-9, b + 1e-9)


def _exact(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, 1.0, b))


class Reading(NamedTuple):
    """R / h, in shares and where relevance is scaled as a whole; whether queries are scaled."""

    share: Divide
    whole: Divide
    scaled: bool


AUTHORS = Reading(_plain, _plain, scaled=False)
HERE = Reading(_signed, _exact, scaled=True)


def tibav(model: Any, x: Tensor, target: int, by: Reading = AUTHORS) -> Tensor:
    """Relevance of the patches of one sample x (1, 3, H, W)."""
    passed = forward(model, x)
    start = torch.zeros_like(passed.logits)
    start[target] = 1
    of_read = _linear(passed.read[None], model.head.weight, start[None], by)[0]
    rows = read_rows(model, len(passed.normed))
    relevance = torch.zeros_like(passed.normed)
    divide = by.whole if len(rows) == 1 else by.share
    relevance[rows] = passed.normed[rows] / len(rows) * divide(of_read, passed.pooled)
    maps: list[Tensor] = []
    slopes = gradients(model, x, target).attention
    for block, gradient in zip(reversed(passed.blocks), reversed(slopes), strict=True):
        relevance, of_attention = _block(block, relevance, by)
        maps.insert(0, (gradient * of_attention).clamp(min=0).mean(0))
    return rollout(model, maps)


def _linear(x: Tensor, weights: Tensor, r: Tensor, by: Reading) -> Tensor:
    total = torch.zeros_like(x)
    for token in range(len(x)):
        for j in range(len(weights)):
            z = (x[token] * weights[j]).clamp(min=0)
            total[token] += z * by.share(r[token, j], z.sum())
    return total


def _sum(a: Tensor, b: Tensor, r: Tensor, by: Reading) -> tuple[Tensor, Tensor]:
    share = by.share(r, a + b)
    a, b = a * share, b * share
    both = a.sum().abs() + b.sum().abs()
    a_total = by.whole(a.sum().abs(), both) * r.sum()
    b_total = by.whole(b.sum().abs(), both) * r.sum()
    return a * by.whole(a_total, a.sum()), b * by.whole(b_total, b.sum())


def _product(a: Tensor, b: Tensor, r: Tensor, by: Reading) -> tuple[Tensor, Tensor]:
    """Relevance of a (heads, n, m) and b (heads, m, d), a @ b having relevance r."""
    share = by.share(r, a @ b)
    return a * (share @ b.transpose(1, 2)) / 2, b * (a.transpose(1, 2) @ share) / 2


def _joined(x: Tensor, relevances: list[Tensor], by: Reading) -> Tensor:
    total = torch.zeros_like(x)
    for r in relevances:
        total = total + by.whole(r, x)
    return x * total


def _block(block: Block, r: Tensor, by: Reading) -> tuple[Tensor, Tensor]:
    """Relevance of a block's input, and of its attention (heads, tokens, tokens)."""
    attn, mlp = block.module.attn, block.module.mlp
    kept, through = _sum(block.middle, block.expanded, r, by)
    through = _linear(block.active, mlp.fc2.weight, through, by)
    through = _linear(block.normed2, mlp.fc1.weight, through, by)
    r = _joined(block.middle, [kept, through], by)

    kept, through = _sum(block.x, block.attended, r, by)
    through = _linear(block.joined, attn.proj.weight, through, by)
    heads, length, width = block.v.shape
    through = through.reshape(length, heads, width).transpose(0, 1)
    of_attention, of_v = _product(block.attention, block.v, through, by)
    q = block.q * width**-0.5 if by.scaled else block.q
    of_q, of_k = _product(q, block.k.transpose(1, 2), of_attention, by)
    parts = torch.stack((of_q, of_k.transpose(1, 2), of_v))
    of_qkv = parts.permute(2, 0, 1, 3).reshape(length, 3 * heads * width)
    through = _linear(block.normed, attn.qkv.weight, of_qkv, by)
    return _joined(block.x, [kept, through], by), of_attention
