"""The ablations of table 10 on models of timm, torchvision and the demo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import abslrp
from gae_metric.demo import digits, networks
from tests.abslrp.single import draw


def timm_vit() -> nn.Module:
    return timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=7,
        class_token=False, global_pool="avg",
    )  # fmt: skip


def timm_vit_eager() -> nn.Module:
    net = timm_vit()
    for block in net.blocks:
        block.attn.fused_attn = False
    return net


def torchvision_vit() -> nn.Module:
    net = torchvision.models.VisionTransformer(32, 8, 2, 3, 48, 96, num_classes=7)
    nn.init.normal_(net.heads.head.weight, std=0.1)
    return net


def torchvision_swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [3, 6], [4, 4], num_classes=7)


@pytest.mark.parametrize("options", [{"attention": "values"}, {"attention": "queries_keys"},
                                     {"relevance_at": "patches"}])  # fmt: skip
@pytest.mark.parametrize("build", [timm_vit, timm_vit_eager, torchvision_vit, torchvision_swin])
def test_models(build: Any, options: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval()
    x = torch.from_numpy(draw(2, 3, 32, 32)).float()
    R = abslrp.relevance(model, x, torch.eye(7)[[2, 5]], **options)
    whole = abslrp.relevance(model, x, torch.eye(7)[[2, 5]])
    assert (R - whole).abs().max() > 1e-4 * whole.max()
    assert R.min() >= 0
    if "vit" in build.__name__ and "torchvision" not in build.__name__:  # no class token, no leak
        torch.testing.assert_close(R.flatten(1).sum(1), torch.ones(2), rtol=1e-4, atol=1e-4)
    if "relevance_at" in options:
        size = 4 if "swin" in build.__name__ else 8
        squares = R.unfold(2, size, size).unfold(3, size, size)
        assert (squares == squares[:, :1, :, :, :1, :1]).all()


def test_eager_and_fused_attention_agree() -> None:
    x = torch.from_numpy(draw(2, 3, 32, 32)).float()
    for path in ("values", "queries_keys"):
        maps = []
        for build in (timm_vit, timm_vit_eager):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = build().eval()
            maps.append(abslrp.explain(model, x, [0, 1], attention=path, contrast=None))
        torch.testing.assert_close(maps[0], maps[1], rtol=1e-3, atol=1e-3 * float(maps[0].max()))


@pytest.mark.parametrize("option", [{"attention": "values"}, {"attention": "queries_keys"},
                                    {"relevance_at": "patches"}])  # fmt: skip
def test_digits(option: Any) -> None:
    x, y = digits.load("test", n=4)
    model = networks.load("vit")
    maps = abslrp.explain(model, x, y, **option)
    assert np.isfinite(maps).all()
    assert maps.shape == x.shape
    usual = abslrp.explain(model, x, y)
    corners = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps, usual, strict=True)]
    assert (np.array(corners) > 0).all()
    assert (np.array(corners) < 0.999).all()
