"""Trajectories and logits of samples: from the cache, or computed in groups."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.errors import check_integer
from gae_metric.functional.baseline import MaskValue, mask_baseline
from gae_metric.functional.masking import (
    MAX_STEPS,
    Features,
    Schedule,
    Trajectory,
    check_choices,
    masking_trajectory,
    target_impact,
)
from gae_metric.study import cache, fingerprint
from gae_metric.study.arguments import Data
from gae_metric.study.conversion import sent
from gae_metric.study.guard import ModelGuard

#: Features that are masked at a time on a CPU, where more take memory (about 100 bytes each) and
#: save no time.
_AT_A_TIME = 2**20

#: Fields of a trajectory whose first axis is the order, and the second the sample.
_BOTH = frozenset({"masked_from", "outputs", "repeated"})


@dataclass(frozen=True)
class Masking:
    """How features are masked; see :func:`gae_metric.functional.masking_trajectory`."""

    steps: int = 10
    schedule: Schedule = "reranked"
    mask_value: MaskValue = 0.0
    features: Features = "entries"

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, 2, MAX_STEPS)
        check_choices(self.schedule, self.features)
        if isinstance(self.mask_value, str) and self.mask_value in ("mean", "blur"):
            return
        shape = np.shape(self.mask_value) or (1,)
        mask_baseline(torch.empty((1, *shape)), self.mask_value)


class Trajectories:
    """What the model does with samples, whatever explains it.

    Parameters
    ----------
    data
        The model and the samples.
    masking
        How features are masked.
    guard
        What is known of the model.
    """

    def __init__(self, data: Data, masking: Masking, guard: ModelGuard) -> None:
        self.data = data
        self._guard = guard
        self.masking = masking
        # Both orders of a sample run together, so that as many rows as asked for do.
        group = data.batch_size // 2
        if data.device.type == "cpu":
            group = min(group, _AT_A_TIME // data.x.shape[1:].numel())
        self._group = data.chunks("masking", max(1, group))
        #: Inputs that the model evaluates at a time.
        self.batch = data.chunks("the model")
        self._loaded: dict[int, Trajectory] = {}
        outputs = data.model.logits_at, data.model.call_kwargs
        self._outputs_of = fingerprint.of_setting(outputs)
        self._trajectories_of = fingerprint.of_setting((*outputs, *vars(masking).values()))
        #: Kinds of entries of which one has been compared: logits say nothing of gradients.
        self._compared: set[type] = set()
        self._user = object()

    def expect(self, targets: Tensor, samples: NDArray[np.int64]) -> None:
        """Take the class of every sample, (N,), and the samples to load, in order."""
        self._targets, self._ahead = targets.numpy(), samples

    def load(self, samples: NDArray[np.int64]) -> list[Trajectory]:
        """Return the trajectories of samples; groups are filled up with those that come next."""
        missing = [i for i in samples.tolist() if i not in self._loaded]
        if missing:
            later = self._ahead[self._ahead > missing[-1]].tolist()
            wanted = [*missing, *later[: max(0, self._group.value - len(missing))]]
            for i in wanted:
                entry = self._shared(i, self._trajectories_of)
                if isinstance(entry, Trajectory):
                    self._loaded[i] = entry
            rest = [i for i in wanted if i not in self._loaded]
            for part, entries in self._group.each(rest, self._trajectories):
                for i, entry in zip(part, entries, strict=True):
                    self._loaded[i] = entry
                    self._share(i, self._trajectories_of, entry)
                    self._share(i, self._outputs_of, entry.logits[0])
        return [self._loaded[i] for i in samples.tolist()]

    def forget(self, before: int) -> None:
        """Let go of samples with a lower index."""
        for i in [i for i in self._loaded if i < before]:
            del self._loaded[i]

    def _trajectories(self, samples: list[int]) -> list[Trajectory]:
        x = self.data.inputs(np.asarray(samples))
        found = masking_trajectory(
            self.data.model,
            x,
            sent(self._targets[samples], x.device),
            steps=self.masking.steps,
            schedule=self.masking.schedule,
            baseline=mask_baseline(x, self.masking.mask_value),
            features=self.masking.features,
        )
        # Copies, or else an entry would keep its whole group in memory.
        by_field = [
            [one.clone() for one in torch.split(values.cpu(), 1, int(name in _BOTH))]
            for name, values in vars(found).items()
            if values is not None
        ]
        return [Trajectory(*fields) for fields in zip(*by_field, strict=True)]

    def logits(self, samples: NDArray[np.int64]) -> Tensor:
        """Return the model's outputs for samples, (n, K), on the CPU: one forward pass each."""
        shared = [self._shared(i, self._outputs_of) for i in samples.tolist()]
        found = [entry if isinstance(entry, Tensor) else None for entry in shared]
        missing = np.array([i for i, entry in enumerate(found) if entry is None], dtype=int)

        def forward(places: NDArray[np.int64]) -> Tensor:
            return self.data.logits(self.data.inputs(samples[places]))

        for part, rows in self.batch.each(missing, forward):
            for place, row in zip(part.tolist(), rows, strict=True):
                found[place] = row.clone()
                self._share(int(samples[place]), self._outputs_of, row.clone())
        return torch.stack([entry for entry in found if entry is not None])

    def _key(self, i: int, setting: Hashable | None) -> Hashable | None:
        """Return what a sample's entry is found by; None for one that must not be shared."""
        if self._guard.state is None or setting is None:
            return None
        target = None if setting == self._outputs_of else int(self._targets[i])
        return self._guard.state, setting, self.data.digests[i], target

    def _shared(self, i: int, setting: Hashable | None) -> Trajectory | Tensor | None:
        """Return a sample's entry; the first of its kind only if the model still gives it."""
        if (key := self._key(i, setting)) is None:
            return None
        entry = cache.SHARED.get(self.data.model.wrapped_model, key, self._user)
        if entry is not None and type(entry) not in self._compared:
            self._compared.add(type(entry))
            if not self._as_now(i, entry):
                self._guard.distrust(
                    "model: it has changed since the last call, by something that cannot be seen "
                    "on it; trajectories are computed anew",
                    shares=True,
                )
                return None
        return entry

    def _as_now(self, i: int, entry: Trajectory | Tensor) -> bool:
        """Whether the model's outputs for a sample, and their gradient, are those of an entry."""
        x = self.data.inputs(np.array([i]))
        if isinstance(entry, Tensor):
            return self._guard.alike(entry[None], self.data.logits(x))
        baseline = mask_baseline(x, self.masking.mask_value).expand_as(x)
        target = sent(entry.targets, x.device)
        now, _, impact = target_impact(self.data.model, x, target, baseline, self.masking.features)
        if not self._guard.alike(entry.logits, now.cpu()):
            return False
        first = entry.first_impact.to(entry.logits.dtype)
        return self._guard.alike(first, impact.sum(1).cpu().to(first.dtype))

    def _share(self, i: int, setting: Hashable | None, entry: Trajectory | Tensor) -> None:
        if (key := self._key(i, setting)) is not None:
            cache.SHARED.put(self.data.model.wrapped_model, key, entry, self._user)
