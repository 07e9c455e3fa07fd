"""Small float64 vision transformers of timm, forward pass and chain rule written down by steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn


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
    """One sample's forward pass.

    `pooled` is the class token's row, or the mean over patches; `read` what the head sees.
    """

    patches: Tensor
    tokens: Tensor
    embedded: Tensor
    blocks: list[Block]
    normed: Tensor
    pooled: Tensor
    read: Tensor
    logits: Tensor


class Gradients(NamedTuple):
    """Of one logit, by the image (1, 3, H, W), and by each block's attention and normed tokens."""

    image: Tensor
    attention: list[Tensor]
    normed: list[Tensor]


def small_vit(depth: int = 2, size: int | tuple[int, int] = 12, **options: Any) -> Any:
    """Two blocks, two heads, nine patches of 4 x 4; input (1, 3, 12, 12), five classes."""
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=size,
        patch_size=4,
        embed_dim=8,
        depth=depth,
        num_classes=5,
        **{"num_heads": 2, **options},
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


def one_block() -> Any:
    """One block without biases, one head; 2 x 3 patches."""
    return small_vit(1, (8, 12), num_heads=1, qkv_bias=False, proj_bias=False)


def three_blocks() -> Any:
    """Three blocks, four heads; 3 x 2 patches."""
    return small_vit(3, (12, 8), num_heads=4)


def averaged() -> Any:
    """No class token: the head reads the mean over 2 x 3 patches, without one register."""
    return small_vit(2, (8, 12), class_token=False, reg_tokens=1, global_pool="avg")


def forward(model: Any, x: Tensor) -> Forward:
    """Run one sample (1, 3, H, W) step by step."""
    m = model
    patches = m.patch_embed.proj(x).flatten(2)[0].T
    before = [one[0] for one in (m.cls_token, m.reg_token) if one is not None]
    tokens = torch.cat((*before, patches))
    embedded = tokens + m.pos_embed[0]
    state, blocks = embedded, []
    for module in m.blocks:
        blocks.append(_block(module, state))
        state = blocks[-1].out
    normed = m.norm(state)
    pooled = normed[read_rows(m, len(normed))].mean(0)
    read = m.fc_norm(pooled)
    return Forward(patches, tokens, embedded, blocks, normed, pooled, read, m.head(read))


def read_rows(model: Any, count: int) -> list[int]:
    """The tokens whose mean the head reads: the class token, or all patches."""
    return [0] if model.global_pool == "token" else list(range(model.num_prefix_tokens, count))


def _block(module: Any, x: Tensor) -> Block:
    attn, mlp = module.attn, module.mlp
    heads = int(attn.num_heads)
    normed = module.norm1(x)
    qkv = attn.qkv(normed)
    length, width = x.shape
    q, k, v = qkv.reshape(length, 3, heads, width // heads).permute(1, 2, 0, 3)
    dots = q @ k.transpose(1, 2)
    attention = (dots * (width // heads) ** -0.5).softmax(-1)
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


def gradients(model: Any, x: Tensor, target: int) -> Gradients:
    """The chain rule from the logit of class `target` to one sample x (1, 3, H, W)."""
    passed = forward(model, x)
    to_pooled = _norm_back(model.fc_norm, passed.pooled, model.head.weight[target])
    rows = read_rows(model, len(passed.normed))
    received = torch.zeros_like(passed.normed)
    received[rows] = to_pooled / len(rows)
    received = _norm_back(model.norm, passed.blocks[-1].out, received)
    attention: list[Tensor] = []
    normed: list[Tensor] = []
    for block in reversed(passed.blocks):
        received, to_attention, to_normed = _block_back(block, received)
        attention.insert(0, to_attention)
        normed.insert(0, to_normed)
    proj = model.patch_embed.proj
    columns = received[model.num_prefix_tokens :] @ proj.weight.flatten(1)
    image = nn.functional.fold(columns.T[None], x.shape[2:], proj.kernel_size, stride=proj.stride)
    return Gradients(image, attention, normed)


def _block_back(block: Block, received: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by a block's input, its attention, and its normed input."""
    m = block.module
    to_active = received @ m.mlp.fc2.weight
    to_normed2 = (to_active * _gelu_slope(block.hidden)) @ m.mlp.fc1.weight
    to_middle = received + _norm_back(m.norm2, block.middle, to_normed2)

    heads, length, width = block.v.shape
    to_joined = to_middle @ m.attn.proj.weight
    to_mixed = to_joined.reshape(length, heads, width).transpose(0, 1)
    to_attention = to_mixed @ block.v.transpose(1, 2)
    to_v = block.attention.transpose(1, 2) @ to_mixed
    mean = (block.attention * to_attention).sum(-1, keepdim=True)
    to_dots = block.attention * (to_attention - mean) * width**-0.5
    to_q = to_dots @ block.k
    to_k = to_dots.transpose(1, 2) @ block.q
    parts = torch.stack((to_q, to_k, to_v))
    to_qkv = parts.permute(2, 0, 1, 3).reshape(length, 3 * heads * width)
    to_normed = to_qkv @ m.attn.qkv.weight
    return to_middle + _norm_back(m.norm1, block.x, to_normed), to_attention, to_normed


def _norm_back(norm: nn.Module, x: Tensor, received: Tensor) -> Tensor:
    if isinstance(norm, nn.Identity):
        return received
    assert isinstance(norm, nn.LayerNorm)
    centred = x - x.mean(-1, keepdim=True)
    deviation = ((centred**2).mean(-1, keepdim=True) + norm.eps).sqrt()
    unit, r = centred / deviation, received * norm.weight
    kept = r - r.mean(-1, keepdim=True) - unit * (r * unit).mean(-1, keepdim=True)
    return kept / deviation


def _gelu_slope(x: Tensor) -> Tensor:
    """Of x Phi(x): Phi(x) + x phi(x), Phi (phi) the normal distribution (its density)."""
    density = (-(x**2) / 2).exp() / math.sqrt(2 * math.pi)
    return (1 + torch.erf(x / math.sqrt(2))) / 2 + x * density


def rollout(model: Any, maps: list[Tensor]) -> Tensor:
    """Eq. 6, 7: the row that is read, of the product of I + map, the last block leftmost.

    Of its entries those of the patches. Where the head reads a mean, the mean of the rows.
    """
    product = torch.eye(maps[0].shape[0], dtype=maps[0].dtype)
    for each in maps:
        product = product + each @ product
    rows = product[read_rows(model, len(product))]
    return rows.mean(0)[model.num_prefix_tokens :]
