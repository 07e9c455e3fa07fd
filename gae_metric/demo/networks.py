"""The demo's three networks: a VGG, a residual network and a vision transformer, all of timm.

Their weights ship with the package; ``scripts/train_digits.py`` of
the source trains them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.layers import ClassifierHead
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vgg import VGG, ConvMlp
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from gae_metric.demo.digits import CANVAS, CLASSES

if TYPE_CHECKING:
    from importlib.abc import Traversable


def _vgg() -> nn.Module:
    model: nn.Module = VGG(
        [16, 16, "M", 32, 32, "M", 64, 64], num_classes=CLASSES, mlp_ratio=1 / 64
    )
    # timm's own 4096 units would make up nearly all of so small a network.
    model.pre_logits = ConvMlp(64, 64, 7, drop_rate=0.0)
    model.head = ClassifierHead(64, CLASSES)
    return model


def _resnet() -> nn.Module:
    model: nn.Module = ResNet(
        BasicBlock, (1, 1, 1, 1), num_classes=CLASSES, stem_width=16, channels=(16, 32, 64, 96)
    )
    return model


def _vit() -> nn.Module:
    model: nn.Module = VisionTransformer(
        img_size=CANVAS, patch_size=8, num_classes=CLASSES, embed_dim=64, depth=4, num_heads=4
    )
    for module in model.modules():
        if isinstance(module, nn.Linear):  # timm's small start takes a small network long to leave
            nn.init.xavier_uniform_(module.weight)
    return model


_BUILDERS: dict[str, Callable[[], nn.Module]] = {"vgg": _vgg, "resnet": _resnet, "vit": _vit}

NAMES = tuple(_BUILDERS)
"""Names of the networks."""


@dataclass(frozen=True)
class NetworkInfo:
    """What the package says of one of its networks.

    Attributes
    ----------
    name, family
        ``"vgg"``, ``"resnet"`` or ``"vit"``; ``"cnn"`` or ``"vit"``.
    accuracy
        Share of the held-out digits that the shipped weights classify correctly.
    recall
        Share of the four classes of a mosaic that are among its four largest logits, on
        mosaics of four held-out digits of different classes.
    cam_layer
        Module whose output GradCAM weighs; None where it does not apply.
    """

    name: str
    family: str
    accuracy: float
    recall: float
    cam_layer: str | None


_CAM_LAYERS: dict[str, str | None] = {"vgg": "features.12", "resnet": "layer4", "vit": None}


def build(name: str, seed: int = 0) -> nn.Module:
    """Build a network with seeded random weights, in training mode.

    Parameters
    ----------
    name
        One of :data:`NAMES`.
    seed
        Seed of the weights; the global random state is left as it is.

    Returns
    -------
    torch.nn.Module
        From canvases (B, 3, 48, 48) to logits (B, 10).

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> sum(p.numel() for p in build("vit").parameters()) < 300_000
    True
    """
    _weights(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _BUILDERS[name]()


def load(name: str) -> nn.Module:
    """Load a trained network, in evaluation mode, parameters frozen.

    Parameters
    ----------
    name
        One of :data:`NAMES`.

    Returns
    -------
    torch.nn.Module
        Model from canvases (B, 3, 48, 48) of :func:`gae_metric.demo.digits.load` to logits (B, 10).

    Raises
    ------
    ValueError
        If there is no such network.
    RuntimeError
        If the packaged weights do not fit it, because files of the package are missing or changed.

    Examples
    --------
    >>> from gae_metric.demo import digits
    >>> x, y = digits.load("test", n=10)
    >>> load("vgg")(torch.from_numpy(x)).shape
    torch.Size([10, 10])
    """
    model = build(name)
    with as_file(_weights(name)) as path:
        state = load_file(path)
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    missing = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    if missing != set(state):
        raise RuntimeError(f"{name}: the packaged weights do not fit the network")
    return model.eval().requires_grad_(False)


def info(name: str) -> NetworkInfo:
    """Return what is known of a trained network.

    Parameters
    ----------
    name
        One of :data:`NAMES`.

    Returns
    -------
    NetworkInfo
        As measured when the weights were made; no model is evaluated.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> info("vit").family
    'vit'
    """
    with as_file(_weights(name)) as path, safe_open(path, "pt") as file:
        measured = json.loads(file.metadata()["measured"])
    family = "vit" if name == "vit" else "cnn"
    return NetworkInfo(name, family, measured["accuracy"], measured["recall"], _CAM_LAYERS[name])


def _weights(name: str) -> Traversable:
    if name not in _BUILDERS:
        raise ValueError(f"name: expected one of {', '.join(NAMES)}, got {name!r}")
    return files("gae_metric.demo").joinpath("weights").joinpath(f"{name}.safetensors")
