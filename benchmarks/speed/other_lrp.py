"""The other rule sets of our engine, and other libraries' LRP, as tasks for the speed table."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlus
from zennit.torchvision import ResNetCanonizer, VGGCanonizer

import abslrp

RULE_SETS = ("epsilon", "alpha1beta0", "alpha2beta1", "cLRP", "RAP", "RAP-eq5", "cRAP")
CANONIZERS = {"VGG16": VGGCanonizer, "ResNet50": ResNetCanonizer}


def other_tasks(
    name: str, model: nn.Module, x: Tensor, targets: Tensor
) -> dict[str, Callable[[], object]]:
    """Every rule set, and LRP of Zennit, Captum and LXT where they apply to the model."""
    tasks: dict[str, Callable[[], object]] = {
        f"rules {rules!r}": partial(abslrp.explain, model, x, targets, rules=rules)
        for rules in RULE_SETS
    }
    own = copy.deepcopy(model)  # hooks and attributes of other libraries stay off the plain model
    if name in CANONIZERS:
        canonizer = CANONIZERS[name]
        start = torch.eye(1000, device=x.device)[targets]

        def zennit() -> object:
            composite = EpsilonPlus(canonizers=[canonizer()])
            with Gradient(own, composite) as attributor:
                return attributor(x.clone().requires_grad_(), start)

        tasks["Zennit EpsilonPlus"] = zennit
    if name == "VGG16":  # Captum refuses a module used twice and additions that are no module
        from captum.attr import LRP

        for module in own.modules():  # its hooks need what in-place ReLUs overwrite
            if isinstance(module, nn.ReLU):
                module.inplace = False
        tasks["Captum LRP"] = lambda: LRP(own).attribute(x.clone().requires_grad_(), target=targets)
    if name == "ViT-B/16" and importlib.util.find_spec("lxt") is not None:
        from benchmarks.methods import find

        attnlrp = find("AttnLRP").bind()
        tasks["AttnLRP (LXT's rules, applied here)"] = lambda: attnlrp(model, x, targets)
    return tasks
