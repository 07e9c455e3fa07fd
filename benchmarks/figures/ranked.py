"""Figures 11 and 14: the samples that the main method explains best and worst."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from benchmarks.figures.outcome import LackingError
from benchmarks.figures.subject import Subject
from gae_metric import plotting

_SHOWN = 5


def ranked(subject: Subject) -> Figure:
    """Draw figures 11 and 14: highest and lowest GAE of the main method."""
    main = subject.main
    return extremes(subject, "GAE", main, f"{subject.name}, {main}: highest and lowest GAE")


def extremes(subject: Subject, metric: str, method: str, title: str = "") -> Figure:
    """Draw the samples of a method's highest and lowest scores.

    Raises
    ------
    LackingError
        If there are fewer than two, or it explains them no more.
    """
    scores = subject.scores(metric).get(method)
    if scores is None or scores.count() < 2:
        raise LackingError(f"there are fewer than two scores of {metric} for {method}")
    scores = scores.dropna()
    places = np.concatenate(plotting.top_and_bottom(scores, _SHOWN))
    # In ascending order equal scores rank as they do among all of the run's.
    samples = np.sort(scores.index.to_numpy(dtype=np.int64)[places])
    x = subject.images(samples)
    maps = subject.maps([method], x, subject.classes_of(samples))[method]
    return plotting.extremes(
        subject.display(x),
        maps,
        scores.loc[samples.tolist()],
        _SHOWN,
        subject.class_names(samples),
        f"{title} of {len(scores)} samples" if title else "",
    )
