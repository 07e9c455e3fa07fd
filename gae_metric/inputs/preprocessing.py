"""From a photograph to a model's input, and back to something to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT
from torch import Tensor
from torchvision.transforms import functional as TF

from gae_metric.errors import LARGEST_SIDE, check_channels, check_integer, check_range

Crop: TypeAlias = Callable[[Image.Image], Tensor]
"""From an RGB image to pixels (3, H, W), either uint8 or floating point in [0, 1]."""


@dataclass(frozen=True)
class Preprocessing:
    """A model's own preprocessing in two steps: resize and crop, then normalise.

    Attributes
    ----------
    crop_to
        Makes, for a side length in pixels, the function that resizes and crops.
    size
        Side of the model's square input in pixels.
    mean, std
        Per channel, subtracted and divided by after scaling to ``range``.
    range
        What black and white become before ``mean`` and ``std`` are applied.

    Examples
    --------
    >>> gray = Image.new("RGB", (60, 48), (128, 128, 128))
    >>> half = Preprocessing(square_crop, 32, mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> x = half(gray)
    >>> x.shape, round(float(x.mean()), 4)
    ((3, 32, 32), 0.0039)
    >>> round(float(half.to_display(x).mean()) * 255)
    128
    """

    crop_to: Callable[[int], Crop]
    size: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the model's input (3, H, W) for an image of any mode; see :func:`eight_bit`."""
        pixels = self.crop_to(self.size)(eight_bit(image).convert("RGB"))
        values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        low, high = self.range
        scaled = values.numpy() * (high - low) + low
        mean, std = self._columns()
        return ((scaled - mean) / std).astype(np.float32)

    def to_display(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Undo the normalisation, as for a figure.

        Parameters
        ----------
        x
            Inputs (..., 3, H, W) of the model.

        Returns
        -------
        ndarray
            float32 pixels of the same shape, in [0, 1].
        """
        low, high = self.range
        mean, std = self._columns()
        pixels: NDArray[np.float32] = ((x * std + mean - low) / (high - low)).astype(np.float32)
        return pixels.clip(0, 1)

    def changed(
        self,
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        range: Sequence[float] | None = None,
    ) -> Preprocessing:
        """Return a copy with some of it changed.

        Parameters
        ----------
        size, mean, std, range
            As the attributes; None: unchanged. A ``range`` without ``mean`` and ``std`` means only
            that scaling: mean 0, deviation 1.

        Returns
        -------
        Preprocessing
            The copy.

        Raises
        ------
        InputError
            If a value has another length, or a sign or size that is not possible.

        Examples
        --------
        >>> Preprocessing(square_crop, 32).changed(range=(-1, 1)).range
        (-1.0, 1.0)
        """
        new = self
        if range is not None:
            new = replace(new, range=check_range(range), mean=(0.0,) * 3, std=(1.0,) * 3)
        if size is not None:
            new = replace(new, size=check_integer("size", size, 1, LARGEST_SIDE))
        given = {"mean": mean, "std": std}
        more: dict[str, Any] = {k: check_channels(k, v) for k, v in given.items() if v is not None}
        return replace(new, **more)

    def _columns(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and deviation, to be broadcast over positions."""
        mean, std = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (self.mean, self.std))
        return mean, std


def eight_bit(image: Image.Image, tags: Mapping[int, Any] | None = None) -> Image.Image:
    """Return a gray image of more than 8 bits with 8, scaled by the range of its type.

    Pillow clips such values at 255. Other images are returned as they are.

    Parameters
    ----------
    image
        16 or 32 bits, signed or not, 12 bits (TIFF), or floats in [0, 1].
    tags
        TIFF tags, which say the bits, the sign and whether 0 is white; by default the image's own.

    Raises
    ------
    ValueError
        If a float is outside [0, 1], as its scale is not known, or if values of 32 bits
        that differ lie in less than one of 256 steps of the range, which would become one gray.

    Examples
    --------
    >>> image = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    >>> np.asarray(eight_bit(image)).tolist()
    [[0, 128, 255]]
    """
    if image.mode[0] not in "IF":
        return image
    tags = getattr(image, "tag_v2", {}) if tags is None else tags
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    told = f"pixels from {low:g} to {high:g}, of which it is not known what is black and white; "
    if image.mode == "F":
        if not (low >= 0 and high <= 1):
            raise ValueError(f"float {told}expected [0, 1]")
    else:
        bits = tags.get(BITSPERSAMPLE, (16,))[0]
        signed = tags.get(SAMPLEFORMAT, (1,))[0] == 2
        # Pillow reads 32 bits with a sign, whether they have one or not.
        values = values + 2 ** (bits - 1) if signed else values % 2**bits
        values /= 2**bits - 1
        if bits > 16 and 0 < np.ptp(values) < 1 / 255:
            raise ValueError(f"{told}they are less than a 255th of {bits} bits apart")
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # white
        values = 1 - values
    return Image.fromarray((values * 255).round().astype(np.uint8))


def timm_crop(config: dict[str, Any], size: int) -> Crop:
    """Return timm's evaluation transform for a data configuration, without its normalisation.

    Parameters
    ----------
    config
        As from ``timm.data.resolve_model_data_config``.
    size
        Side of the model's input in pixels.

    Returns
    -------
    callable
        From an RGB image to pixels (3, size, size), floating point in [0, 1].
    """
    from timm.data import create_transform

    sized = {**config, "input_size": (config["input_size"][0], size, size)}
    transform: Crop = create_transform(**sized, is_training=False, normalize=False)
    return transform


def torchvision_crop(preset: Any, size: int) -> Crop:
    """Return the resizing and cropping of the transform that torchvision's weights carry.

    Parameters
    ----------
    preset
        ``weights.transforms()`` of torchvision.
    size
        Side of the model's input in pixels.

    Returns
    -------
    callable
        From an RGB image to uint8 pixels (3, size, size).
    """
    crop, resize = preset.crop_size[0], preset.resize_size[0]

    def transform(image: Image.Image) -> Tensor:
        side = round(resize * size / crop)
        resized = TF.resize(image, [side], preset.interpolation, antialias=preset.antialias)
        pixels: Tensor = TF.pil_to_tensor(TF.center_crop(resized, [size, size]))
        return pixels

    return transform


def square_crop(size: int) -> Crop:
    """Return the function that takes the largest square in the middle and resizes it.

    Parameters
    ----------
    size
        Side of the result in pixels.

    Returns
    -------
    callable
        From an RGB image to uint8 pixels (3, size, size).

    Examples
    --------
    >>> square_crop(32)(Image.new("RGB", (60, 48))).shape
    torch.Size([3, 32, 32])
    """

    def transform(image: Image.Image) -> Tensor:
        square = TF.center_crop(image, [min(image.size)])
        pixels: Tensor = TF.pil_to_tensor(square.resize((size, size), Image.Resampling.BICUBIC))
        return pixels

    return transform
