"""One model's table: our numbers, and the paper's beside them where it has some."""

from __future__ import annotations

from dataclasses import dataclass

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
