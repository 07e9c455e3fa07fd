"""A vision transformer of timm written out: values, attention, and LRP-alpha1beta0 by hand."""

import math

import torch
import torch.nn.functional as F

EPSILON = 1e-6
HEADS = 2


def tiny(seed=0, **options):
    """A ViT of two blocks on 16x24 images, 2x3 patches, in double precision."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arguments = {"img_size": (16, 24), "patch_size": 8, "num_classes": 4, "embed_dim": 8}
        model = VisionTransformer(**arguments, depth=2, num_heads=HEADS, **options)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval().double().requires_grad_(False)


def images(n=3):
    return torch.randn(n, 3, 16, 24, generator=torch.Generator().manual_seed(7)).double()


def split(h):
    return h.reshape(*h.shape[:2], HEADS, -1).transpose(1, 2)


def join(h):
    return h.transpose(1, 2).flatten(2)


def norm(x, module):
    return F.layer_norm(x, x.shape[-1:], module.weight, module.bias, module.eps)


def forward(model, x):
    """Return logits and what each block computed, attention as nodes of the graph."""
    patches = F.conv2d(x, model.patch_embed.proj.weight, model.patch_embed.proj.bias, stride=8)
    first = [model.cls_token.expand(len(x), -1, -1)]
    tokens = torch.cat([*first, patches.flatten(2).mT], 1) + model.pos_embed
    blocks = []
    for block in model.blocks:
        b = {"x": tokens.requires_grad_(), "n1": norm(tokens, block.norm1)}
        b["q"], b["k"], b["v"] = (
            split(one)
            for one in (b["n1"] @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, -1)
        )
        b["s"] = b["q"] @ b["k"].mT / math.sqrt(b["q"].shape[-1])
        b["A"] = torch.softmax(b["s"], -1)
        b["o"] = b["A"] @ b["v"]
        b["p"] = join(b["o"]) @ block.attn.proj.weight.T + block.attn.proj.bias
        b["x1"] = b["x"] + b["p"]
        b["n2"] = norm(b["x1"], block.norm2)
        b["m1"] = b["n2"] @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        b["g"] = F.gelu(b["m1"])
        b["m2"] = b["g"] @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
        tokens = b["x2"] = b["x1"] + b["m2"]
        blocks.append(b)
    read = norm(tokens, model.norm)[:, 0]
    return read @ model.head.weight.T + model.head.bias, blocks, read


def stable(h):
    return torch.where(h < 0, h - EPSILON, h + EPSILON)


def z_plus(x, layer, relevance):
    """R_i = sum_j (x_i w_ij)^+ / (sum_k (x_k w_kj)^+ + b_j^+) R_j, contribution by contribution."""
    contributions = (x[..., None, :] * layer.weight).clamp(min=0)
    total = contributions.sum(-1) + layer.bias.clamp(min=0) + EPSILON
    return ((relevance / total)[..., None] * contributions).sum(-2)


def product(a, b, relevance):
    """Half of the relevance to each operand of a @ b."""
    share = relevance / stable(a @ b) / 2
    return (share @ b.mT) * a, (a.mT @ share) * b


def attention_relevance(model, x, target):
    """R^A of each block, from 1 at the target's logit."""
    _, blocks, read = forward(model, x)
    start = F.one_hot(target, model.head.out_features).to(x)
    relevance = torch.zeros_like(blocks[-1]["x2"])
    relevance[:, 0] = z_plus(read, model.head, start)
    found = []
    for block, b in zip(reversed(model.blocks), reversed(blocks), strict=True):
        share = relevance / stable(b["x2"])
        through = z_plus(b["g"], block.mlp.fc2, share * b["m2"])
        at_x1 = share * b["x1"] + z_plus(b["n2"], block.mlp.fc1, through)
        share = at_x1 / stable(b["x1"])
        at_o = split(z_plus(join(b["o"]), block.attn.proj, share * b["p"]))
        at_a, at_v = product(b["A"], b["v"], at_o)
        found.insert(0, at_a)
        at_s = (at_a - b["A"] * at_a.sum(-1, keepdim=True)) * b["s"]
        at_q, at_k = product(b["q"], b["k"].mT, at_s)
        qkv = torch.cat([join(at_q), join(at_k.mT), join(at_v)], -1)
        relevance = share * b["x"] + z_plus(b["n1"], block.attn.qkv, qkv)
    return found


def to_image(row):
    """A row of attention, without the class token's column, as a map of the 16x24 image."""
    grid = row[:, 1:].reshape(len(row), 1, 2, 3)
    return F.interpolate(grid, size=(16, 24), mode="bilinear", align_corners=False)
