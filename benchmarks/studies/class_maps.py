"""Networks whose logits are means of class maps, and others that predict the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.data.names import open_data
from benchmarks.methods.copies import OutOfPlace
from benchmarks.methods.layers import cam_layer
from benchmarks.models import load, shared_folder
from gae_metric.commands.quantus_evaluation import predictions
from gae_metric.errors import InputError

__all__ = ["Centred", "Study", "prepare", "with_constant", "without_last_relu"]

STEP = 8
"""Images at a time."""

Transform = Callable[[Tensor], Tensor]


class Centred(nn.Module):
    """A classifier less the mean of its logits: the softmax, and what it predicts, are the same."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits whose mean is 0."""
        logits: Tensor = self.model(x)
        return logits - logits.mean(1, keepdim=True)


@dataclass
class Study:
    """A network whose logits are means of class maps, images, and what it predicts for them."""

    name: str
    model: nn.Module
    x: NDArray[Any]
    logits: Tensor
    #: Module whose output the class maps are weighted sums of.
    layer: str
    #: (classes, channels) and (classes,).
    weight: Tensor
    bias: Tensor
    #: Of the class maps: a ReLU (SqueezeNet), or nothing.
    rectify: Transform

    @property
    def y(self) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = self.logits.argmax(1).numpy()
        return predicted

    def class_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) and class maps (B, C, h, w), not rectified."""
        kept: list[Tensor] = []
        module = self.model.get_submodule(self.layer)
        handle = module.register_forward_hook(lambda _, args, out: kept.append(out.clone()))
        with torch.no_grad():
            logits = torch.cat([self.model(x[i : i + STEP]) for i in range(0, len(x), STEP)])
        handle.remove()
        maps = torch.einsum("bkhw,ck->bchw", torch.cat(kept), self.weight)
        return logits, maps + self.bias[:, None, None]


def prepare(name: str, samples: int) -> Study:
    """Load a network and images, and see that its logits are means of class maps."""
    loaded = load(name)
    digits = name.startswith("digits:")
    data = open_data("digits" if digits else f"imagenet:{shared_folder()}/images/imagenet")
    x = data.sample(samples, 0).load(loaded.preprocessing, 0).x
    logits = torch.from_numpy(predictions(loaded.model, x))
    first = torch.from_numpy(x[:1])
    found = cam_layer(OutOfPlace(loaded.model, first), first)
    if found.kind != "map":
        raise InputError(f"model: {name!r} has no feature map with channels first")
    head = [one for one in loaded.model.modules() if isinstance(one, (nn.Linear, nn.Conv2d))][-1]
    if head.bias is None or len(head.weight) != logits.shape[1]:
        raise InputError(f"model: {name!r} does not end in a layer to its classes")
    weight = head.weight.flatten(1)
    study = Study(name, loaded.model, x, logits, found.name, weight, head.bias, _as_it_is)
    maps = study.class_maps(first)[1]
    for rectify in (torch.relu, _as_it_is):
        if torch.allclose(rectify(maps).mean((2, 3)), logits[:1], rtol=1e-3, atol=1e-4):
            return replace(study, rectify=rectify)
    raise InputError(f"model: the logits of {name!r} are no means of class maps")


def _as_it_is(maps: Tensor) -> Tensor:
    return maps


def without_last_relu(model: nn.Module) -> nn.Module:
    """Return SqueezeNet with averages of its class maps for logits, not rectified."""
    changed = copy.deepcopy(model)
    (*_, last) = [name for name, one in changed.named_modules() if isinstance(one, nn.ReLU)]
    changed.set_submodule(last, nn.Identity())
    return changed


def with_constant(study: Study) -> nn.Module:
    """Return a network whose logits all have the same addition.

    It is half of what the predicted class has above the mean, on average over the study's images.
    """
    changed = copy.deepcopy(study.model)
    head = [one for one in changed.modules() if isinstance(one, nn.Linear)][-1]
    before: list[Tensor] = []
    handle = head.register_forward_hook(lambda _, args, out: before.append(args[0].sum(1)))
    predictions(changed, study.x)
    handle.remove()
    mean = study.logits.mean()
    wanted = (study.logits.amax(1).mean() - mean) / 2 - mean
    head.weight = nn.Parameter(head.weight + wanted / torch.cat(before).mean(), requires_grad=False)
    return changed
