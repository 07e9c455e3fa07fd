"""What figures are made of: a run's results, images and models, each read when it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.data.dataset import Data
from benchmarks.data.names import open_data
from benchmarks.figures.outcome import Drawn, LackingError, Outcome, Skipped
from benchmarks.figures.subject import Family, Subject
from benchmarks.runner.collected import collect
from gae_metric.errors import InputError

#: What runs have a model of a family.
_RUNS = {
    "cnn": "convolutional network; a run with --model digits:vgg or --config table1 has",
    "vit": "vision transformer; a run with --model digits:vit or --config table5 has",
}


class Material:
    """A run, as its figures need it.

    Parameters
    ----------
    folder
        The run's results.

    Raises
    ------
    InputError
        If there are none, or no scores yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.collected = collect(folder)
        self.run = self.collected.run
        if self.collected.scores.empty:
            raise InputError(
                f"results: the run in {str(folder)!r} holds no scores yet; `python -m benchmarks "
                "run` with the same configuration goes on with it"
            )
        #: Methods that could not explain again, and why.
        self.problems: list[str] = []

    @functools.cached_property
    def data(self) -> Data:
        """The data set, of which each sample is found by its file."""
        data = self.run.data
        labels, split = getattr(data, "labels", None), getattr(data, "split", "val")
        return open_data(data.name, labels=labels, split=split, masks=self.run.masks)

    @functools.cached_property
    def subjects(self) -> list[Subject]:
        """The models that there are scores of, as the run lists them."""
        scored = set(self.collected.scores["model"])
        device = device_of(self.run.devices[0])
        return [
            Subject(self.collected, entry, lambda: self.data, device, self.problems)
            for entry in self.run.models
            if entry.name in scored
        ]

    def of_family(self, family: Family) -> list[Subject]:
        """Return the models of a family."""
        return [subject for subject in self.subjects if subject.family == family]

    def each(self, family: Family | None, draw: Callable[[Subject], Figure]) -> Iterator[Outcome]:
        """Draw a figure for each model, or each of a family."""
        subjects = self.subjects if family is None else self.of_family(family)
        if family is not None and not subjects:
            yield Skipped(f"there are no scores of a {_RUNS[family]}")
        for subject in subjects:
            yield drawn(subject.slug, partial(draw, subject), f"{subject.name}: ")

    def common_samples(self, subjects: Sequence[Subject]) -> NDArray[np.int64]:
        """Return scored samples of several models; those of one class to all, if there are any."""
        tables = [subject.scored_targets["target"] for subject in subjects]
        samples = functools.reduce(np.intersect1d, [table.index.to_numpy() for table in tables])
        classes = np.stack([table.loc[samples].to_numpy() for table in tables])
        alike = samples[(classes == classes[0]).all(axis=0)]
        chosen: NDArray[np.int64] = (alike if len(alike) else samples).astype(np.int64)
        return chosen


def drawn(name: str, draw: Callable[[], Figure], skipped: str = "") -> Outcome:
    """Draw a figure, or say what the run lacks for it, after some words."""
    try:
        return Drawn(name, draw())
    except LackingError as error:
        return Skipped(f"{skipped}{error}")


def device_of(wanted: str) -> str:
    """Return the run's device where this machine has it."""
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError):  # torch's own words for a device that is not there
        return "cpu"
    return wanted
