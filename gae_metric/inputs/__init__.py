"""What commands read: images, labels, preprocessing, models and weights."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gae_metric.inputs.images import EXTENSIONS, ImageSet, decoded, list_images, load_images
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

#: Where each name is defined.
_HOMES = {
    "EXTENSIONS": "gae_metric.inputs.images",
    "Crop": "gae_metric.inputs.preprocessing",
    "ImageSet": "gae_metric.inputs.images",
    "LoadedModel": "gae_metric.inputs.models",
    "Preprocessing": "gae_metric.inputs.preprocessing",
    "class_index": "gae_metric.inputs.labels",
    "decoded": "gae_metric.inputs.images",
    "list_images": "gae_metric.inputs.images",
    "load_images": "gae_metric.inputs.images",
    "load_model": "gae_metric.inputs.models",
    "load_weights": "gae_metric.inputs.weights",
    "read_labels": "gae_metric.inputs.labels",
    "read_table": "gae_metric.inputs.labels",
    "read_weights": "gae_metric.inputs.weights",
    "square_crop": "gae_metric.inputs.preprocessing",
    "timm_crop": "gae_metric.inputs.preprocessing",
    "torchvision_crop": "gae_metric.inputs.preprocessing",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
