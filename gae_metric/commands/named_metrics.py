"""Metrics by name, as the commands and the runs build and call them.

>>> list(METRICS)
['GAE', 'LC', 'C', 'ROAD', 'LocalLipschitz', 'Focus']
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from torch import nn

from gae_metric.companions import ROAD, Focus, SeededNoise
from gae_metric.explainers.gradients import ExplainFunc
from gae_metric.functional import positive_map
from gae_metric.metrics import GAE, Contrastiveness, LocalConsistency


@dataclass(frozen=True)
class Settings:
    """What scores depend on besides model, images, methods and metrics."""

    #: Seed of mosaics and noise.
    seed: int = 0
    #: Perturbations of each image in LocalLipschitz.
    lipschitz_samples: int = 10
    #: Percentages of pixels that ROAD removes, most relevant first.
    road_percentages: tuple[float, ...] = (10, 20, 30, 40, 50, 60, 70, 80, 90)
    #: Images that the model evaluates at a time. Does not change scores.
    batch_size: int = 32
    #: Options of the metrics that mask, and of those that make mosaics.
    masking: Mapping[str, Any] = field(default_factory=dict)
    mosaicking: Mapping[str, Any] = field(default_factory=dict)


def heat_map(a: NDArray[Any]) -> NDArray[Any]:
    """Return the positive part of maps (N, C, H, W) summed over channels, scaled to maximum 1.

    What LocalLipschitz compares, (N, 1, H, W): a random map then scores as in the paper.

    Examples
    --------
    >>> heat_map(np.array([[[[2.0, -1.0]], [[2.0, 0.0]]]]))
    array([[[[1., 0.]]]])
    """
    return positive_map(torch.as_tensor(a).sum(1, keepdim=True)).numpy()


class LocalLipschitz(quantus.LocalLipschitzEstimate):  # type: ignore[misc]
    """Quantus's estimate of the local Lipschitz constant, for a sample whatever its batch.

    Of maps :func:`heat_map` is compared; noise depends on the sample and the seed alone. The
    largest estimate counts, of those whose perturbed image is predicted as the sample is. A
    constant map scores 0, as in the paper, and one that is not finite NaN.

    Parameters
    ----------
    seed
        Of the noise.
    samples
        Perturbations of each image.
    """

    def __init__(self, seed: int = 0, samples: int = 10) -> None:
        noise = SeededNoise(seed, samples)
        super().__init__(
            nr_samples=samples, normalise_func=heat_map, perturb_func=noise, disable_warnings=True
        )
        self.max_func = np.fmax.reduce  # which warns of none

    def explain_batch(self, model: Any, x_batch: NDArray[Any], y_batch: NDArray[Any]) -> Any:
        """Explain; Quantus itself refuses constant maps."""
        model = model.get_model() if hasattr(model, "get_model") else model
        given = {"model": model, "inputs": x_batch, "targets": y_batch}
        return heat_map(self.explain_func(**given, **self.explain_func_kwargs))


METRICS: dict[str, Callable[[Settings], Any]] = {
    "GAE": lambda s: GAE(**{"seed": s.seed, **s.masking, **s.mosaicking}),
    "LC": lambda s: LocalConsistency(**s.masking),
    "C": lambda s: Contrastiveness(**{"seed": s.seed, **s.mosaicking}),
    "ROAD": lambda s: ROAD(order="morf", percentages=s.road_percentages, seed=s.seed),
    "LocalLipschitz": lambda s: LocalLipschitz(s.seed, s.lipschitz_samples),
    "Focus": lambda s: Focus(seed=s.seed),
}
"""How a metric is built, by the names of tables and ``--metrics``, in the order of the tables."""


def scored(
    metric: Any,
    model: nn.Module,
    x: NDArray[Any],
    targets: NDArray[Any],
    explain: ExplainFunc,
    maps: Any,
    batch_size: int,
    device: str | None = None,
) -> NDArray[np.float64]:
    """Return a metric's scores of samples, with their maps if there are some."""
    scores = metric(
        model=model,
        x_batch=x,
        y_batch=targets,
        a_batch=maps,
        explain_func=explain,
        explain_func_kwargs={"batch_size": batch_size},
        batch_size=batch_size,
        device=device,
    )
    return np.asarray(scores, dtype=np.float64)
