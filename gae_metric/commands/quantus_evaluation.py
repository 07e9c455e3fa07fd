"""Several methods and metrics in one ``quantus.evaluate``: what the commands run.

>>> from gae_metric.commands.quantus_evaluation import METRICS
>>> list(METRICS)
['GAE', 'LocalConsistency', 'Contrastiveness', 'ROAD', 'LocalLipschitz', 'Focus']
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from torch import nn

from gae_metric._names import lookup
from gae_metric.companions import ROAD, Focus
from gae_metric.companions.noise import SeededNoise
from gae_metric.comparison.direction import DIRECTIONS
from gae_metric.comparison.results import Failure, Results
from gae_metric.errors import EvaluationError, InputError
from gae_metric.explainers.gradients import ExplainFunc, explainer
from gae_metric.functional import positive_map
from gae_metric.metrics.contrastiveness import Contrastiveness
from gae_metric.metrics.gae import GAE
from gae_metric.metrics.local_consistency import LocalConsistency

__all__ = ["METRICS", "Settings", "evaluate", "predictions"]

Progress = Callable[[str, int, int], None]


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


def heat_map(a: NDArray[Any]) -> NDArray[Any]:
    """Return the positive part of maps (N, C, H, W) summed over channels, scaled to maximum 1.

    What LocalLipschitz compares, (N, 1, H, W): a random map then scores as in the paper.

    Examples
    --------
    >>> heat_map(np.array([[[[2.0, -1.0]], [[2.0, 0.0]]]]))
    array([[[[1., 0.]]]])
    """
    return positive_map(torch.as_tensor(a).sum(1, keepdim=True)).numpy()


def _local_lipschitz(settings: Settings) -> Any:
    # Quantus's metric with options of its own, so that a score depends neither on the other images
    # of the batch nor on NumPy's global generator.
    return quantus.LocalLipschitzEstimate(
        nr_samples=settings.lipschitz_samples,
        normalise_func=heat_map,
        perturb_func=SeededNoise(settings.seed, settings.lipschitz_samples),
        disable_warnings=True,
    )


METRICS: dict[str, Callable[[Settings], Any]] = {
    "GAE": lambda settings: GAE(seed=settings.seed),
    "LocalConsistency": lambda settings: LocalConsistency(),
    "Contrastiveness": lambda settings: Contrastiveness(seed=settings.seed),
    "ROAD": lambda settings: ROAD(
        order="morf", percentages=settings.road_percentages, seed=settings.seed
    ),
    "LocalLipschitz": _local_lipschitz,
    "Focus": lambda settings: Focus(seed=settings.seed),
}
"""How a metric is built, by the names of tables and ``--metrics``, in the order of the tables."""

#: Columns of GAE's components that are other metrics' scores.
_PARTS = {"LocalConsistency": "local_consistency", "Contrastiveness": "contrastiveness"}


def predictions(model: nn.Module, x: NDArray[Any], batch_size: int = 32) -> NDArray[Any]:
    """Return the model's logits (N, classes) for images (N, C, H, W).

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    >>> predictions(model, np.zeros((3, 3, 2, 2), dtype=np.float32)).shape
    (3, 2)
    """
    weights = next(model.parameters())
    rows = []
    with torch.no_grad():
        for start in range(0, len(x), batch_size):
            chunk = torch.as_tensor(x[start : start + batch_size])
            rows.append(model(chunk.to(weights.device, weights.dtype)).float().cpu().numpy())
    logits: NDArray[Any] = np.concatenate(rows)
    return logits


def evaluate(
    model: nn.Module,
    x: NDArray[Any],
    targets: NDArray[np.int64],
    methods: Sequence[str],
    metrics: Sequence[str] | None = None,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Results:
    """Evaluate methods with metrics, all in one ``quantus.evaluate``.

    Parameters
    ----------
    model
        Classifier in evaluation mode.
    x
        Images (N, C, H, W), prepared for the model.
    targets
        Classes (N,) that are explained.
    methods
        Names, see :func:`gae_metric.explainers.gradients.explainer`.
    metrics
        Keys of :data:`METRICS`, in any case of letters; by default all.
    settings
        Seeds and sizes.
    progress
        Called with what is being computed, and the numbers of cells done and wanted.

    Returns
    -------
    Results
        A method that fails, or does not apply to the model, is left out and is in ``failures``; a
        metric that fails gives NaN and is there too. LocalConsistency and Contrastiveness are taken
        from GAE's parts where GAE is computed: the same numbers at half the cost, and their time is
        GAE's.

    Raises
    ------
    InputError
        If a name is unknown, or there are no methods.
    EvaluationError
        If every method failed; its cause is the first one's error.
    """
    settings = settings or Settings()
    functions = dict(explainer(name) for name in methods)
    if not functions:
        raise InputError("methods: expected at least one method, got none")
    asked = {lookup("metrics", name, METRICS)[0] for name in metrics or METRICS}
    kinds = [name for name in METRICS if name in asked]
    results = Results(
        methods=tuple(functions),
        metrics={name: DIRECTIONS[name] for name in kinds},
        targets=np.asarray(targets, dtype=np.int64),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pending = _usable(functions, model, x, results)
        results.methods = tuple(pending)
        watch = _Watch(results, settings, progress, len(pending) * len(kinds), caught)
        while pending:
            try:
                _run(model, x, pending, kinds, watch, results)
            except Exception as error:  # noqa: PERF203 - once a method
                # A method failed on the images themselves, so that Quantus gave up. The methods
                # before it are done; go on with those after it.
                failed = next(
                    m for m in pending if not any((m, k) in results.scores for k in kinds)
                )
                results.failures.append(Failure(failed, None, error))
                names = list(pending)
                pending = {m: pending[m] for m in names[names.index(failed) + 1 :]}
            else:
                break
    results.methods = tuple(m for m in functions if any((m, k) in results.scores for k in kinds))
    if not results.methods:
        first = results.failures[0]
        raise EvaluationError(f"no method could be evaluated: {first}") from first.error
    return results


def _usable(
    functions: Mapping[str, ExplainFunc], model: nn.Module, x: NDArray[Any], results: Results
) -> dict[str, ExplainFunc]:
    """Try each method on one image, so that what cannot work is known before the work begins."""
    usable = {}
    for name, function in functions.items():
        try:
            function(model=model, inputs=x[:1], targets=results.targets[:1])
        except Exception as error:  # noqa: PERF203 - once a method
            results.failures.append(Failure(name, None, error))
        else:
            usable[name] = function
    return usable


def _run(
    model: nn.Module,
    x: NDArray[Any],
    functions: Mapping[str, ExplainFunc],
    kinds: Sequence[str],
    watch: _Watch,
    results: Results,
) -> None:
    """Call ``quantus.evaluate``."""
    quantus.evaluate(
        metrics={name: watch.metric(name) for name in kinds},
        xai_methods=dict(functions),
        model=model,
        x_batch=x,
        y_batch=results.targets,
        # Not the place for a method's own options: Quantus passes them to every method.
        explain_func_kwargs={"batch_size": watch.settings.batch_size},
        call_kwargs={
            "call": {
                "batch_size": watch.settings.batch_size,
                "device": str(next(model.parameters()).device),
            }
        },
    )


class _Watch:
    """Stands between Quantus and the metrics: keeps scores, time, warnings and real errors."""

    def __init__(
        self,
        results: Results,
        settings: Settings,
        progress: Progress | None,
        cells: int,
        caught: list[warnings.WarningMessage],
    ) -> None:
        self.results = results
        self.settings = settings
        self._progress = progress or (lambda what, done, wanted: None)
        self._cells = cells
        self._caught = caught

    def metric(self, name: str) -> Callable[..., list[float]]:
        """Return what ``quantus.evaluate`` calls as the metric."""

        def call(**kwargs: Any) -> list[float]:
            method: str = kwargs["explain_func_kwargs"]["method"]
            done = len(self.results.scores)
            self._progress(f"{method}, {name}", done, self._cells)
            self._caught.clear()
            start = time.perf_counter()
            try:
                scores = self._scores(method, name, kwargs)
            except Exception as error:
                # Quantus would print it and go on to a KeyError.
                self.results.failures.append(Failure(method, name, error))
                scores = np.full(len(self.results.targets), np.nan)
            self.results.seconds[method, name] = time.perf_counter() - start
            self.results.scores[method, name] = scores
            for warning in self._caught:
                if issubclass(warning.category, RuntimeWarning):
                    source = self.results.notes.setdefault(str(warning.message), [])
                    if (cell := f"{method}, {name}") not in source:
                        source.append(cell)
            self._progress(f"{method}, {name}", done + 1, self._cells)
            return [float(score) for score in scores]

        return call

    def _scores(self, method: str, name: str, kwargs: dict[str, Any]) -> NDArray[np.float64]:
        results = self.results
        if (
            name in _PARTS
            and method in results.curves
            and _PARTS[name] in results.components[method]
        ):
            parts: NDArray[np.float64] = results.components[method][_PARTS[name]].to_numpy()
            return parts
        # A new metric each time: it must not remember the method before.
        metric = METRICS[name](self.settings)
        scores = np.asarray(metric(**kwargs), dtype=np.float64)
        if isinstance(metric, (GAE, LocalConsistency)):
            results.components[method] = metric.components
            results.curves[method] = metric.curves
        if isinstance(metric, (GAE, Contrastiveness)):
            assert metric.mosaic_indices is not None
            assert metric.mosaic_positive is not None
            results.mosaics = metric.mosaic_indices[:, 0], metric.mosaic_positive[:, 0]
        return scores
