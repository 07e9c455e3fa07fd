"""Gaussian noise for Quantus's perturbation metrics that depends on nothing but seed and sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gae_metric.functional.draws import content_generator


class SeededNoise:
    """Add Gaussian noise, as ``quantus.functions.perturb_func.batch_gaussian_noise`` does.

    That function draws from NumPy's global generator. Here a sample meets the same noise in every
    method, run, batch and order: the k-th time it comes, it gets the k-th noise of its content and
    the seed, and begins anew after ``period`` times.

    Parameters
    ----------
    seed
        Non-negative seed.
    period
        Number of perturbations of each sample (``nr_samples`` of the metric).

    Examples
    --------
    >>> noise = SeededNoise(seed=0, period=2)
    >>> x = np.zeros((2, 3))
    >>> first, second, again = (noise(x, np.arange(3)[None].repeat(2, 0)) for _ in range(3))
    >>> bool((first == again).all()), bool((first == second).any())
    (True, False)
    """

    def __init__(self, seed: int, period: int) -> None:
        self.seed = seed
        self.period = period
        self._met: dict[int, int] = {}

    def __call__(
        self,
        arr: NDArray[Any],
        indices: NDArray[Any],
        perturb_mean: float = 0.0,
        perturb_std: float = 0.01,
        **kwargs: Any,
    ) -> NDArray[Any]:
        """Return samples (B, D) with noise at the indices (B, n), as Quantus asks for."""
        perturbed = np.array(arr)
        met = dict(self._met)  # equal samples of one batch meet the same noise
        for i, sample in enumerate(arr):
            content = hash(np.ascontiguousarray(sample).tobytes())
            k = met.get(content, 0) % self.period
            self._met[content] = k + 1
            draw = content_generator(sample, self.seed, k)
            noise = draw.normal(perturb_mean, perturb_std, size=sample.shape)
            perturbed[i, indices[i]] += noise[indices[i]].astype(perturbed.dtype)
        return perturbed
