"""Small networks with random statistics, gains of both signs and biases, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torchvision.models import resnet, vgg

CLASSES = 5


def randomise(model: nn.Module, seed: int = 0, eps: float | None = None) -> nn.Module:
    """Draw what an untrained network has constant; ``eps`` replaces that of batch norms."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, mean: float, deviation: float) -> None:
        drawn = torch.randn(tensor.shape, generator=generator)
        tensor.data = (mean + deviation * drawn).double()

    model = model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            normal(module.running_mean, 0, 0.3)
            normal(module.weight, 1, 0.7)
            normal(module.bias, 0, 0.3)
            module.running_var = module.running_var + 0.5 * module.weight.data.sin() ** 2
            module.eps = module.eps if eps is None else eps
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            normal(module.weight, 0, module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                normal(module.bias, 0, 0.2)
    return model.eval()


def make(name: str, eps: float | None = None) -> nn.Module:
    """Make one of ``vgg``, ``vgg_bn``, ``basic`` and ``bottleneck``."""
    if name.startswith("vgg"):
        return randomise(
            nn.Sequential(
                vgg.make_layers([8, "M", 16, 16, "M"], batch_norm=name == "vgg_bn"),
                nn.AdaptiveAvgPool2d(3),
                nn.Flatten(),
                nn.Linear(144, 20),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(20, CLASSES),
            ),
            eps=eps,
        )
    block = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[name]
    # One block keeps its input as it is, the others project it.
    return randomise(resnet.ResNet(block, [2, 1, 1, 1], num_classes=CLASSES), eps=eps)


def images(size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Two images, their targets, and the targets' one-hot rows."""
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    y = torch.tensor([0, 3])
    return x, y, torch.eye(CLASSES).double()[y]


def apart(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest entry."""
    return float((a - b).abs().max() / b.abs().max())


def copy_of(model: nn.Module) -> nn.Module:
    """For what changes the model it is given."""
    return copy.deepcopy(model)
