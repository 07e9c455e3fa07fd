"""LocalLipschitz for any map, also a constant one, which Quantus's checks refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import quantus
from numpy.typing import NDArray

from gae_metric.commands.quantus_evaluation import heat_map
from gae_metric.companions.noise import SeededNoise


class LocalLipschitz(quantus.LocalLipschitzEstimate):  # type: ignore[misc]
    """Quantus's estimate of the local Lipschitz constant, for a sample whatever its batch.

    Of a map the positive part counts, summed over channels and divided by its own largest value;
    noise depends on the sample and the seed alone. A constant map scores 0, as in the paper, and
    one that is not finite NaN.

    Parameters
    ----------
    seed
        Of the noise.
    samples
        Perturbations of each image.
    """

    def __init__(self, seed: int = 0, samples: int = 10) -> None:
        super().__init__(
            nr_samples=samples,
            perturb_func=SeededNoise(seed, samples),
            disable_warnings=True,
        )
        self.max_func = _largest

    def explain_batch(
        self, model: Any, x_batch: NDArray[Any], y_batch: NDArray[Any]
    ) -> NDArray[Any]:
        """Explain, and normalise each map by itself."""
        maps = self.explain_func(
            model=model.get_model() if hasattr(model, "get_model") else model,
            inputs=x_batch,
            targets=y_batch,
            **self.explain_func_kwargs,
        )
        return heat_map(maps)


def _largest(estimates: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the largest estimate that there is, NaN where there is none, without a warning."""
    largest: NDArray[Any] = np.fmax.reduce(estimates, axis=axis)
    return largest
