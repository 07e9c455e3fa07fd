"""The models of the compatibility table: what each is built from, and what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.models import _registry
from torch import Tensor, nn
from torchvision import models

CLASSES, BATCH = 10, 2


def logits(found: Any) -> Any:
    """Return the logits in what a model returns."""
    return getattr(found, "logits", found)


@dataclass(frozen=True)
class Case:
    """A model in evaluation mode with what it is called with."""

    model: nn.Module
    inputs: Tensor
    """(2, ...) standard normal."""
    output: Callable[[Any], Tensor] = logits
    """From what the model returns to (2, N) logits."""
    kwargs: Mapping[str, Tensor] = field(default_factory=dict)
    """More that it is called with, such as token ids."""

    @classmethod
    def of(cls, build: Callable[[], tuple[nn.Module, Any]], **more: Any) -> Case:
        """Build a model and draw its inputs, of a shape or with other ones, seeded.

        Weights that libraries start at zero (last norms of residual blocks, heads), where no
        relevance could pass, are drawn too. The global generator is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, given = build()
            for name, parameter in model.eval().requires_grad_(False).named_parameters():
                if "bias" not in name and not parameter.any():
                    nn.init.normal_(parameter, std=0.1)
            if isinstance(given, tuple):
                return cls(model, torch.randn(BATCH, *given), **more)
            return cls(model, given.pop("inputs"), kwargs=given, **more)

    def called(self, rows: slice = slice(None), inputs: Tensor | None = None) -> Tensor:
        """Logits of some samples, as the model gives them."""
        given = self.inputs[rows].clone() if inputs is None else inputs  # some write to it
        return self.output(self.model(given, **self.cut(rows)))

    def cut(self, rows: slice) -> dict[str, Tensor]:
        """Return what else the model is called with, of some samples."""
        return {name: value[rows] for name, value in self.kwargs.items()}


class Detector(nn.Module):
    """A detector of torchvision, which takes images as a list, of a batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([found["scores"][:5] for found in self.model(list(images))])


def of_torchvision() -> list[str]:
    """Return every classifier, segmenter, detector and network of video: ``kind/name``."""
    rooms = {"classification": models} | {name: vars(models)[name] for name in _KINDS}
    return [f"{kind}/{name}" for kind, room in rooms.items() for name in models.list_models(room)]


_SIZE = {"min_size": 96, "max_size": 96}
_RCNN = {"box_score_thresh": 0, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5, **_SIZE}
_KINDS = ("segmentation", "detection", "video")
# What a model is built with, and the shape of its inputs, by the first pattern that it has.
_TORCHVISION: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("detection/ssd", {"weights_backbone": None, "score_thresh": 0}, (3, 96, 96)),
    # As published they make 800 pixels of any image, 1,000 proposals and 100 detections; scores of
    # a random detector are low.
    ("detection/.*rcnn", {"weights_backbone": None, **_RCNN}, (3, 96, 96)),
    ("detection", {"weights_backbone": None, "score_thresh": 0} | _SIZE, (3, 96, 96)),
    ("segmentation", {"weights_backbone": None}, (3, 96, 96)),
    ("video/(mvit|s3d)", {}, (3, 16, 224, 224)), ("video", {}, (3, 8, 64, 64)),
    ("/vit_._32", {"image_size": 128}, (3, 128, 128)),
    ("/vit", {"image_size": 112}, (3, 112, 112)), ("/maxvit", {}, (3, 224, 224)),
    ("/(googlenet|inception)", {"init_weights": False}, (3, 96, 96)), ("", {}, (3, 96, 96)),
]  # fmt: skip


def from_torchvision(name: str) -> Case:
    """Return a model of torchvision: ``kind/name``."""
    options, shape = next(row[1:] for row in _TORCHVISION if re.search(row[0], name))

    def build() -> tuple[nn.Module, Any]:
        model = models.get_model(name.split("/")[1], num_classes=CLASSES, **options)
        return (Detector(model) if name.startswith("detection") else model), shape

    dense = name.startswith("segmentation")
    return Case.of(build, output=(lambda one: one["out"].mean((2, 3))) if dense else logits)


_DEEP = ("aimv2", "deepseek", "gemma4", "vit_pe", "samvit", "beit", "eva_l", "naflex", "qwen3")
_SMALL = (
    *("test", "zepto", "atto", "femto", "pico", "nano", "xxs", "xx_small", "_xs"),
    *("tiny", "_ti", "_t", "mini", "small", "_s", "s0", "m0", "b0"),
)


def of_timm() -> list[str]:
    """Return one model of each family: what is in one file and begins with the same letters."""

    def size(name: str) -> tuple[int, int, str]:
        rank = next((i for i, word in enumerate(_SMALL) if word in name), len(_SMALL))
        return rank, int((re.findall(r"\d+", name) or [0])[0]), name

    families: dict[tuple[str, str], list[str]] = {}
    for name in timm.list_models():
        family = _registry._model_to_module[name], re.split("[^a-z]", name)[0]
        families.setdefault(family, []).append(name)
    return [min(names, key=size) for names in families.values()]


def from_timm(name: str) -> Case:
    """Return a model of timm at its own size, if it has only one, or at 128 pixels."""

    def build() -> tuple[nn.Module, Any]:
        options = {"depth": 2} if name.startswith(_DEEP) else {}
        model: Any = timm.create_model(name, num_classes=CLASSES, **options)
        channels, side, _ = model.pretrained_cfg["input_size"]
        own = re.search("window|nest|bat_|deepseek", name)
        side = side if own or model.pretrained_cfg.get("fixed_input_size") else min(side, 128)
        return model, (channels, side, side)

    return Case.of(build)
