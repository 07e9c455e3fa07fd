"""The demo's three networks: a VGG, a residual network and a vision transformer, all of timm."""

from __future__ import annotations

import torch
from timm.layers import ClassifierHead
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vgg import VGG, ConvMlp
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from gae_metric.demo.digits import CANVAS, CLASSES

def _vgg() -> nn.Module:
    model = VGG([16, 16, "M", 32, 32, "M", 64, 64], num_classes=CLASSES, mlp_ratio=1 / 64)
    model.pre_logits = ConvMlp(64, 64, 7, drop_rate=0.0)
    model.head = ClassifierHead(64, CLASSES)
    model.head_hidden_size = 64
    return model


def _resnet() -> nn.Module:
    return ResNet(BasicBlock, (1, 1, 1, 1), num_classes=CLASSES, stem_width=16, channels=(16, 32, 64, 96))


def _vit() -> nn.Module:
    import json, os
    return VisionTransformer(**(dict(img_size=CANVAS, patch_size=6, num_classes=CLASSES, embed_dim=96, depth=4, num_heads=4) | json.loads(os.environ.get("VIT","{}"))))
B={"vgg":_vgg,"resnet":_resnet,"vit":_vit}
def build(name, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return B[name]()
