"""Images and maps as small data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from gae_metric.plotting import _style

#: Longest sides in pixels; what is smaller stays as it is.
IMAGE_SIDE, MAP_SIDE = 224, 112
#: What every picture begins with; maps go without it, as there are thousands.
PREFIX = "data:image/webp;base64,"
#: Steps from zero to the strongest value, in either direction.
_STEPS = 15
_SMALL = 64

_levels = colormaps[_style.SIGNED](np.linspace(0, 1, 2 * _STEPS + 1))
_COLORS: NDArray[np.uint8] = np.rint(_levels[:, :3] * 255).astype(np.uint8)


def map_picture(values: NDArray[Any]) -> str | None:
    """Return a map (C, H, W) as the figures show it: red positive, blue negative, white zero.

    Channels are summed, the map is shrunk to :data:`MAP_SIDE` by averages, and the 0.5 % of
    strongest values are cut off; its colours have 31 levels, which halves the page.

    Returns
    -------
    Base64 without :data:`PREFIX`, or None where a value is not finite.
    """
    summed = _style.channel_sum(values, "map")
    if not np.isfinite(summed).all():
        return None
    shrunk = _shrunk(summed)
    strength = np.abs(shrunk)
    limit = float(np.quantile(strength, 0.995)) or float(strength.max()) or 1.0
    steps = np.rint(np.clip(shrunk / limit, -1, 1) * _STEPS).astype(np.int64) + _STEPS
    return _webp(Image.fromarray(_COLORS[steps]), lossless=True)


def image_picture(pixels: NDArray[Any]) -> str:
    """Return pixels (C, H, W) in [0, 1] as base64 without :data:`PREFIX`."""
    values = np.rint(_style.as_picture(pixels) * 255).astype(np.uint8)
    image = Image.fromarray(values)
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    return _webp(image, lossless=max(image.size) <= _SMALL)


def figure_picture(
    figure: Figure, *, lossless: bool = True, dpi: int = 160
) -> tuple[str, int, int]:
    """Return a figure as a data URI, and its width and height in pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    with Image.open(buffer) as image:
        width, height = image.size
        return PREFIX + _webp(image.convert("RGB"), lossless=lossless), width, height


def _shrunk(values: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = values.shape
    longest = max(height, width)
    if longest <= MAP_SIDE:
        return values
    size = (max(1, height * MAP_SIDE // longest), max(1, width * MAP_SIDE // longest))
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(values)[None, None], size)
    return pooled[0, 0].numpy()


def _webp(image: Image.Image, *, lossless: bool) -> str:
    buffer = io.BytesIO()
    # Where nothing is lost, quality is effort: more takes twenty times as long for 5 % less.
    image.save(buffer, "webp", lossless=lossless, quality=50 if lossless else 80, method=4)
    return base64.b64encode(buffer.getvalue()).decode()
