"""Unchanged models of torchvision and timm, random weights, small images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

import abslrp
from tests.abslrp.single import draw

tv = torchvision.models

MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "torchvision resnet18": (lambda: tv.resnet18(num_classes=10), 48),
    "torchvision vgg11": (lambda: tv.vgg11(num_classes=10, init_weights=False), 32),
    "torchvision squeezenet1_1": (lambda: tv.squeezenet1_1(num_classes=10), 64),
    "torchvision mobilenet_v2": (lambda: tv.mobilenet_v2(num_classes=10), 64),
    "torchvision efficientnet_b0": (lambda: tv.efficientnet_b0(num_classes=10), 64),
    "torchvision densenet121": (lambda: tv.densenet121(num_classes=10), 64),
    "torchvision swin_t": (
        lambda: tv.SwinTransformer([4, 4], 24, [2, 2], [3, 6], [4, 4], num_classes=10), 64
    ),
    "torchvision vit": (
        lambda: tv.VisionTransformer(32, 8, 2, 3, 48, 96, num_classes=10), 32
    ),
    "timm vit_tiny": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, num_classes=10), 64
    ),
    "timm deit3": (
        lambda: timm.create_model("deit3_small_patch16_224", img_size=64, depth=3, num_classes=10),
        64,
    ),
    "timm convnext_atto": (lambda: timm.create_model("convnext_atto", num_classes=10), 64),
    "timm mobilenetv3": (
        lambda: timm.create_model("mobilenetv3_small_050", num_classes=10), 64
    ),
    "timm swin": (
        lambda: timm.models.swin_transformer.SwinTransformer(
            img_size=64, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(3, 6),
            num_classes=10,
        ),
        64,
    ),
    "timm seresnet": (lambda: timm.create_model("seresnet18", num_classes=10), 64),
}  # fmt: skip


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    build, size = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval()
        for module in model.modules():
            # Heads and last norms that start at zero would leave nothing to explain.
            weight = getattr(module, "weight", None)
            if isinstance(module, (nn.Linear, nn.BatchNorm2d)) and weight.abs().max() == 0:
                nn.init.normal_(weight, std=0.1)
    return model, torch.from_numpy(draw(3, 3, size, size)).float()


@pytest.mark.parametrize("name", MODELS)
def test_model(name: str) -> None:
    model, x = made(name)
    targets = torch.tensor([1, 4, 9])
    maps = abslrp.explain(model, x, targets)
    assert maps.shape == x.shape
    assert torch.isfinite(maps).all()
    assert (maps.flatten(1).abs().amax(1) > 0).all()
    # Relevance of a sample does not depend on the others. (Of the map, the difference of two
    # nearly equal streams in an untrained network, hardly a digit would be left to compare.)
    start = torch.eye(10)[targets]
    R = abslrp.relevance(model, x, start)
    alone = abslrp.relevance(model, x[1:2], start[1:2])
    assert (alone[0] - R[1]).abs().max() < 1e-3 * R[1].max()
    # No relevance is made, and none is negative, on the way from one class.
    assert R.min() >= 0
    sums = R.flatten(1).sum(1)
    assert (sums > 0).all()
    assert (sums <= 1 + 1e-4).all()


def test_a_model_in_parallel_parts_is_explained() -> None:
    """Weights and activations are DTensors in it."""
    distributed = pytest.importorskip("torch.distributed")
    parallel = pytest.importorskip("torch.distributed.tensor.parallel")
    if not distributed.is_available() or distributed.is_initialized():
        pytest.skip("torch is without torch.distributed, or it is in use")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()
    x = torch.rand(4, 6, dtype=torch.float64)
    expected = abslrp.explain(model, x, [0, 1, 2, 0])
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    try:
        mesh = distributed.init_device_mesh("cpu", (1,))
        plan = {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()}
        found = abslrp.explain(parallel.parallelize_module(model, mesh, plan), x, [0, 1, 2, 0])
    finally:
        distributed.destroy_process_group()
    torch.testing.assert_close(found, expected)
