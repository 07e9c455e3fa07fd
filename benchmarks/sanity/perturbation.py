"""Perturbations of images and networks, with MetaQuantus's strengths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from quantus.helpers.model.pytorch_model import PyTorchModel

from benchmarks.metrics.seeding import seeded
from benchmarks.sanity.case import Case
from benchmarks.sanity.consistency import Kind


@dataclass(frozen=True)
class Perturbation:
    """Noise on the images or on the parameters of a network.

    Attributes
    ----------
    place
        ``"input"``: uniform noise in [-strength, strength], the result cut off at the images' own
        range. ``"model"``: every parameter is multiplied by normal noise of mean 1 and standard
        deviation strength (``sample`` of Quantus's model).
    kind
        Whether it is meant to be minor or disruptive.
    strength
        See ``place``.
    """

    place: Literal["input", "model"]
    kind: Kind
    strength: float

    def __call__(self, case: Case, number: int) -> Case:
        """Return the case perturbed; the targets stay.

        Parameters
        ----------
        case
            It is left as it is.
        number
            Number of the perturbation, which with the case's seed decides the noise.
        """
        if self.place == "input":
            rng = np.random.default_rng([case.settings.seed, number])
            noise = rng.uniform(-self.strength, self.strength, case.x.shape)
            x = np.clip(case.x + noise, case.x.min(), case.x.max())
            return replace(case, x=x.astype(case.x.dtype))
        wrapped = PyTorchModel(case.model, channel_first=True, softmax=False)
        with seeded(case.settings.seed, number):  # Quantus draws from the global generator
            model = wrapped.sample(mean=1.0, std=self.strength, noise_type="multiplicative")
        return replace(case, model=model.eval())


PERTURBATIONS = (
    Perturbation("input", "resilience", 0.001),
    Perturbation("input", "reactivity", 5.0),
    Perturbation("model", "resilience", 0.001),
    Perturbation("model", "reactivity", 2.0),
)
"""The four tests of the paper, with the strengths of its experiments."""
