"""Scores of an evaluation, and what came up while they were computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gae_metric._names import Better
from gae_metric.explainers.grad_cam import NotApplicableError

__all__ = ["Better", "Cell", "Failure", "Results"]


@dataclass(frozen=True)
class Failure:
    """A method, or one metric of it, that gave no scores."""

    method: str
    #: None where the method itself failed.
    metric: str | None
    error: BaseException

    @property
    def expected(self) -> bool:
        """Whether the method just does not apply to the model."""
        return isinstance(self.error, NotApplicableError)

    def __str__(self) -> str:
        """Say what failed, and why."""
        if isinstance(self.error, NotApplicableError):
            return f"{self.method}: {self.error.reason}"
        what = self.method if self.metric is None else f"{self.metric} of {self.method}"
        kind = "" if isinstance(self.error, ValueError) else f"{type(self.error).__name__}: "
        return f"{what}: {kind}{self.error}"


@dataclass
class Cell:
    """What one method has by one metric."""

    #: Scores (N,), NaN where there is none.
    scores: NDArray[np.float64]
    #: Wall time.
    seconds: float = 0.0
    #: Warnings.
    notes: list[str] = field(default_factory=list)
    #: GAE's parts and curves, and the mosaics of GAE and C, as in :class:`Results`.
    components: pd.DataFrame | None = None
    curves: dict[str, NDArray[Any]] | None = None
    mosaics: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    error: BaseException | None = None


@dataclass
class Results:
    """Scores by method, metric and sample."""

    #: Methods in the order of the tables.
    methods: tuple[str, ...]
    #: Which way each metric is read, in the order of the tables.
    metrics: Mapping[str, Better]
    #: Explained classes (N,).
    targets: NDArray[np.int64]
    #: Scores (N,) by (method, metric), NaN where there is none.
    scores: dict[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)
    #: Wall time by (method, metric).
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    #: GAE's parts and curves (``metric.components`` and ``metric.curves``) by method.
    components: dict[str, pd.DataFrame] = field(default_factory=dict)
    curves: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)
    #: Mosaics of GAE or Contrastiveness, the same for every method: the samples in their quadrants,
    #: (N, 4), and the quadrants of the positives, (N,). None where neither was computed.
    mosaics: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    failures: list[Failure] = field(default_factory=list)
    #: Warnings: their text, and the methods and metrics that gave them.
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, method: str, metric: str, cell: Cell) -> None:
        """Take a cell in."""
        self.scores[method, metric], self.seconds[method, metric] = cell.scores, cell.seconds
        if cell.components is not None and cell.curves is not None:
            self.components.setdefault(method, cell.components)
            self.curves.setdefault(method, cell.curves)
        self.mosaics = self.mosaics or cell.mosaics
        for note in cell.notes:
            self.notes.setdefault(note, []).append(f"{method}, {metric}")
        if cell.error is not None:
            self.failures.append(Failure(method, metric, cell.error))

    def table(self) -> pd.DataFrame:
        """Return scores in long form: method, metric, sample, target, score."""
        columns = ["method", "metric", "sample", "target", "score"]
        rows = [
            (method, metric, sample, target, score)
            for (method, metric), values in self.scores.items()
            for sample, (target, score) in enumerate(zip(self.targets, values, strict=True))
        ]
        table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
        return table
