"""What commands read: images, labels, preprocessing, models and weights.

Names are imported when they are used, as most need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gae_metric.inputs.files import EXTENSIONS, list_images
    from gae_metric.inputs.images import ImageSet, decoded, load_images
    from gae_metric.inputs.labels import class_index, read_labels, read_table
    from gae_metric.inputs.models import LoadedModel, load_model
    from gae_metric.inputs.preprocessing import (
        Crop,
        Preprocessing,
        square_crop,
        timm_crop,
        torchvision_crop,
    )
    from gae_metric.inputs.weights import load_weights, read_weights

__all__ = [
    "EXTENSIONS",
    "Crop",
    "ImageSet",
    "LoadedModel",
    "Preprocessing",
    "class_index",
    "decoded",
    "list_images",
    "load_images",
    "load_model",
    "load_weights",
    "read_labels",
    "read_table",
    "read_weights",
    "square_crop",
    "timm_crop",
    "torchvision_crop",
]

_HOMES = ("files", "images", "labels", "models", "preprocessing", "weights")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
