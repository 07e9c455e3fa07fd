"""What commands read: images, labels, preprocessing, models and weights.

Names are imported when they are used, as most need torch.
"""

from typing import TYPE_CHECKING

from gae_metric._lazy import lazy

if TYPE_CHECKING:
    from gae_metric.inputs.files import EXTENSIONS as EXTENSIONS
    from gae_metric.inputs.files import list_images as list_images
    from gae_metric.inputs.images import ImageSet as ImageSet
    from gae_metric.inputs.images import decoded as decoded
    from gae_metric.inputs.images import load_images as load_images
    from gae_metric.inputs.labels import class_index as class_index
    from gae_metric.inputs.labels import read_labels as read_labels
    from gae_metric.inputs.labels import read_table as read_table
    from gae_metric.inputs.models import LoadedModel as LoadedModel
    from gae_metric.inputs.models import load_model as load_model
    from gae_metric.inputs.preprocessing import Crop as Crop
    from gae_metric.inputs.preprocessing import Preprocessing as Preprocessing
    from gae_metric.inputs.preprocessing import square_crop as square_crop
    from gae_metric.inputs.preprocessing import timm_crop as timm_crop
    from gae_metric.inputs.preprocessing import torchvision_crop as torchvision_crop
    from gae_metric.inputs.weights import load_weights as load_weights
    from gae_metric.inputs.weights import read_weights as read_weights

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "files": "EXTENSIONS list_images",
        "images": "ImageSet decoded load_images",
        "labels": "class_index read_labels read_table",
        "models": "LoadedModel load_model",
        "preprocessing": "Crop Preprocessing square_crop timm_crop torchvision_crop",
        "weights": "load_weights read_weights",
    },
)
