"""One model of a run: its scores and images, and its maps of those that a figure shows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.config.entries import ModelEntry
from benchmarks.data.dataset import Data
from benchmarks.figures.kinds import class_name
from benchmarks.figures.plan import LackingError, Plan
from benchmarks.methods import METHODS
from benchmarks.methods.attention_maps import token_grid
from benchmarks.metrics.metric_call import in_steps
from benchmarks.models import load
from benchmarks.runner.collected import Collected
from gae_metric.demo import digits
from gae_metric.errors import lookup
from gae_metric.explainers.gradients import ExplainFunc
from gae_metric.inputs.models import LoadedModel
from gae_metric.metrics.plot import typical
from gae_metric.study.logits import predictions

Family: TypeAlias = Literal["cnn", "vit"]


@dataclass(eq=False)
class Subject:
    """A model of a run, with its images and maps.

    Parameters
    ----------
    collected
        The run's results.
    entry
        The model.
    data
        Opens the data set.
    device
        Where maps are computed.
    problems
        Takes a line about each method that fails.
    named
        Images of several classes that are to be shown, see
        :func:`benchmarks.figures.two_classes.named_image`.
    """

    collected: Collected
    entry: ModelEntry
    data: Callable[[], Data]
    device: str
    problems: list[str]
    named: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.run, self.name = self.collected.run, self.entry.name
        mine = self.collected.scores[self.collected.scores["model"] == self.name]
        self._scores = mine[np.isfinite(mine["score"].astype(float))]
        targets = self.collected.targets
        #: File, label, prediction, target and its probability, by sample.
        self.targets = targets[targets["model"] == self.name].set_index("sample").sort_index()

    @property
    def data_kind(self) -> str:
        """What kind of data the run is of, such as ``imagenet``."""
        return self.run.data.name.partition(":")[0]

    # Scores

    def scores(self, metric: str) -> pd.DataFrame:
        """Return scores by sample (rows) and method (columns, as the run lists them).

        Raises
        ------
        LackingError
            If there are none.
        """
        table = self.known_scores(metric)
        if table.empty:
            needed = {"LC": "GAE or LC", "C": "GAE or C"}.get(metric, metric)
            raise LackingError(f"there are no scores of {metric}; a run with metric {needed} has")
        return table

    def known_scores(self, metric: str) -> pd.DataFrame:
        """Return the same, of which there may be none."""
        some = self._scores[self._scores["metric"] == metric]
        table = some.pivot_table(index="sample", columns="method", values="score")
        return table[[label for label in self.methods if label in table]]

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
        scores = self.known_scores("GAE")
        best = self.methods[0] if scores.empty else str(scores.mean().idxmax())
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
        scores = self.known_scores("GAE").get(self.main)
        return self.targets if scores is None else self.targets.loc[scores.dropna().index]

    def options(self, *metrics: str) -> dict[str, Any]:
        """Return the options that the run gives the first of some metrics that it has."""
        return next((dict(m.options) for m in self.run.metrics if m.name in metrics), {})

    def scores_of(
        self, samples: Sequence[int] | NDArray[Any], methods: Iterable[str], metric: str = "GAE"
    ) -> Mapping[str, list[float]]:
        """Return methods' scores of samples; those that have none are left out."""
        table = self.known_scores(metric).reindex(list(samples))
        return {label: table[label].tolist() for label in methods if label in table}

    # The model

    @functools.cached_property
    def loaded(self) -> LoadedModel:
        """The model, on the device of maps."""
        entry = self.entry
        loaded = load(entry.name, entry.weights, entry.args, entry.size)
        loaded.model.to(self.device)
        return loaded

    @functools.cached_property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.probabilities(self.images(self.targets.index[:1])).shape[1])

    @functools.cached_property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of a vision transformer's tokens."""
        x = torch.as_tensor(self.images(self.targets.index[:1])).to(self.device)
        return token_grid(self.loaded.model, x)

    @property
    def family(self) -> Family:
        """Whether it is a vision transformer."""
        return "cnn" if self.grid is None else "vit"

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probabilities (N, classes) of inputs."""
        logits = predictions(self.loaded.model, x, self.run.batch_size)
        return torch.from_numpy(logits).double().softmax(1).numpy()

    def maps(
        self, methods: Iterable[str], x: NDArray[np.float32], targets: Sequence[int] | NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """Explain inputs.

        Returns
        -------
        Maps by method, without those of methods that fail.

        Raises
        ------
        LackingError
            If every one fails.
        """
        found: dict[str, NDArray[Any]] = {}
        classes = np.asarray(targets, dtype=np.int64)
        problem = "there are no methods"
        for label in methods:
            try:
                explain, size = self.explainer(label), self.run.batch_size
                with torch.inference_mode(False):
                    found[label] = in_steps(explain, self.loaded.model, x, classes, size, size)
            # Of any kind: the run itself records a method's errors and goes on.
            except Exception as error:  # noqa: PERF203 - a handful
                problem = f"{label}: {type(error).__name__}: {error}"
                line = f"{self.name}: {problem}"
                if line not in self.problems:
                    self.problems.append(line)
        if not found:
            raise LackingError(problem)
        return found

    def methods_of(self, plan: Plan) -> list[str]:
        """Return a figure's methods, the main one in the place of absLRP."""
        return [self.main if name == "absLRP" else name for name in plan.methods]

    def explainer(self, label: str) -> ExplainFunc:
        """Return a method with the options that the run gives it, if it is one of the run's."""
        entry = next((one for one in self.run.methods if one.label == label), None)
        if entry is None:
            return METHODS[label].bind()
        if self.run.modules and entry.name not in METHODS:
            raise LackingError(
                f"{entry.name} is of the run's modules ({', '.join(self.run.modules)}); results "
                "are data, and none of their code is run"
            )
        return lookup("methods", entry.name, METHODS)[1].bind(**entry.options)

    # Images

    @functools.cached_property
    def part(self) -> Data:
        """The images of the samples, in their order."""
        return self.data().only(list(self.targets["file"]))

    def images(self, samples: Iterable[int]) -> NDArray[np.float32]:
        """Read samples as the model takes them, (N, C, H, W)."""
        places = self.targets.index.get_indexer(list(samples))  # type: ignore[arg-type]
        return self.part.part(places).load_all(self.loaded.preprocessing).x

    def display(self, x: NDArray[Any]) -> NDArray[Any]:
        """Turn inputs into pixels in [0, 1]."""
        # Digits come as their networks take them, whatever the model's own preprocessing.
        drawn = self.part.arrays is not None
        return digits.to_display(x) if drawn else self.loaded.preprocessing.to_display(x)

    def classes_of(self, samples: Iterable[int]) -> NDArray[np.int64]:
        """Return the classes that are explained."""
        return self.targets["target"].loc[list(samples)].to_numpy(dtype=np.int64, copy=True)

    def class_name(self, index: int) -> str:
        """Return the name of a class."""
        return class_name(int(index), self.classes)

    def class_names(self, samples: Iterable[int]) -> list[str]:
        """Return the names of the classes that are explained."""
        return [self.class_name(index) for index in self.classes_of(samples)]

    def describe(self, sample: int) -> str:
        """Say in a few words which sample it is."""
        file, name = str(self.targets["file"].loc[sample]), self.class_names([sample])[0]
        file = file.rpartition("/")[2]
        # Titles are not broken within a name.
        return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in (file, name))
