"""What a metric is called with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.metrics.sample_blocks import Block
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import ExplainFunc

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
    #: VOC's masks (M, H, W) of the same images, where a metric needs them.
    masks: NDArray[np.uint8] | None = None

    @property
    def own(self) -> NDArray[np.float32]:
        """Images of the scored samples."""
        return self.x[self.block.own]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Targets of the scored samples."""
        return self.block.targets[self.block.own]

    @property
    def class_masks(self) -> NDArray[np.bool_]:
        """Where the explained class of each scored sample is, (R, 1, H, W).

        Raises
        ------
        InputError
            If the data were opened without masks.
        """
        if self.masks is None:
            raise InputError("masks: the images were read without masks")
        # VOC's classes are 1 to 20 in its masks.
        classes = self.classes[:, None, None] + 1
        found: NDArray[np.bool_] = self.masks[self.block.own] == classes
        return found[:, None]

    @functools.cached_property
    def maps(self) -> NDArray[Any]:
        """Maps of the scored samples, for all metrics that need no others."""
        return self._explained(self.batch_size)

    @functools.cached_property
    def maps_alone(self) -> NDArray[Any]:
        """The same, each sample explained alone: the same bits whatever the block."""
        return self._explained(1)

    def _explained(self, step: int) -> NDArray[Any]:
        return in_steps(self.explain, self.model, self.own, self.classes, step, self.batch_size)

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


def in_steps(
    explain: ExplainFunc,
    model: nn.Module,
    x: NDArray[Any],
    targets: NDArray[Any],
    step: int,
    batch_size: int,
) -> NDArray[Any]:
    """Explain some samples at a time."""
    return np.concatenate(
        [
            explain(
                model=model,
                inputs=x[i : i + step],
                targets=targets[i : i + step],
                batch_size=batch_size,
            )
            for i in range(0, len(x), step)
        ]
    )
