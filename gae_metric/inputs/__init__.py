"""What commands read: images, labels, preprocessing, models and weights."""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Where each name is defined; imported when it is used, as most need torch.
_HOMES = {
    "files": ("EXTENSIONS", "list_images"),
    "images": ("ImageSet", "decoded", "load_images"),
    "labels": ("class_index", "read_labels", "read_table"),
    "models": ("LoadedModel", "load_model"),
    "preprocessing": ("Crop", "Preprocessing", "square_crop", "timm_crop", "torchvision_crop"),
    "weights": ("load_weights", "read_weights"),
}

__all__ = [*(name for names in _HOMES.values() for name in names)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
