"""Models of the compatibility table that are no image classifiers of torchvision or timm."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Given: TypeAlias = "tuple[str, str, Callable[[], nn.Module], tuple[int, ...]]"

CLASSES = 10
TOKENS = 32
WIDTH = 128
PADDING = 8


class FromEmbeddings(nn.Module):
    """A Hugging Face sequence classifier as a function of its embeddings.

    The last tokens are padding, for the attention mask's sake.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor) -> Tensor:
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        mask[:, -PADDING:] = 0
        logits: Tensor = self.model(inputs_embeds=embeddings, attention_mask=mask).logits
        return logits


def _transformer(name: str, attention: str, **options: Any) -> Callable[[], nn.Module]:
    """Build a classifier of transformers, of images or of a sequence's embeddings."""

    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
        config._attn_implementation = attention
        what = "Image" if "image_size" in options else "Sequence"
        model: nn.Module = getattr(transformers, f"{name}For{what}Classification")(config)
        return model if what == "Image" else FromEmbeddings(model)

    return build


_OWN = {"dim": WIDTH, "n_layers": 4, "n_heads": 4, "hidden_dim": 4 * WIDTH}
_USUAL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 4 * WIDTH,
}
_TEXT: dict[str, dict[str, int]] = {"Bert": _USUAL, "DistilBert": _OWN, "Roberta": _USUAL}
_IMAGES = {"image_size": 64, "patch_size": 8, **_USUAL}


class Encoder(nn.Module):
    """A plain nn.TransformerEncoder with mean pooling."""

    def __init__(self, padded: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.padded = padded

    def forward(self, x: Tensor) -> Tensor:
        padding = PADDING if self.padded else 0
        mask = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        mask[:, x.shape[1] - padding :] = True
        encoded = self.encoder(x, src_key_padding_mask=mask if padding else None)
        logits: Tensor = self.head(encoded[:, : x.shape[1] - padding].mean(1))
        return logits


class _Block(nn.Module):
    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        conv, norm = (getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "BatchNorm"))
        self.body = nn.Sequential(
            conv(width, width, 3, padding=1), norm(width), nn.ReLU(),
            conv(width, width, 3, padding=1), norm(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        body: Tensor = self.body(x)
        return (x + body).relu()


def _convolutions(dims: int) -> nn.Module:
    kinds = ("Conv", "MaxPool", "AdaptiveAvgPool")
    conv, pool, mean = (getattr(nn, f"{kind}{dims}d") for kind in kinds)
    return nn.Sequential(
        conv(2, 32, 5, stride=2, padding=2), nn.ReLU(), pool(2), _Block(dims, 32),
        conv(32, 64, 3, stride=2, padding=1), nn.ReLU(), _Block(dims, 64), mean(1),
        nn.Flatten(), nn.Linear(64, CLASSES),
    )  # fmt: skip


def _onnx(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> Callable[[], nn.Module]:
    """Export a model to ONNX and bring it back."""

    def converted() -> nn.Module:
        import onnx2torch

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "model.onnx"
            torch.onnx.export(
                build().eval(), (torch.randn(2, *shape),), path, dynamo=False, opset_version=17,
                input_names=["x"], dynamic_axes={"x": {0: "batch"}},
            )  # fmt: skip
            model: nn.Module = onnx2torch.convert(path)
        return model

    return converted


def _resnet18() -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.resnet18(num_classes=CLASSES)
    for module in model.modules():
        # Tensors of equal values are exported as one, which onnx2torch does not find again.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.1)
    return model


def _vit_tiny() -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=4, num_classes=CLASSES, dynamic_img_size=False
    )
    for module in model.modules():
        if hasattr(module, "fused_attn"):  # the exporter writes the product and the softmax
            vars(module)["fused_attn"] = False
    return model


SEQUENCE = (TOKENS, WIDTH)
IMAGE = (3, 64, 64)

MODELS: list[Given] = [
    *(("transformers", f"{name.lower()}, {how}",
       _transformer(name, how, vocab_size=100, **sizes), SEQUENCE)
      for name, sizes in _TEXT.items() for how in ("eager", "sdpa")),
    *(("transformers", f"vit, {how}", _transformer("ViT", how, **_IMAGES), IMAGE)
      for how in ("eager", "sdpa")),
    ("torch", "nn.TransformerEncoder", lambda: Encoder(padded=False), SEQUENCE),
    ("torch", "nn.TransformerEncoder, padded", lambda: Encoder(padded=True), SEQUENCE),
    ("torch", "1-D convolutions", lambda: _convolutions(1), (2, 512)),
    ("torch", "3-D convolutions", lambda: _convolutions(3), (2, 16, 16, 16)),
    ("onnx2torch", "torchvision resnet18", _onnx(_resnet18, IMAGE), IMAGE),
    ("onnx2torch", "timm vit_tiny, 4 blocks", _onnx(_vit_tiny, IMAGE), IMAGE),
]  # fmt: skip
"""Library, name, builder and shape of one input."""
