"""Quantus's own metrics by name: what they are called with, and which of them cannot work here.

Each gives one number for a sample. Where Quantus gives more, the number is the one that it has an
option or a property for: the area under a curve (``PixelFlipping``, ``RegionPerturbation``,
``Selectivity``), the average over layers (``MPRT``).

>>> "ROAD_MoRF" in REFUSED["ROAD"], "Sparseness" in REFUSED
(True, False)
"""

import functools
import inspect
from typing import Any

import numpy as np
import quantus
from scipy.stats import spearmanr

from benchmarks.metrics.metric_call import Array, Call, Columns, Floats
from gae_metric.errors import InputError
from gae_metric.explainers.captum import seeded
from gae_metric.study.logits import predictions

LOCALISATION = frozenset(
    {"PointingGame", "TopKIntersection", "RelevanceMassAccuracy", "RelevanceRankAccuracy"}
    | {"AttributionLocalisation", "AUC"}
)
"""Metrics that compare a map with the mask of the class that it explains."""

#: One value for each step; its area is what Quantus's ``get_auc_score`` averages.
_CURVES = frozenset({"PixelFlipping", "RegionPerturbation", "Selectivity"})

_ALONE = "it compares samples with one another, and a run scores each by itself"
#: Why some of Quantus's metrics cannot work in a run.
REFUSED = {
    "ROAD": "Quantus 0.6.0 fails on images of several channels (IndexError); ours are ROAD_MoRF "
    "and ROAD_LeRF",
    "Focus": "it takes mosaics that are made beforehand; ours, Focus, makes them",
    "InputInvariance": "Quantus 0.6.0 shifts the bias of the model's first module, which has to be "
    "a convolution with a bias, and of most models it is a container of others (AttributeError)",
    "SmoothMPRT": "Quantus 0.6.0 does not pass the method on, and explains by a gradient of its "
    "own instead; MPRT and EfficientMPRT do",
    "Consistency": _ALONE,
    "Sufficiency": _ALONE,
    "SensitivityN": _ALONE,
    "IROF": "Quantus 0.6.0 fails on images of several channels (AssertionError) and with NumPy 2.4",
}


def _spearman(a: Array, b: Array, batched: bool = False, **kwargs: Any) -> Floats:
    """Return the rank correlations of rows, NaN for constant ones, at which Quantus's own fails."""
    return np.array([spearmanr(one, other)[0] for one, other in zip(a, b, strict=True)])


#: Defaults where Quantus's own fail, or give more than a number.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "MPRT": {"return_average_correlation": True, "similarity_func": _spearman},
    "MonotonicityCorrelation": {"similarity_func": _spearman},
    "RandomLogit": {"num_classes": None},  # the model's
}


@functools.cache
def quantus_metrics() -> dict[str, Any]:
    """Return Quantus's metrics by the names of their classes."""
    groups = quantus.AVAILABLE_METRICS.values()
    return {metric.__name__: metric for group in groups for metric in group.values()}


def quantus_options(name: str) -> dict[str, Any]:
    """Return the options of one of Quantus's metrics, and their defaults."""
    parameters = inspect.signature(quantus_metrics()[name].__init__).parameters
    return {
        option: parameter.default
        for option, parameter in parameters.items()
        if option not in ("self", "kwargs", "disable_warnings")
    } | _DEFAULTS.get(name, {})


def score_by_quantus(name: str, call: Call, **options: Any) -> Columns:
    """Score samples one by one, each with generators of its own: nothing else is independent.

    Maps that were made with others would differ by rounding, which a metric that compares them with
    maps of its own, made alone, may enlarge a thousandfold.
    """
    settings = {**_DEFAULTS.get(name, {}), **options}
    # The area is taken here: Quantus's own calls np.trapz, which NumPy 2.4 has no more.
    settings.pop("return_auc_per_sample", None)
    if settings.get("num_classes", 0) is None:
        settings["num_classes"] = predictions(call.model, call.own[:1]).shape[1]
    maps, masks = call.maps_alone, None
    if name in LOCALISATION:
        masks = call.class_masks
        # One value for each pixel, as the mask has; ROAD sums over channels, too.
        maps = maps.sum(axis=1, keepdims=True)
    scores = np.full(len(call.classes), np.nan)
    for row, sample in enumerate(call.block.samples.tolist()):
        if masks is not None and not masks[row].any():
            continue  # the class is not in the image; PointingGame would call it a hit
        metric = quantus_metrics()[name](disable_warnings=True, **settings)
        with seeded(key_seed(call.seed, sample)):
            found = metric(
                model=call.model,
                x_batch=call.own[row : row + 1],
                y_batch=call.classes[row : row + 1],
                a_batch=maps[row : row + 1],
                s_batch=None if masks is None else masks[row : row + 1],
                explain_func=call.explain,
                explain_func_kwargs={"batch_size": call.batch_size},
                device=str(next(call.model.parameters()).device),
                channel_first=True,
            )
        scores[row] = _number(name, found)
    return {f"quantus:{name}": scores}


def key_seed(*key: int) -> int:
    """Return a seed of 32 bits that some integers decide."""
    return int(np.random.SeedSequence(list(key)).generate_state(1)[0])


def _number(name: str, found: Any) -> float:
    """Take the one number of a sample out of what Quantus returns."""
    try:
        (value,) = found
        if name in _CURVES and np.ndim(value) == 1:
            steps = np.asarray(value, dtype=np.float64)
            value = (steps[1:] + steps[:-1]).sum() / 2
        return float(value)
    except (TypeError, ValueError):
        got = f"got a {type(found).__name__}"
        raise InputError(f"quantus:{name}: expected one number for a sample, {got}") from None
