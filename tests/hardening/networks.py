"""Small networks of the three kinds, with random weights: convolutions, shortcuts, attention."""

from __future__ import annotations

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.compatibility.processes import case_of
from tests.gae_metric.nets import conv_net, images

SIZE = 16


def network(name: str) -> nn.Module:
    """Return a model of 5 classes for images (B, 3, 16, 16), in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if name == "vgg":
            return conv_net(dtype=torch.float32)
        if name == "resnet":
            block = timm.models.resnet.BasicBlock
            model: nn.Module = timm.models.resnet.ResNet(
                block, [1, 1, 1, 1], num_classes=5, stem_width=8, channels=(4, 8, 16, 16)
            )
        else:
            model = timm.models.vision_transformer.VisionTransformer(
                img_size=SIZE, patch_size=4, embed_dim=24, depth=2, num_heads=2, num_classes=5
            )
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.2)
        nn.init.normal_(model.get_classifier().bias, mean=2)
    return model.eval()


NAMES = ("vgg", "resnet", "vit")

DEEP = (
    "torchvision/classification/resnet152",
    "timm/vit_large_patch16_224",
    "torchvision/classification/swin_b",
)


def deep(name: str, n: int = 1) -> tuple[nn.Module, Tensor]:
    """Return one of the deepest models of the compatibility table, and small images for it."""
    case = case_of(name)
    model, x = case.model, case.inputs[:n]
    for module in model.modules():
        # Keeps the logits of random weights within float16's range.
        if isinstance(module, torchvision.models.resnet.Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.2)
    return model, x


def inputs(n: int = 5) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, 16, 16), and a class of each."""
    x = torch.as_tensor(images(n, (3, SIZE, SIZE), np.float32, seed=2))
    return x, torch.arange(n) % 5
