"""The authors' published code, run from a checkout that the user names; none of it is kept here.

Public repository ``davor10105/relative-absolute-magnitude-propagation``.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

import abslrp
from benchmarks.speed import measure
from gae_metric import GAE, clear_cache

MODELS = {
    "VGG16": ("vgg16", "VGGAbsLRPRule"),
    "ResNet50": ("resnet50", "ResNetAbsLRPRule"),
    "ViT-B/16": ("vit_base_patch16_224", "VisionTransformerAbsLRPRule"),
}


class CheckoutError(ValueError):
    """A folder is not the checkout that it should be."""


def load(checkout: Path) -> dict[str, Any]:
    """Import the authors' package from a checkout.

    Raises
    ------
    CheckoutError
        If the folder does not hold it, or the package needs another that is not installed.
    """
    if not (checkout / "abslrp_gae" / "gae" / "gae.py").is_file():
        raise CheckoutError(f"expected a checkout with a package abslrp_gae, got {checkout}")
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    try:
        return {
            "rules": importlib.import_module("abslrp_gae.abslrp.rules.models"),
            "methods": importlib.import_module("abslrp_gae.abslrp.relevancy_methods"),
            "gae": importlib.import_module("abslrp_gae.gae.gae"),
        }
    except ImportError as error:
        raise CheckoutError(f"the authors' package cannot be imported: {error}") from error


def compare(
    checkout: Path, name: str, repeats: int, device: str, whole_metric: bool
) -> list[dict[str, Any]]:
    """Time absLRP, and GAE of four images, by both implementations on a timm model.

    Four images make one positive in the authors' code and four in ours.
    """
    theirs = load(checkout)
    torch.manual_seed(0)
    architecture, rule = MODELS[name]
    plain = timm.create_model(architecture, pretrained=False).to(device).eval()
    bent = copy.deepcopy(plain)
    getattr(theirs["rules"], rule)().apply(bent)
    method = theirs["methods"].AbsLRPRelevancyMethod(bent, device)
    frozen = copy.deepcopy(plain).requires_grad_(False)
    x = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        y = frozen(x).argmax(1)

    def gradient() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(frozen(leaf)[torch.arange(4), y].sum(), leaf)[0]

    def ours() -> object:
        clear_cache()
        metric = GAE(disable_warnings=True)
        arrays = x.cpu().numpy(), y.cpu().numpy()
        return metric(frozen, *arrays, None, explain_func=abslrp.explain, device=device)

    def authors() -> object:
        data = [(image.cpu(), int(label)) for image, label in zip(x, y, strict=True)]
        metric = theirs["gae"].GlobalEvaluationMetric(device=device)
        return metric.run(
            relevancy_methods={"abslrp": method}, model=plain, dataset=data, batch_size=4
        )

    tasks: dict[str, Callable[[], object]] = {
        "gradient": gradient,
        "absLRP": lambda: abslrp.explain(frozen, x, y),
        "absLRP (authors)": lambda: method.relevancy(x.clone(), y),
    }
    times = measure.interleaved(tasks, repeats, device)
    positives = dict.fromkeys(times, 4)
    if whole_metric:
        times["GAE"] = measure.seconds_once(ours, device)
        times["GAE (authors)"] = measure.seconds_once(authors, device)
        positives |= {"GAE": 4, "GAE (authors)": 1}
    one = times["gradient"] / 4
    return [
        {
            "model": name,
            "what": label,
            "seconds per positive": taken / positives[label],
            "gradients": taken / positives[label] / one,
        }
        for label, taken in times.items()
    ]
