"""What a metric is called with, and Quantus's own metrics called with it."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import quantus
from numpy.typing import NDArray
from torch import nn

from benchmarks.blocks import Block
from benchmarks.seeding import seeded
from gae_metric.errors import InputError
from gae_metric.explainers import ExplainFunc

__all__ = ["Call", "Columns", "quantus_metrics", "quantus_options", "score_by_quantus"]

Columns = dict[str, NDArray[np.float64]]
"""Scores (R,) of a block's samples, by the name of the score."""


@dataclass(frozen=True, eq=False)
class Call:
    """What a metric is called with: one method on one block of samples."""

    model: nn.Module
    block: Block
    #: Images (M, C, H, W) of the block's ``indices``.
    x: NDArray[np.float32]
    explain: ExplainFunc
    seed: int
    steps: int
    schedule: Any
    batch_size: int

    @property
    def own(self) -> NDArray[np.float32]:
        """Images of the scored samples."""
        return self.x[self.block.own]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Targets of the scored samples."""
        return self.block.targets[self.block.own]

    @functools.cached_property
    def maps(self) -> NDArray[Any]:
        """Maps of the scored samples, for all metrics that need no others."""
        return self._explained(self.batch_size)

    @functools.cached_property
    def maps_alone(self) -> NDArray[Any]:
        """The same, each sample explained alone: the same bits whatever the block."""
        return self._explained(1)

    def _explained(self, step: int) -> NDArray[Any]:
        return np.concatenate(
            [
                self.explain(
                    model=self.model,
                    inputs=self.own[i : i + step],
                    targets=self.classes[i : i + step],
                    batch_size=self.batch_size,
                )
                for i in range(0, len(self.classes), step)
            ]
        )

    def __call__(self, metric: Any, *, everything: bool = False, maps: bool = False) -> list[float]:
        """Call a metric, on all images or on those of the scored samples."""
        scores: list[float] = metric(
            model=self.model,
            x_batch=self.x if everything else self.own,
            y_batch=self.block.targets if everything else self.classes,
            a_batch=self.maps if maps else None,
            explain_func=self.explain,
            explain_func_kwargs={"batch_size": self.batch_size},
            batch_size=self.batch_size,
        )
        return scores


@functools.cache
def quantus_metrics() -> dict[str, Any]:
    """Return Quantus's metrics by the names of their classes."""
    groups = quantus.AVAILABLE_METRICS.values()
    return {metric.__name__: metric for group in groups for metric in group.values()}


def quantus_options(name: str) -> dict[str, Any]:
    """Return the options of one of Quantus's metrics, and their defaults."""
    parameters = inspect.signature(quantus_metrics()[name].__init__).parameters
    return {
        option: parameter.default
        for option, parameter in parameters.items()
        if option not in ("self", "kwargs", "disable_warnings")
    }


def score_by_quantus(name: str, call: Call, **options: Any) -> Columns:
    """Score samples one by one, each with generators of its own: nothing else is independent.

    Maps that were made with others would differ by rounding, which a metric that compares them with
    maps of its own, made alone, may enlarge a thousandfold.
    """
    scores = np.full(len(call.classes), np.nan)
    for row, sample in enumerate(call.block.samples.tolist()):
        metric = quantus_metrics()[name](disable_warnings=True, **options)
        with seeded(call.seed, sample):
            found = metric(
                model=call.model,
                x_batch=call.own[row : row + 1],
                y_batch=call.classes[row : row + 1],
                a_batch=call.maps_alone[row : row + 1],
                explain_func=call.explain,
                explain_func_kwargs={"batch_size": call.batch_size},
                device=str(next(call.model.parameters()).device),
                channel_first=True,
            )
        try:
            (value,) = found
            scores[row] = float(value)
        except (TypeError, ValueError):
            kind = type(found).__name__
            raise InputError(
                f"quantus:{name}: expected one number for a sample, got a {kind}"
            ) from None
    return {f"quantus:{name}": scores}
