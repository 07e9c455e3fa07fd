"""Figures 5, 6, 12 and 13: a few images, with the main method's maps or with every method's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.choice import spread
from benchmarks.figures.material import Material
from benchmarks.figures.outcome import Outcome
from benchmarks.figures.subject import Subject
from gae_metric import plotting
from gae_metric.plotting import Strip

#: Images beside one another, and below one another.
_WIDE, _HIGH = 5, 4
#: Methods beside one another: with their images, the width of a page.
_METHODS = 8


def main_cnn(material: Material) -> Iterator[Outcome]:
    """Draw figure 5: the main method's maps for convolutional networks."""
    return material.each("cnn", _main)


def main_vit(material: Material) -> Iterator[Outcome]:
    """Draw figure 6: the main method's maps for vision transformers."""
    return material.each("vit", _main)


def every_cnn(material: Material) -> Iterator[Outcome]:
    """Draw figure 12: every method's maps for convolutional networks."""
    return material.each("cnn", _every)


def every_vit(material: Material) -> Iterator[Outcome]:
    """Draw figure 13: every method's maps for vision transformers."""
    return material.each("vit", _every)


def _main(subject: Subject) -> Figure:
    samples = _samples(subject, _WIDE)
    x = subject.images(samples)
    maps = subject.maps([subject.main], x, subject.classes_of(samples))
    scores = subject.scores_of(samples, maps)
    strip = Strip(subject.display(x), maps, labels=subject.class_names(samples), scores=scores)
    below = ", GAE below" if scores else ""
    return plotting.strips([strip], f"{subject.name}: maps of the explained class{below}")


def _every(subject: Subject) -> Figure:
    # A second band of methods takes the room of as many images again.
    bands = -(-len(subject.methods) // _METHODS)
    samples = _samples(subject, max(2, _HIGH - bands + 1))
    x = subject.images(samples)
    maps = subject.maps(subject.methods, x, subject.classes_of(samples))
    scores = subject.scores_of(samples, maps)
    return plotting.maps(
        subject.display(x),
        maps,
        subject.class_names(samples),
        f"{subject.name}: maps of the explained class{', GAE below' if scores else ''}",
        scores,
        columns=_METHODS,
    )


def _samples(subject: Subject, count: int) -> list[int]:
    table = subject.scored_targets
    samples = table.index.to_numpy(dtype=np.int64)
    return spread(samples, table["target"].to_numpy(), count)
