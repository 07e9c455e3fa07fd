"""Images and maps of the samples to browse, made anew: a run keeps scores, and no maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from benchmarks.data.labels import VOC_CLASSES
from benchmarks.figures.plan import LackingError
from benchmarks.figures.subject import Subject
from benchmarks.runner.collected import Collected
from gae_metric.plotting import _style
from gae_metric.study.logits import predictions

Progress: TypeAlias = Callable[[str], None]
"""Gets what is done next."""

#: Longest sides in pixels; what is smaller stays as it is.
IMAGE_SIDE, MAP_SIDE = 224, 112
#: What every picture begins with; maps go without it, as there are thousands.
PREFIX = "data:image/webp;base64,"
#: Steps from zero to the strongest value, in either direction.
_STEPS = 15
#: Pixels of a side of images that are shown pixel by pixel.
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
    longest = max(MAP_SIDE, *summed.shape)
    height, width = (max(1, side * MAP_SIDE // longest) for side in summed.shape)
    image = Image.fromarray(summed.astype(np.float32))
    shrunk = np.asarray(image.resize((width, height), Image.Resampling.BOX))
    strength = np.abs(shrunk)
    limit = float(np.quantile(strength, 0.995)) or float(strength.max()) or 1.0
    steps = np.rint(np.clip(shrunk / limit, -1, 1) * _STEPS).astype(np.int64) + _STEPS
    return _webp(Image.fromarray(_COLORS[steps]), lossless=True)


def image_picture(pixels: NDArray[Any]) -> str:
    """Return pixels (C, H, W) in [0, 1] as base64 without :data:`PREFIX`."""
    image = Image.fromarray(np.rint(_style.as_picture(pixels) * 255).astype(np.uint8))
    image.thumbnail((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    return _webp(image, lossless=max(image.size) <= _SMALL)


def figure_picture(figure: Figure, *, lossless: bool) -> tuple[str, int, int]:
    """Return a figure as a data URI, and its width and height in pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    with Image.open(buffer) as image:
        width, height = image.size
        return PREFIX + _webp(image.convert("RGB"), lossless=lossless), width, height


def _webp(image: Image.Image, *, lossless: bool) -> str:
    buffer = io.BytesIO()
    # Where nothing is lost, quality is effort: more takes twenty times as long for 5 % less.
    image.save(buffer, "webp", lossless=lossless, quality=50 if lossless else 80, method=4)
    return base64.b64encode(buffer.getvalue()).decode()


_FACTS = ("sample", "file", "label", "predicted", "target", "logit", "probability")
#: Significant digits.
_DIGITS = 7


def content(
    collected: Collected,
    model: str,
    samples: Sequence[int],
    better: Mapping[str, str],
    subject: Subject | None = None,
    progress: Progress = lambda what: None,
) -> dict[str, Any]:
    """Return a model's samples as JSON can hold them.

    Parameters
    ----------
    collected
        The run's results.
    model
        The model.
    samples
        Those to browse.
    better
        ``"higher"`` or ``"lower"`` by score, for the scores that tables show, in their order.
    subject
        The model with its images, where images and maps are wanted.
    progress
        Called with what is explained by which method, before its maps are made.

    Returns
    -------
    dict
        With what :func:`explain` returns; by default there are no pictures.

    Raises
    ------
    InputError
        If the model or an image is not there any more.
    """
    mine = collected.scores[collected.scores["model"] == model]
    metrics = list(dict.fromkeys(mine["metric"]))
    metrics = [m for m in better if m in metrics] + [m for m in metrics if m not in better]
    methods = list(dict.fromkeys(mine["method"]))
    every = pd.MultiIndex.from_product([metrics, methods, list(samples)])
    scores = mine.set_index(["metric", "method", "sample"])["score"].reindex(every)
    values = scores.to_numpy(dtype=np.float64).reshape(len(metrics), len(methods), len(samples))
    targets = collected.targets[collected.targets["model"] == model].set_index("sample")
    rows = targets.loc[list(samples)].reset_index()
    # As far as results alone say, labels are the models' classes but for VOC's.
    nothing = {"comparable": collected.run.data.name.partition(":")[0] != "voc", **_UNEXPLAINED}
    explained = explain(subject, samples, progress) if subject else nothing
    return {
        "model": model,
        "prefix": PREFIX,
        "methods": methods,
        "metrics": [
            {"name": m, "better": better.get(m.partition("@")[0]), "part": m not in better}
            for m in metrics
        ],
        "samples": [{key: _plain(row[key]) for key in _FACTS} for row in rows.to_dict("records")],
        # By metric, method and sample.
        "scores": [[[_plain(v) for v in row] for row in one] for one in values],
        **explained,
        "maps": [explained["maps"].get(method) for method in methods],
    }


