"""Names of the modules here."""

from .files import EXTENSIONS as EXTENSIONS
from .files import list_images as list_images
from .images import ImageSet as ImageSet
from .images import decoded as decoded
from .images import load_images as load_images
from .labels import class_index as class_index
from .labels import read_labels as read_labels
from .labels import read_table as read_table
from .models import LoadedModel as LoadedModel
from .models import load_model as load_model
from .preprocessing import Crop as Crop
from .preprocessing import Preprocessing as Preprocessing
from .preprocessing import square_crop as square_crop
from .preprocessing import timm_crop as timm_crop
from .preprocessing import torchvision_crop as torchvision_crop
from .weights import load_weights as load_weights
from .weights import read_weights as read_weights

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
