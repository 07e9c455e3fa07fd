"""Everything of an evaluation that does not depend on the maps: what to explain, and the model."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.functional import Trajectory, mask_baseline, masked_inputs, quadrant_scores
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import sent
from gae_metric.study.guard import ModelGuard
from gae_metric.study.items import NONE, Items, items_of_each
from gae_metric.study.logits import InPlaceOfLogits
from gae_metric.study.mosaicking import Layout, Mosaicking
from gae_metric.study.samples import Labels
from gae_metric.study.trajectories import Masking, Trajectories


class Study:
    """What must be explained of a data set, and what the model does with it.

    Work is done when it is asked for, sample by sample in groups.

    Parameters
    ----------
    data
        The model and the samples.
    guard
        What is known of the model.
    masking
        How features are masked; None for Contrastiveness alone.
    mosaicking
        How mosaics are made; None for Local Consistency alone.
    predicted
        Whether the model's predictions are explained instead of ``y_batch``.

    Attributes
    ----------
    samples
        (R,) data-set indices of the scored samples: all, or the repository protocol's positives.
    targets
        int64 (N,), on the CPU: the class that is explained for each sample of the data set.
    classes
        (R,) of the scored samples the class that is explained.
    layout
        The mosaics, or None.
    mosaics
        Number of mosaics of each sample.
    outputs
        float64 (R, 2, T): target's outputs along the trajectories, NaN where there are none.
    repeated
        (R, 2, T) states of loaded samples whose input is that of the state before.
    bad_input, bad_output
        (R,) samples whose features, or model outputs (as far as known), are not all finite.
    one_class
        (R,) samples one of whose mosaics shows no other class, so that they have no score.
    predicted, probability
        (R,) of loaded samples the predicted class (-1: none, as an output is NaN or infinite) and
        the softmax of the explained one.
    blank
        (R,) samples that have one value in each channel.
    returned
        What the model seems to return, by the outputs of all loaded samples.
    """

    def __init__(
        self,
        data: Data,
        guard: ModelGuard,
        masking: Masking | None,
        mosaicking: Mosaicking | None,
        predicted: bool = False,
    ) -> None:
        self.data, self.masking, self.mosaicking = data, masking, mosaicking
        self._model = Trajectories(data, masking or Masking(), guard)
        repository = mosaicking is not None and mosaicking.protocol == "repository"
        #: Samples that may stand in others' mosaics.
        usable = data.finite.copy()
        self.targets = self._chosen(None if predicted or repository else data.y, usable)
        # The authors' code explains predictions, but scores quadrants by the data set's labels.
        given = None if predicted and not repository else data.y
        self._labels = given or Labels(self.targets)
        self.layout: Layout | None = None
        if mosaicking is not None:
            self.layout = (
                mosaicking.draw_as_repository(data, self.targets, usable, self._model.batch)
                if repository
                else mosaicking.draw(data, self.targets.numpy(), usable, self._labels)
            )
        self.samples = np.arange(len(data)) if self.layout is None else self.layout.samples
        self.classes = self.targets.numpy()[self.samples]
        self.mosaics = 0 if self.layout is None else self.layout.indices.shape[1]
        rows = len(self.samples)
        self.outputs = np.full((rows, 2, masking.steps if masking else 0), np.nan)
        self._quadrants = np.zeros((rows, self.mosaics, 4))
        self.bad_input = ~data.finite[self.samples]
        self._model.expect(self.targets, self.samples[~self.bad_input])
        self.blank = data.blank[self.samples] & ~self.bad_input
        self.one_class = self._one_class() & ~self.bad_input
        if self.one_class.any() and (self.one_class | ~usable[self.samples]).all():
            self._model.logits(self.samples[self.one_class][:1])  # has its say on one output
            raise ValueError(
                f"{'targets' if predicted else 'y_batch'}: Contrastiveness and GAE need samples of "
                "at least two classes, as a mosaic must show another class than its positive's; "
                f"in those of all {int(self.one_class.sum())} samples the four are of one class"
            )
        self.bad_output = np.zeros(rows, dtype=bool)
        self.predicted = np.full(rows, NONE)
        self.probability = np.full(rows, np.nan)
        self.returned = InPlaceOfLogits(data.model.logits_at)
        self.repeated = np.zeros((rows, 2, masking.steps if masking else 1), dtype=bool)
        self._loaded = np.zeros(rows, dtype=bool)
        self._masks = ~self.bad_input if masking else np.zeros(rows, dtype=bool)
        self._shows = np.zeros((rows, self.mosaics), dtype=bool)

    def items(self, originals: bool, states: bool) -> Items:
        """List what must be explained, sample by sample, the original first.

        Parameters
        ----------
        originals
            Whether the unmasked inputs are wanted.
        states
            Whether the perturbed states are; both orders, states 1 to T-1.
        """
        steps = self.masking.steps if states and self.masking is not None else 1
        rows = np.flatnonzero(~self.bad_input)
        table = items_of_each(originals, steps, self.mosaics)
        return Items(np.repeat(rows, len(table)), *np.tile(table, (len(rows), 1)).T)

    def load(self, rows: NDArray[np.int64]) -> None:
        """Have the model evaluated on samples, if it has not been."""
        rows = np.unique(rows)
        rows = rows[~self._loaded[rows] & ~self.bad_input[rows]]
        if len(rows) == 0:
            return
        if self.masking is not None:
            entries = self._entries(rows)
            self.outputs[rows] = torch.cat([entry.outputs for entry in entries], 1).movedim(1, 0)
            self._masks[rows] = torch.cat([entry.finite for entry in entries])
            self.repeated[rows] = torch.cat([entry.repeated for entry in entries], 1).movedim(1, 0)
            logits = torch.cat([entry.logits for entry in entries])
            # Logits of classes that nothing asks for may be infinite.
            self.bad_output[rows] = ~self._masks[rows]
        else:
            logits = self._model.logits(self.samples[rows])
        if self.layout is not None:
            self._score_quadrants(self.layout, rows, logits)
        self._look_at(rows, logits.double())
        self._loaded[rows] = True

    def _look_at(self, rows: NDArray[np.int64], logits: Tensor) -> None:
        """Note what warnings, and readers of scores, want to know of samples."""
        known = (logits < torch.inf).all(1)
        self.predicted[rows] = torch.where(known, logits.argmax(1), NONE).numpy()
        self.probability[rows] = logits.softmax(1).numpy()[np.arange(len(rows)), self.classes[rows]]
        self.returned.see(logits)

    def _one_class(self) -> NDArray[np.bool_]:
        if self.layout is None:
            return np.zeros(len(self.samples), dtype=bool)
        indices = self.layout.indices
        same = self._labels.has(indices, self.classes[:, None, None]) & (indices >= 0)
        return np.asarray(np.all(same, axis=2).any(axis=1))

    def _score_quadrants(self, layout: Layout, rows: NDArray[np.int64], logits: Tensor) -> None:
        indices = layout.indices[rows]
        for k in range(self.mosaics):
            classes = self._labels.likeliest(indices[:, k].clip(0), logits[:, None])
            scores = quadrant_scores(logits, classes, layout.positive[rows, k])
            self._quadrants[rows, k] = scores.double().numpy()
            valid = scores.isfinite().all(1).numpy()
            drawn = (indices[:, k] >= 0).all(axis=1)
            self._shows[rows, k] = valid & drawn & ~self.one_class[rows]
            self.bad_output[rows] |= ~valid

    def ready(self, items: Items) -> Items:
        """Return the loaded items that can be explained: the model's outputs are finite there."""
        shown = self._shows[items.row, items.mosaic] if self.mosaics else False
        return items[np.where(items.mosaic >= 0, shown, self._masks[items.row])]

    def alike(self, items: Items) -> list[Items]:
        """Part items into those whose inputs are of one shape: mosaics may be larger."""
        larger = self.mosaicking is not None and self.mosaicking.interpolation == "none"
        shown = items.mosaic >= 0
        parts = [items[~shown], items[shown]] if larger else [items]
        return [part for part in parts if len(part)]

    def inputs(self, items: Items) -> tuple[Tensor, Tensor]:
        """Build inputs (n, C, ...) of items of one shape, and targets (n,), on the model's device.

        The items have been loaded.
        """
        states = items.mosaic < 0
        targets = sent(self.classes[items.row], self.data.device)
        if states.all():
            return self._state_inputs(items), targets
        assert self.layout is not None
        assert self.mosaicking is not None
        shown = items[~states]
        x = self.mosaicking.inputs(self.data, self.layout.indices[shown.row, shown.mosaic])
        if states.any():
            mosaics, x = x, x.new_empty((len(items), *x.shape[1:]))
            x[sent(np.flatnonzero(~states), x.device)] = mosaics
            x[sent(np.flatnonzero(states), x.device)] = self._state_inputs(items[states])
        return x, targets

    def _state_inputs(self, items: Items) -> Tensor:
        rows, places = np.unique(items.row, return_inverse=True)
        x = self.data.inputs(self.samples[rows])
        at = sent(places.reshape(-1), x.device)
        if self.masking is None or (items.state == 0).all():
            return x[at]
        baseline = mask_baseline(x, self.masking.mask_value)
        if baseline.ndim == x.ndim and len(baseline) == len(x):
            baseline = baseline[at]
        masked_from = torch.cat([entry.masked_from for entry in self._entries(rows)], dim=1)
        # Features of an original are masked from a later state, whichever the order.
        order = sent(items.order.clip(0), x.device)
        state = sent(items.state, x.device)
        return masked_inputs(x[at], sent(masked_from, x.device)[order, at], state, baseline)

    def impact_signs(self, rows: NDArray[np.int64]) -> Tensor:
        """Sign of the impact maps I_c of loaded samples, int8 (n, C, ...)."""
        return torch.cat([entry.impact_sign for entry in self._entries(rows)])

    def quadrants(self, items: Items) -> Tensor:
        """Values of S in the quadrants of loaded mosaics, float64 (n, 4), on the CPU."""
        return torch.from_numpy(self._quadrants[items.row, items.mosaic])

    def forget(self, before: int) -> None:
        """Let go of the trajectories of rows below one."""
        self._model.forget(int(self.samples[before]))

    def _entries(self, rows: NDArray[np.int64]) -> list[Trajectory]:
        return self._model.load(self.samples[rows])

    def _chosen(self, labels: Labels | None, usable: NDArray[np.bool_]) -> Tensor:
        """Class of each sample that is explained, (N,): its own likeliest, or of all without any.

        Where one must be chosen and the input is not finite, 0. A sample whose outputs have no
        highest one, as one is NaN or infinite, has no predicted class, and is no more ``usable``.
        """
        if labels is not None and labels.table is None:
            return labels.values
        finite = np.flatnonzero(self.data.finite)
        classes = np.zeros(len(self.data), dtype=np.int64)
        if len(finite):
            logits = self._model.logits(finite)
            if labels is None:
                usable[finite] = logits.amax(1).isfinite().numpy()
                classes[finite] = logits.argmax(1).numpy()
            else:
                classes[finite] = labels.likeliest(finite, logits)
        return torch.from_numpy(classes)
