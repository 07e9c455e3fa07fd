"""Free photographs that scikit-image and scikit-learn ship (extra ``photographs``)."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SOURCES = {
    "cat": ("skimage.data", "chelsea.png", "Stefan van der Walt, CC0"),
    "coffee": ("skimage.data", "coffee.png", "Rachel Michetti, CC0"),
    "photographer": ("skimage.data", "camera.png", "Lav Varshney, CC0"),
    "astronaut": ("skimage.data", "astronaut.png", "NASA, public domain"),
    "rocket": ("skimage.data", "rocket.jpg", "SpaceX, public domain"),
    "temple": ("sklearn.datasets.images", "china.jpg", "danielbuechele, CC BY 2.0"),
    "flower": ("sklearn.datasets.images", "flower.jpg", "vultilion, CC BY 2.0"),
}
"""Package, file, and author and license of each."""


def load(prepare: Callable[[Image.Image], NDArray[Any]], count: int | None = None) -> NDArray[Any]:
    """Return all of them, (7, C, H, W), or the first ``count``.

    Parameters
    ----------
    prepare
        From an image to a model's input (C, H, W).
    count
        How many; None: all.

    Raises
    ------
    ImportError
        If scikit-image is not installed.
    """
    prepared = []
    for package, name, _ in list(SOURCES.values())[:count]:
        with files(package).joinpath(name).open("rb") as file, Image.open(file) as image:
            prepared.append(prepare(image.convert("RGB")))
    return np.stack(prepared)
