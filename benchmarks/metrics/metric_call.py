"""What a metric is called with: a method, and a block of samples.

Mosaics are drawn for the whole data set. A block holds its own samples and those that share a
mosaic with them, so that a score is the same whichever block its sample is in.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gae_metric import MosaicPlan
from gae_metric.commands.named_metrics import scored
from gae_metric.companions.focus_plan import FocusPlan
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import ExplainFunc
from gae_metric.study.mosaicking import Layout

Array: TypeAlias = NDArray[Any]
Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


class Block(NamedTuple):
    """Some samples of a data set.

    Attributes
    ----------
    start, stop
        The samples that are scored: ``start`` to ``stop - 1`` of the data set.
    indices
        (M,) ascending data-set indices of the images that are needed.
    own
        (R,) places of the scored samples among ``indices``.
    targets
        (M,) classes that are explained; empty where they are not known yet.
    layout, focus
        Mosaics of the scored samples, and Focus's, by places among ``indices``.
    """

    start: int
    stop: int
    indices: Integers
    own: Integers
    targets: Integers
    layout: Layout | None = None
    focus: FocusPlan | None = None

    @property
    def samples(self) -> Integers:
        """(R,) data-set indices of the scored samples."""
        return np.arange(self.start, self.stop)


class Plans(NamedTuple):
    """The classes and mosaics of a whole data set."""

    targets: Integers
    mosaics: MosaicPlan | None
    focus: FocusPlan | None

    @classmethod
    def draw(
        cls,
        contents: NDArray[np.uint64],
        targets: Integers,
        seed: int,
        *,
        mosaics: bool = True,
        focus: bool = True,
    ) -> Plans:
        """Draw the mosaics that are wanted, as the metrics do.

        ``contents`` are :func:`gae_metric.functional.content_hashes` of the images as the model
        takes them. Where all targets are one class, there are none for Focus.

        Examples
        --------
        >>> plans = Plans.draw(np.arange(10, dtype=np.uint64), np.arange(10) % 3, seed=0)
        >>> block = plans.block(2, 5)
        >>> bool((block.indices[block.own] == block.samples).all())
        True
        >>> mosaics, positive = block.layout.indices[:, 0], block.layout.positive[:, 0]
        >>> bool((mosaics[np.arange(3), positive] == block.own).all())
        True
        """
        several = len(np.unique(targets)) > 1
        return cls(
            targets,
            MosaicPlan.draw(contents, targets, seed) if mosaics else None,
            FocusPlan.draw(contents, targets, seed) if focus and several else None,
        )

    def block(self, start: int, stop: int) -> Block:
        """Cut out a block."""
        rows = np.arange(start, stop)
        plans = [plan for plan in (self.mosaics, self.focus) if plan is not None]
        indices = np.unique(np.concatenate([rows, *(plan.indices[rows].ravel() for plan in plans)]))
        indices = indices[indices >= 0]
        # Places of the data set's images, and of no image (-1), among those of the block.
        places = np.full(len(self.targets) + 1, -1)
        places[indices] = np.arange(len(indices))
        own, layout, focus = places[rows], None, None
        if (mosaics := self.mosaics) is not None:
            shown, positive = places[mosaics.indices[rows]], mosaics.positive[rows]
            layout = Layout(own, shown[:, None], positive[:, None])
        if self.focus is not None:
            shown, target = np.full((len(indices), 4), -1), np.zeros((len(indices), 4), dtype=bool)
            shown[own], target[own] = places[self.focus.indices[rows]], self.focus.target[rows]
            focus = FocusPlan(shown, target)
        return Block(start, stop, indices, own, self.targets[indices], layout, focus)


def spans(n: int, size: int) -> Iterable[tuple[int, int]]:
    """Cut n samples into blocks.

    Examples
    --------
    >>> list(spans(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    return ((start, min(start + size, n)) for start in range(0, n, size))


Columns = dict[str, Floats]
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
    def classes(self) -> Integers:
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
        found = self.masks[self.block.own] == self.classes[:, None, None] + 1
        return np.asarray(found[:, None])

    @functools.cached_property
    def maps(self) -> Array:
        """Maps of the scored samples, for all metrics that need no others."""
        return self._explained(self.batch_size)

    @functools.cached_property
    def maps_alone(self) -> Array:
        """The same, each sample explained alone: the same bits whatever the block."""
        return self._explained(1)

    def _explained(self, step: int) -> Array:
        return in_steps(self.explain, self.model, self.own, self.classes, step, self.batch_size)

    def __call__(self, metric: Any, *, everything: bool = False, maps: bool = False) -> Floats:
        """Call a metric, on all images or on those of the scored samples."""
        x, classes = (self.x, self.block.targets) if everything else (self.own, self.classes)
        given, size = self.maps if maps else None, self.batch_size
        return scored(metric, self.model, x, classes, self.explain, given, size)


def in_steps(
    explain: ExplainFunc, model: nn.Module, x: Array, targets: Array, step: int, batch_size: int
) -> Array:
    """Explain some samples at a time."""
    parts = (slice(i, i + step) for i in range(0, len(x), step))
    given = ({"inputs": x[part], "targets": targets[part]} for part in parts)
    return np.concatenate([explain(model=model, batch_size=batch_size, **one) for one in given])
