"""One model's table: our numbers, and the paper's beside them where it has some."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class Table:
    """A table of one model.

    Attributes
    ----------
    model
        Our model.
    number
        The paper's table that ours stands beside; None: there is none.
    theirs
        The data set and model of the paper's.
    samples
        Number of images.
    scores
        Names of the columns.
    cells
        A row for each method and score: ``method``, ``score``, ``better``, ``mean``,
        ``standard_error``, ``ci_low``, ``ci_high``, ``samples``, ``best``, ``tie`` (not told apart
        from the best, see :func:`gae_metric.compare`), ``paper`` and ``paper_tie``.
    agreement
        A row for each score that both have: ``score``, ``methods`` (that both have), ``tau``
        (Kendall's τ-b between our order of them and the paper's) and ``p``.
    notes
        What is missing from it, and why.
    """

    model: str
    number: int | None
    theirs: str
    samples: int
    scores: tuple[str, ...]
    cells: pd.DataFrame
    agreement: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def by_place(self) -> dict[tuple[Any, Any], dict[Hashable, Any]]:
        """Its cells by method and score."""
        return {(row["method"], row["score"]): row for row in self.cells.to_dict("records")}

    @property
    def ways(self) -> dict[str, str | None]:
        """Which way each score is read: ``"higher"`` or ``"lower"``; None where there is none."""
        known = dict(zip(self.cells["score"], self.cells["better"], strict=True))
        return {score: known.get(score) for score in self.scores}
