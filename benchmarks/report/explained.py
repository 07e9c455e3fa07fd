"""Images and maps of the samples to browse, made anew: a run keeps scores, and no maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.labels import VOC_CLASSES
from benchmarks.figures.outcome import LackingError
from benchmarks.figures.subject import Subject
from benchmarks.report.pictures import image_picture, map_picture
from gae_metric.study.logits import predictions

#: Difference of a logit from the run's, beside its size, that rounding does not explain.
_TOLERANCE = 1e-2
#: Pixels of a side of images that are shown pixel by pixel.
_SMALL = 64


@dataclass(frozen=True, eq=False)
class Explained:
    """Pictures of one model's samples; by default there are none.

    Attributes
    ----------
    images
        Each sample's image, base64.
    maps
        Each sample's map by method; None: it has values that are not finite.
    names, labels
        Names of the model's classes, and of the data set's labels, by index.
    comparable
        Whether the labels are among the model's classes.
    smooth
        Whether images are of a size that is not shown pixel by pixel.
    problems
        Methods without maps, and why.
    changed
        Samples whose logit is not the run's any more: another model or other images.
    """

    comparable: bool
    images: list[str] | None = None
    maps: dict[str, list[str | None]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    smooth: bool = False
    problems: dict[str, str] = field(default_factory=dict)
    changed: tuple[int, ...] = ()


def chosen(samples: Sequence[int] | NDArray[np.int64], count: int) -> list[int]:
    """Choose samples that are spread evenly.

    Examples
    --------
    >>> chosen(range(10), 4), chosen([3, 5], 4)
    ([0, 3, 6, 9], [3, 5])
    """
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round())
    return [int(samples[int(place)]) for place in places]


def explain(
    subject: Subject,
    samples: Sequence[int],
    methods: Sequence[str],
    progress: Callable[[str], None] = lambda what: None,
) -> Explained:
    """Read samples and explain them, with the run's model, preprocessing, options and targets.

    Parameters
    ----------
    subject
        The model.
    samples
        Of the run.
    methods
        Labels.
    progress
        Called with each method before its maps are made.

    Raises
    ------
    InputError
        If the model or an image is not there any more.
    """
    x = subject.images(samples)
    targets = subject.classes_of(samples)
    maps: dict[str, list[str | None]] = {}
    problems: dict[str, str] = {}
    for method in methods:
        progress(method)
        try:
            found = subject.maps([method], x, targets)[method]
            maps[method] = [map_picture(one) for one in found]
        # What it returned need not be maps at all.
        except (LackingError, ValueError, TypeError, IndexError) as error:
            problems[method] = str(error).removeprefix(f"{method}: ")
    images = [image_picture(one) for one in subject.display(x)]
    rows = subject.targets.loc[list(samples)]
    names = {c: _named(subject, c) for key in ("predicted", "target") for c in set(rows[key])}
    voc = subject.run.data.name.partition(":")[0] == "voc"
    comparable = not voc or subject.classes == len(VOC_CLASSES)
    labels = {
        c: _named(subject, c) if comparable else VOC_CLASSES[c]
        for c in map(int, set(rows["label"]))
    }
    logits = predictions(subject.loaded.model, x, subject.run.batch_size)
    now = logits[np.arange(len(x)), targets].astype(np.float64)
    then = rows["logit"].to_numpy(dtype=np.float64)
    differ = np.abs(now - then) > _TOLERANCE * (1 + np.abs(then))
    changed = tuple(int(s) for s, differs in zip(samples, differ, strict=True) if differs)
    smooth = max(x.shape[2:]) > _SMALL
    return Explained(comparable, images, maps, names, labels, smooth, problems, changed)


def _named(subject: Subject, index: int) -> str:
    return subject.class_name(int(index)) if 0 <= index < subject.classes else f"class {index}"
