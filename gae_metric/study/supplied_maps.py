"""What callers give: maps, an explain_func, or both; and whether that is enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from quantus.helpers import constants
from torch import Tensor

from gae_metric.study.arguments import Data
from gae_metric.study.explaining import Explainer
from gae_metric.study.study import Study

#: How far two runs of one explainer may differ, relative to the map's maximum.
_SAME = 1e-2


def explain_options(
    explain_func: Callable[..., Any] | None,
    kwargs: Mapping[str, Any] | None,
    data: Data,
    device: Any,
) -> dict[str, Any]:
    """Return keyword arguments for explain_func, leaving the caller's as they are."""
    options = dict(kwargs or {})
    if device is not None:
        options.setdefault("device", device)
    elif explain_func is quantus.explain and data.device.type != "cpu":
        # It puts inputs on the CPU otherwise, wherever the model is.
        options.setdefault("device", data.device)
    return options


def check_given_maps(
    metric: str,
    explain_func: Callable[..., Any] | None,
    options: Mapping[str, Any],
    data: Data,
    given: Tensor | None,
    *,
    enough: bool,
    quiet: bool,
) -> tuple[Tensor | None, bool]:
    """Decide whether given maps may stand for those of an explainer.

    ``quantus.evaluate`` passes ``quantus.explain`` for methods that were given as arrays, with the
    method's name. That name tells it where quantus has no such method. Where it has, the map of one
    sample is explained again: it must be the given one, unless the explainer is random.

    Parameters
    ----------
    metric
        Its name.
    explain_func, options
        The explainer and its keyword arguments.
    data
        The model and the samples.
    given
        Maps of the samples.
    enough
        Whether the metric needs no maps but those.
    quiet
        Whether not to warn.

    Returns
    -------
    tuple
        ``given``, or None where explain_func is to be asked instead; and whether explain_func
        cannot be asked for others.

    Raises
    ------
    ValueError
        If ``explain_func`` is needed and missing, not callable, or not what made ``given``.

    Warns
    -----
    RuntimeWarning
        If ``given`` are plain gradients in the place of another method's maps, which is what
        ``quantus.evaluate`` (0.6.0) computes for a dictionary without ``method``.
    """
    if explain_func is not None and not callable(explain_func):
        raise ValueError(f"explain_func: expected a callable, got {type(explain_func).__name__}")
    reason = _unusable(explain_func, options)
    if given is None:
        if reason is not None:
            raise ValueError(f"explain_func: {metric} needs a function that explains; {reason}")
        return None, False
    if reason is None and explain_func is quantus.explain:
        origin = _origin(options, data, given)
        if origin == "gradient":
            method = options["method"]
            if not quiet:
                warnings.warn(
                    f"a_batch: {metric} explains x_batch again with method {method!r}: a_batch "
                    "holds plain gradients, which quantus.evaluate computes if the method's "
                    f"dictionary has no 'method': {method!r}",
                    RuntimeWarning,
                    stacklevel=3,
                )
            return None, False
        if origin == "other":
            reason = (
                "they are not the maps that quantus.explain gives with method "
                f"{options.get('method', 'Gradient')!r}"
            )
    if reason is None or enough:
        return given, reason is not None
    raise ValueError(
        f"a_batch: {metric} cannot be computed from maps of x_batch alone, as it also needs maps "
        f"of inputs that are made from it, and {reason}. Pass the function that made the maps as "
        "explain_func (in quantus.evaluate, as the method's value; a dictionary must have the name "
        "of quantus.explain's method), or, for maps made by another tool, have it explain a probe "
        "set: gae_metric.ProbeSet, or `gae-metric probe` and `gae-metric score`. "
        "LocalFaithfulness needs no more than a_batch"
    )


def maps_of_classes(
    metric: str, given: Tensor | None, study: Study, *, alone: bool, quiet: bool
) -> Tensor | None:
    """Decide whether given maps are of the classes that are explained.

    ``quantus.evaluate`` passes maps of ``y_batch``, whatever the metric explains.

    Parameters
    ----------
    metric
        Its name.
    given
        Maps of the samples.
    study
        What is explained.
    alone
        Whether there is nothing that could explain other classes.
    quiet
        Whether not to warn.

    Returns
    -------
    Tensor or None
        ``given``; None where explain_func is to be asked instead.

    Warns
    -----
    RuntimeWarning
        If the maps stand alone, so that they must be taken for those of the classes explained.
    """
    y = study.data.y
    if given is None or y is None:
        return given
    scored = torch.as_tensor(study.samples[~study.bad_input])
    others = int((study.targets[scored] != y[scored]).sum())
    if others and not alone:
        return None
    if others and not quiet:
        warnings.warn(
            f"a_batch: {metric} explains predicted classes, which are not those of y_batch for "
            f"{others} samples; the maps are taken to be of the predicted ones",
            RuntimeWarning,
            stacklevel=3,
        )
    return given


def _unusable(explain_func: Callable[..., Any] | None, options: Mapping[str, Any]) -> str | None:
    """Say why an explain_func cannot explain anything, or return None."""
    if explain_func is None:
        return "no explain_func was given"
    method = options.get("method")
    if explain_func is not quantus.explain or method is None or options.get("xai_lib") == "zennit":
        return None
    known = {*constants.AVAILABLE_XAI_METHODS_CAPTUM, *constants.DEPRECATED_XAI_METHODS_CAPTUM}
    return None if method in known else f"quantus.explain has no method {method!r}"


def _origin(
    options: Mapping[str, Any], data: Data, given: Tensor
) -> Literal["explainer", "gradient", "other"]:
    """Tell where maps come from that are said to be those of ``quantus.explain``."""
    usable = np.flatnonzero(data.finite)
    if len(usable) == 0 or data.y is None:
        return "explainer"
    first = usable[:1]
    x, target = data.inputs(first), data.y[first].to(data.device)
    theirs = given[torch.as_tensor(first, device=given.device)].to(data.device)
    explainer = Explainer(quantus.explain, options, data.model.model)
    ours = explainer(x, target)
    if _same(ours, theirs) or not _same(ours, explainer(x, target)):
        return "explainer"
    if options.get("method", "Gradient") != "Gradient":
        gradient = Explainer(quantus.explain, {**options, "method": "Gradient"}, data.model.model)
        if _same(gradient(x, target), theirs):
            return "gradient"
    return "other"


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    return bool((a - b).abs().max() <= _SAME * torch.maximum(a.abs().max(), b.abs().max()))


def normalised(maps: Tensor, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Tensor:
    """Apply Quantus's ``normalise_func`` to each map on its own.

    Maps that are not finite are left for the scores to be NaN.
    """
    arrays = maps.cpu().numpy()
    result = [
        function(arrays[i : i + 1]) if np.isfinite(arrays[i]).all() else arrays[i : i + 1]
        for i in range(len(arrays))
    ]
    return torch.as_tensor(np.concatenate(result)).to(maps)
