"""Reading one image or mask, with what is wrong with it as a value."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gae_metric.errors import InputError
from gae_metric.inputs.images import decoded
from gae_metric.inputs.preprocessing import Preprocessing


@dataclass(frozen=True)
class Reading:
    """An image that was read, or why it could not be."""

    #: (3, H, W), None where it was only checked.
    image: NDArray[np.float32] | None = None
    #: (H, W), class of each pixel.
    mask: NDArray[np.uint8] | None = None
    problem: str | None = None


def file_digest(files: Sequence[Path]) -> str:
    """Return the SHA-256 of what files hold, one after another; InputError: one is not there."""
    try:
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    except OSError as error:
        raise InputError(f"data: cannot read {str(error.filename)!r}: {error.strerror}") from error


def read_image(file: Path, prepare: Preprocessing | None) -> Reading:
    """Decode an image, and prepare it for a model if its preprocessing is given."""
    try:
        image = decoded(file)
        return Reading(None if prepare is None else prepare(image))
    except (OSError, ValueError) as error:
        return Reading(problem=str(error) or type(error).__name__)


def read_mask(file: Path, prepare: Preprocessing | None, reading: Reading) -> Reading:
    """Add the mask to what was read, resized and cropped as the image was.

    Each class is resized by itself, with the image's interpolation, and a pixel is of the class
    that is highest there: class indices are never mixed.
    """
    try:
        values = np.array(decoded(file), dtype=np.uint8)
    except OSError as error:
        return Reading(problem=f"mask: {error}")
    if values.ndim != 2:
        return Reading(problem="mask: expected one class index a pixel, got a colour image")
    if prepare is None:
        return reading
    crop = prepare.crop_to(prepare.size)
    present = np.unique(values)
    shares = []
    for index in present:
        part = Image.fromarray(((values == index) * 255).astype(np.uint8))
        shares.append(crop(part.convert("RGB")).float().numpy()[0])
    mask: NDArray[np.uint8] = present[np.argmax(np.stack(shares), axis=0)]
    return replace(reading, mask=mask)
