"""What commands read: images, labels, preprocessing, models and weights."""

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
