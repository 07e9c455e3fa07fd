"""What a run found about one model: its scores, and which method and sample stand for it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.figures.outcome import LackingError
from benchmarks.runner.collected import Collected
from gae_metric.metrics.plot import typical


class Scored:
    """A model's scores in a run.

    Parameters
    ----------
    collected
        The run's results.
    name
        The model.
    """

    def __init__(self, collected: Collected, name: str) -> None:
        self.run = collected.run
        self.name = name
        mine = collected.scores[collected.scores["model"] == name]
        self._scores = mine[np.isfinite(mine["score"].astype(float))]
        targets = collected.targets
        #: File, label, prediction, target and its probability, by sample.
        self.targets = targets[targets["model"] == name].set_index("sample").sort_index()

    def scores(self, metric: str) -> pd.DataFrame:
        """Return scores by sample (rows) and method (columns, as the run lists them).

        Raises
        ------
        LackingError
            If there are none.
        """
        some = self._scores[self._scores["metric"] == metric]
        if some.empty:
            needed = {"LC": "GAE or LC", "C": "GAE or C"}.get(metric, metric)
            raise LackingError(f"there are no scores of {metric}; a run with metric {needed} has")
        table = some.pivot_table(index="sample", columns="method", values="score")
        return table[[label for label in self.methods if label in table]]

    def means(self, metric: str) -> pd.Series[float] | None:
        """Return each method's mean, or None where there are no scores."""
        try:
            return self.scores(metric).mean()
        except LackingError:
            return None

    @functools.cached_property
    def methods(self) -> list[str]:
        """Labels of the methods that there are scores of, as the run lists them."""
        scored = set(self._scores["method"])
        return [method.label for method in self.run.methods if method.label in scored]

    @functools.cached_property
    def main(self) -> str:
        """The method that figures of one method show.

        Raises
        ------
        LackingError
            If there is none.
        """
        if not self.methods:
            raise LackingError("there are no finite scores")
        names = {method.label: method.name for method in self.run.methods}
        ours = [label for label in self.methods if names[label] == "absLRP"]
        means = self.means("GAE")
        best = self.methods[0] if means is None else str(means.idxmax())
        return ours[0] if ours else best

    def typical(self, metric: str) -> int:
        """Return the sample of the main method's median score."""
        scores = self.scores(metric).get(self.main)
        if scores is None:
            raise LackingError(f"there are no scores of {metric} for {self.main}")
        return int(scores.index[typical(scores.to_numpy(dtype=float))])

    @property
    def scored_targets(self) -> pd.DataFrame:
        """The rows of ``targets`` that the main method has a GAE for; all where it has none."""
        rows: pd.DataFrame = self.targets
        if self.means("GAE") is not None and self.main in (scores := self.scores("GAE")):
            rows = rows.loc[scores[self.main].dropna().index]
        return rows

    def options(self, *metrics: str) -> dict[str, Any]:
        """Return the options that the run gives the first of some metrics that it has."""
        return next((dict(m.options) for m in self.run.metrics if m.name in metrics), {})

    def scores_of(
        self, samples: Sequence[int] | NDArray[Any], methods: Iterable[str], metric: str = "GAE"
    ) -> Mapping[str, list[float]]:
        """Return methods' scores of samples; those that have none are left out."""
        try:
            table = self.scores(metric).reindex(list(samples))
        except LackingError:
            return {}
        return {label: table[label].tolist() for label in methods if label in table}
