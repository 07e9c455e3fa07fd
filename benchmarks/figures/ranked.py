"""Figures 11 and 14: the samples that the main method explains best and worst."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.material import Material
from benchmarks.figures.outcome import LackingError, Outcome
from benchmarks.figures.subject import Subject
from gae_metric import plotting

_SHOWN = 5


def ranked_cnn(material: Material) -> Iterator[Outcome]:
    """Draw figure 11: highest and lowest GAE of convolutional networks."""
    return material.each("cnn", _ranked)


def ranked_vit(material: Material) -> Iterator[Outcome]:
    """Draw figure 14: highest and lowest GAE of vision transformers."""
    return material.each("vit", _ranked)


def _ranked(subject: Subject) -> Figure:
    scores = subject.scores("GAE").get(subject.main)
    if scores is None or scores.count() < 2:
        raise LackingError(f"there are fewer than two scores of GAE for {subject.main}")
    scores = scores.dropna()
    places = np.concatenate(plotting.top_and_bottom(scores, _SHOWN))
    # In ascending order equal scores rank as they do among all of the run's.
    samples = np.sort(scores.index.to_numpy(dtype=np.int64)[places])
    x = subject.images(samples)
    maps = subject.maps([subject.main], x, subject.classes_of(samples))[subject.main]
    return plotting.extremes(
        subject.display(x),
        maps,
        scores.loc[samples.tolist()],
        _SHOWN,
        subject.class_names(samples),
        f"{subject.name}, {subject.main}: highest and lowest GAE of {len(scores)} samples",
    )
