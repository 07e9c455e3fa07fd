"""Which mosaics are evaluated: the paper's protocol, and that of the authors' code."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.errors import check_integer
from gae_metric.functional.draws import check_size
from gae_metric.functional.mosaic import INTERPOLATIONS, Interpolation, mosaics
from gae_metric.functional.mosaic_plan import MosaicPlan, draw_mosaics, substitute
from gae_metric.study.arguments import Data, check_larger
from gae_metric.study.conversion import ChunkSize, sent
from gae_metric.study.samples import Labels

Protocol = Literal["paper", "repository"]


class Layout(NamedTuple):
    """The mosaics of R scored samples, K of each.

    Attributes
    ----------
    samples
        (R,) ascending data-set indices of the positives.
    indices
        (R, K, 4) data-set indices in the quadrants; -1 where no sample can be used.
    positive
        (R, K) quadrant of the positive.
    """

    samples: NDArray[np.int64]
    indices: NDArray[np.int64]
    positive: NDArray[np.int64]

    def identical(self, contents: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether one of a sample's mosaics shows an image twice, (R,), by the images' hashes."""
        same = np.diff(np.sort(contents[self.indices], axis=-1), axis=-1) == 0
        twice = same.any(axis=-1) & (self.indices >= 0).all(axis=-1)
        return np.asarray(twice.any(axis=-1))


@dataclass(frozen=True)
class Mosaicking:
    """How mosaics are drawn; see :class:`gae_metric.Contrastiveness`."""

    seed: int = 0
    plans: tuple[MosaicPlan, ...] | None = None
    n_mosaics: int = 1
    interpolation: Interpolation = "nearest"
    protocol: Protocol = "paper"

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0)
        check_integer("n_mosaics", self.n_mosaics)
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation: expected one of {', '.join(INTERPOLATIONS)}, got "
                f"{self.interpolation!r}"
            )
        if self.protocol not in get_args(Protocol):
            raise ValueError(f'protocol: expected "paper" or "repository", got {self.protocol!r}')
        if self.plans is not None and self.n_mosaics not in (1, len(self.plans)):
            raise ValueError(
                f"n_mosaics: expected the number of the given mosaics, {len(self.plans)}, or none, "
                f"got {self.n_mosaics}"
            )
        if self.protocol == "repository" and (self.plans is not None or self.n_mosaics > 1):
            raise ValueError(
                'protocol: "repository" draws one mosaic for four samples itself; mosaics and '
                "n_mosaics do not go with it"
            )

    def check(self, data: Data) -> None:
        """Refuse data that mosaics cannot be made of, before any work.

        Raises
        ------
        ValueError
            If there are too few samples, they have no positions, or a plan is for another number.
        """
        mosaics(data.rows(np.array([0])), np.zeros((1, 4), dtype=np.int64), self.interpolation)
        if len(data) < 4:
            raise ValueError(
                "x_batch: Contrastiveness and GAE need at least 4 samples, as a mosaic holds a "
                f"positive and three others, got {len(data)}"
            )
        for plan in self.plans or ():
            check_size(plan, len(data))
        if self.interpolation == "none":
            check_larger('interpolation "none"', data)

    def draw(
        self, data: Data, classes: NDArray[np.int64], usable: NDArray[np.bool_], labels: Labels
    ) -> Layout:
        """Lay out every sample's mosaics as in the paper, around samples that are not usable.

        Parameters
        ----------
        data
            The samples.
        classes
            (N,) the class of each that is explained.
        usable
            (N,) which may stand in others' mosaics.
        labels
            All their classes.
        """
        own = np.arange(len(data))
        if self.plans is None:
            draws = [
                draw_mosaics(data.contents, classes, self.seed, repeat, usable, labels.table)
                for repeat in range(self.n_mosaics)
            ]
        else:
            draws = [(substitute(plan.indices, usable, own), plan.positive) for plan in self.plans]
        indices = np.stack([indices for indices, _ in draws], axis=1)
        positive = np.stack([positive for _, positive in draws], axis=1)
        return Layout(own, indices, positive)

    def draw_as_repository(
        self, data: Data, predicted: Tensor, usable: NDArray[np.bool_], size: ChunkSize
    ) -> Layout:
        """Lay out mosaics as the authors' code does at batch size 4.

        Four consecutive samples are one mosaic, row by row; its positive is drawn by the softmax of
        the mosaic's outputs for the four predicted classes; samples after the last four are left
        out.

        Parameters
        ----------
        data
            The samples.
        predicted
            (N,) predicted classes.
        usable
            (N,) which may stand in mosaics.
        size
            Of mosaics that the model evaluates at a time.
        """
        groups = len(data) // 4
        own = np.arange(4 * groups).reshape(groups, 4)
        indices = substitute(own, usable)
        candidates = usable[own]
        weights = np.where(candidates, 0.0, -np.inf)
        some = np.flatnonzero(candidates.any(axis=1))
        for rows, outputs in size.each(some, lambda r: data.logits(self.inputs(data, indices[r]))):
            of_classes = outputs.double().gather(1, predicted[torch.from_numpy(indices[rows])])
            weights[rows] += of_classes.nan_to_num(nan=-torch.inf).numpy()
        # Where nothing can be drawn the score is NaN anyway.
        weights[~np.isfinite(weights).any(axis=1)] = 0
        weights[np.isposinf(weights)] = np.finfo(float).max
        chances = np.exp(weights - weights.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        drawn = np.random.default_rng([self.seed, 0]).random((groups, 1))
        positive = (chances.cumsum(axis=1)[:, :3] <= drawn).sum(axis=1)
        return Layout(own[np.arange(groups), positive], indices[:, None], positive[:, None])

    def inputs(self, data: Data, indices: NDArray[np.int64]) -> Tensor:
        """Mosaics (M, C, ...) of rows (M, 4) of data-set indices, as the model takes them."""
        needed, places = np.unique(indices, return_inverse=True)
        rows = sent(places.reshape(indices.shape), data.device)
        return mosaics(data.inputs(needed), rows, self.interpolation)


def as_plans(mosaics: MosaicPlan | Sequence[MosaicPlan] | None) -> tuple[MosaicPlan, ...] | None:
    """Check the argument ``mosaics``: a plan, or several of them."""
    if mosaics is None:
        return None
    given = (mosaics,) if isinstance(mosaics, MosaicPlan) else mosaics
    plans = tuple(given) if isinstance(given, Iterable) else ()
    if not plans or not all(isinstance(plan, MosaicPlan) for plan in plans):
        raise ValueError(
            f"mosaics: expected a MosaicPlan, several of them or None, got {type(mosaics).__name__}"
        )
    return plans
