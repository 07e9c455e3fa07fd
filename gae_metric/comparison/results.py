"""Scores of an evaluation, and what came up while they were computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gae_metric.explainers.grad_cam import NotApplicableError

__all__ = ["Better", "Failure", "Results"]

Better = Literal["higher", "lower"]


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
