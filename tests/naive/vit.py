"""A small float64 vision transformer of timm, its forward pass written down step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor


@dataclass
class Block:
    """What one block saw and made, one sample; heads first in q, k, v, dots, attention, mixed."""

    module: Any
    x: Tensor
    normed: Tensor
    qkv: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    dots: Tensor
    attention: Tensor
    mixed: Tensor
    joined: Tensor
    attended: Tensor
    middle: Tensor
    normed2: Tensor
    hidden: Tensor
    active: Tensor
    expanded: Tensor
    out: Tensor


@dataclass
class Forward:
    """One sample's forward pass; `gradients` of the target's logit by each block's attention."""

    patches: Tensor
    tokens: Tensor
    embedded: Tensor
    blocks: list[Block]
    normed: Tensor
    logits: Tensor
    gradients: list[Tensor]


def small_vit() -> Any:
    """Two blocks, two heads, nine patches of 4 x 4; input (1, 3, 12, 12), five classes."""
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=12, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=5
    )
    draw = torch.Generator().manual_seed(3)
    model = model.double().eval()
    for name, part in model.named_parameters():
        values = torch.randn(part.shape, generator=draw).double()
        if "norm" in name and name.endswith("weight"):
            part.data = 1 + values / 4
        elif name.endswith("bias"):
            part.data = values / 4
        else:
            part.data = values / (part[0].numel() if part.dim() > 1 else 4) ** 0.5
    for block in model.blocks:
        block.attn.fused_attn = False
    return model.requires_grad_(False)


def forward(model: Any, x: Tensor, target: int) -> Forward:
    """Run one sample (1, 3, H, W) step by step."""
    m = model
    patches = m.patch_embed.proj(x).flatten(2)[0].T
    tokens = torch.cat((m.cls_token[0], patches))
    embedded = tokens + m.pos_embed[0]
    state, blocks = embedded, []
    for module in m.blocks:
        blocks.append(_block(module, state))
        state = blocks[-1].out
    normed = m.norm(state)
    logits = m.head(normed[0])
    gradients = torch.autograd.grad(logits[target], [block.attention for block in blocks])
    return Forward(patches, tokens, embedded, blocks, normed, logits, list(gradients))


def _block(module: Any, x: Tensor) -> Block:
    attn, mlp = module.attn, module.mlp
    heads = int(attn.num_heads)
    normed = module.norm1(x)
    qkv = attn.qkv(normed)
    length, width = x.shape
    q, k, v = qkv.reshape(length, 3, heads, width // heads).permute(1, 2, 0, 3)
    dots = q @ k.transpose(1, 2)
    # Its own leaf of the graph: what comes before it need no gradient.
    attention = (dots * (width // heads) ** -0.5).softmax(-1)
    if not attention.requires_grad:
        attention = attention.detach().requires_grad_()
    mixed = attention @ v
    joined = mixed.transpose(0, 1).reshape(length, width)
    attended = attn.proj(joined)
    middle = x + attended
    normed2 = module.norm2(middle)
    hidden = mlp.fc1(normed2)
    active = mlp.act(hidden)
    expanded = mlp.fc2(active)
    return Block(
        module, x, normed, qkv, q, k, v, dots, attention, mixed, joined, attended, middle,
        normed2, hidden, active, expanded, middle + expanded,
    )  # fmt: skip


def rollout(maps: list[Tensor]) -> Tensor:
    """Eq. 6, 7: the class token's row of the product of I + map, the last block leftmost."""
    product = torch.eye(maps[0].shape[0], dtype=maps[0].dtype)
    for each in maps:
        product = product + each @ product
    return product[0, 1:]