def _plain(value: Any) -> Any:
    """Return what JSON has; what is no number is nothing."""
    if isinstance(value, str):
        return value
    if float(value).is_integer():
        return int(value)
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None


#: Difference of a logit from the run's, beside its size, that rounding does not explain.
_TOLERANCE = 1e-2


#: What there is of samples that are not explained.
_UNEXPLAINED: dict[str, Any] = {"images": None, "smooth": False, "changed": []}
_UNEXPLAINED |= {key: {} for key in ("maps", "names", "labels", "problems")}


def chosen(samples: Sequence[int] | NDArray[np.int64], count: int) -> list[int]:
    """Choose samples that are spread evenly.

    Examples
    --------
    >>> chosen(range(10), 4), chosen([3, 5], 4)
    ([0, 3, 6, 9], [3, 5])
    """
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round())
    return [int(samples[int(place)]) for place in places]


def explain(subject: Subject, samples: Sequence[int], progress: Progress) -> dict[str, Any]:
    """Read samples and explain them, with the run's model, preprocessing, options and targets.

    Returns
    -------
    dict
        ``images``, each sample's as base64; ``maps``, each sample's by method (None: it has values
        that are not finite); ``names`` of the model's classes and ``labels`` of the data set's, by
        index; ``comparable``: whether the labels are among the model's classes; ``smooth``: whether
        images are of a size that is not shown pixel by pixel; ``problems``, methods without maps,
        and why; ``changed``, samples whose logit is not the run's any more: another model or other
        images.
    """
    x = subject.images(samples)
    targets = subject.classes_of(samples)
    maps: dict[str, list[str | None]] = {}
    problems: dict[str, str] = {}
    for method in subject.methods:
        progress(f"{subject.name}, {method}")
        try:
            maps[method] = list(map(map_picture, subject.maps([method], x, targets)[method]))
        # What it returned need not be maps at all.
        except (LackingError, ValueError, TypeError, IndexError) as error:
            problems[method] = str(error).removeprefix(f"{method}: ")
    rows = subject.targets.loc[list(samples)]
    names = {c: _named(subject, c) for key in ("predicted", "target") for c in set(rows[key])}
    voc = subject.run.data.name.partition(":")[0] == "voc"
    comparable = not voc or subject.classes == len(VOC_CLASSES)
    known = set(rows["label"].astype(int))
    labels = {c: _named(subject, c) if comparable else VOC_CLASSES[c] for c in known}
    logits = predictions(subject.loaded.model, x, subject.run.batch_size)
    now = logits[np.arange(len(x)), targets].astype(np.float64)
    then = rows["logit"].to_numpy(dtype=np.float64)
    differ = np.abs(now - then) > _TOLERANCE * (1 + np.abs(then))
    return {
        "comparable": comparable,
        "images": [image_picture(one) for one in subject.display(x)],
        "maps": maps,
        "names": names,
        "labels": labels,
        "smooth": max(x.shape[2:]) > _SMALL,
        "problems": problems,
        "changed": [int(s) for s, differs in zip(samples, differ, strict=True) if differs],
    }


def _named(subject: Subject, index: int) -> str:
    return subject.class_name(int(index)) if 0 <= index < subject.classes else f"class {index}"
