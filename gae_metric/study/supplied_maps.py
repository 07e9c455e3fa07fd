"""What callers give: maps, an explain_func, or both; and whether that is enough."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from quantus.helpers import constants
from torch import Tensor, nn

from gae_metric.errors import check_spelling
from gae_metric.study.arguments import Data, is_keywords
from gae_metric.study.conversion import sent
from gae_metric.study.explaining import Explainer
from gae_metric.study.samples import Samples
from gae_metric.study.study import Study

#: How far two runs of one explainer may differ, relative to the map's maximum.
_SAME = 1e-2
#: How much farther the given map may be than one that differs by chance and rounding alone.
_ROOM = 10
#: What a map is scaled by at least.
_TINY = torch.finfo(torch.float32).tiny
#: What an explain_func gets from a metric.
_OURS = frozenset({"model", "inputs", "targets"})


def explain_options(
    explain_func: Any, kwargs: Mapping[str, Any] | None, data: Data, device: Any
) -> dict[str, Any]:
    """Return keyword arguments for explain_func, leaving the caller's as they are.

    Raises
    ------
    ValueError
        If they are no mapping from names, give what the metric itself gives, or nearly have the
        name of one that the function has; or if the function takes other arguments than these and
        model, inputs and targets.
    """
    given = {} if kwargs is None else kwargs
    if not is_keywords(given) or not _OURS.isdisjoint(given):
        keyed = isinstance(given, Mapping)
        got = ", ".join(sorted(map(str, given))) if keyed else type(given).__name__
        raise ValueError(
            "explain_func_kwargs: expected a mapping from names, without model, inputs and "
            f"targets, which the metric gives, got {got}"
        )
    for name, value in given.items():
        shape, count = tuple(getattr(value, "shape", ())), len(data.x)
        if count > 1 and len(shape) == data.x.ndim and shape[0] == count:
            raise ValueError(
                f"explain_func_kwargs: expected what serves any input, got {name!r} with a row for "
                f"each of {count} samples; metrics explain inputs that they make, some at a time: "
                "give one row for all, or have explain_func make them of its inputs"
            )
    if "output" in given and data.model.logits_at not in (None, given["output"]):
        raise ValueError(
            "explain_func_kwargs: expected no output, or the metric's own, as explain_func gets a "
            f"model that returns the logits which that selects, got {given['output']!r}"
        )
    signature, bound = inspect.signature(lambda **kwargs: None), dict[str, Any]()
    with suppress(TypeError, ValueError):  # no function, or one that is written in C
        called = explain_func.forward if isinstance(explain_func, nn.Module) else explain_func
        signature = inspect.signature(called)
        if isinstance(explain_func, partial):
            bound = inspect.signature(explain_func.func).bind_partial(*explain_func.args).arguments
    check_spelling(set(given) - set(signature.parameters), set(signature.parameters) - _OURS)
    if device is None and explain_func is quantus.explain and data.device.type != "cpu":
        device = data.device  # it puts inputs on the CPU otherwise, wherever the model is
    options = ({} if device is None else {"device": device}) | dict(given)
    try:
        signature.bind(**dict.fromkeys(_OURS), **options)
        if twice := ", ".join(_OURS & bound.keys()):
            raise TypeError(f"{twice} given by a partial already")
    except TypeError as error:
        named = "".join(f", {name}=" for name in options)
        raise ValueError(
            f"explain_func: expected a function that takes model=, inputs=, targets={named}, got "
            f"one with {signature}: {error}"
        ) from error
    return options


def check_explain_func(metric: str, explainer: Explainer, *, enough: bool) -> Explainer:
    """Refuse what cannot be computed, before any work.

    Parameters
    ----------
    metric
        Its name.
    explainer
        With the function and the maps that were given.
    enough
        Whether the metric needs no maps but those.

    Returns
    -------
    Explainer
        The same, which says whether the function cannot explain anything.

    Raises
    ------
    ValueError
        If a function is needed and missing, or it is not callable.
    """
    function = explainer.function
    if function is not None and not callable(function):
        raise ValueError(f"explain_func: expected a callable, got {type(function).__name__}")
    reason = _unusable(function, explainer.kwargs)
    if reason is not None and explainer.given is None:
        raise ValueError(f"explain_func: {metric} needs a function that explains; {reason}")
    if reason is not None and not enough:
        raise _not_alone(metric, reason)
    return replace(explainer, alone=reason is not None)


def check_given_maps(
    metric: str, explainer: Explainer, data: Data, *, enough: bool, used: bool
) -> Explainer:
    """Decide whether given maps may stand for those of an explainer.

    The maps of the first and the last sample are explained again: they must be the given ones, but
    for their scale, unless the explainer is random.

    Parameters
    ----------
    metric, explainer, enough
        As in :func:`check_explain_func`, by which the explainer has been found to be of use.
    data
        The model and the samples.
    used
        Whether the given maps would be scored, so that what is odd about them is of interest.

    Returns
    -------
    Explainer
        Without the given maps, where it is to be asked instead; and which says whether it cannot
        be asked for others.

    Raises
    ------
    ValueError
        If the explainer is needed, and not what made the maps.

    Warns
    -----
    RuntimeWarning
        If they are plain gradients in the place of another method's maps, which is what
        ``quantus.evaluate`` (0.6.0) computes for a dictionary without ``method``; or if they are
        scored, and not what the explainer gives.
    """
    if explainer.given is None:
        return explainer
    origin = _origin(explainer, data, explainer.given)
    quantus_own = explainer.function is quantus.explain
    method = explainer.kwargs.get("method", "Gradient")
    if origin == "other" and not enough:
        maker = (
            f"quantus.explain gives with method {method!r}"
            if quantus_own
            else "explain_func gives, or not in the order of x_batch and for the classes of y_batch"
        )
        raise _not_alone(metric, f"they are not the maps that {maker}")
    told = None
    if origin == "gradient":
        told = (
            f"{metric} explains x_batch again with method {method!r}: a_batch holds plain "
            "gradients, which quantus.evaluate computes if the method's dictionary has no "
            f"'method': {method!r}"
        )
    elif origin == "other" and not quantus_own:  # which evaluate passes where it has arrays
        told = (
            f"{metric} scores these maps, which are not those that explain_func gives (another "
            "method, order or class?)"
        )
    if told and used:
        data.warn(f"a_batch: {told}")
    given = None if origin == "gradient" else explainer.given
    return replace(explainer, given=given, alone=origin == "other")


def _not_alone(metric: str, reason: str) -> ValueError:
    return ValueError(
        f"a_batch: {metric} cannot be computed from maps of x_batch alone, as it also needs maps "
        f"of inputs that are made from it, and {reason}. Pass the function that made the maps as "
        "explain_func (in quantus.evaluate, as the method's value; a dictionary must have the name "
        "of quantus.explain's method), or, for maps made by another tool, have it explain a probe "
        "set: gae_metric.ProbeSet, or `gae-metric probe` and `gae-metric score`. "
        "LocalFaithfulness needs no more than a_batch"
    )


def maps_of_classes(metric: str, explainer: Explainer, study: Study) -> Samples | None:
    """Decide whether given maps are of the classes that are explained.

    ``quantus.evaluate`` passes maps of ``y_batch``, whatever the metric explains.

    Parameters
    ----------
    metric
        Its name.
    explainer
        With the maps that were given.
    study
        What is explained.

    Returns
    -------
    Samples or None
        The maps; None where explain_func is to be asked instead.

    Warns
    -----
    RuntimeWarning
        If the maps stand alone, so that they must be taken for those of the classes explained.
    """
    y = study.data.y
    if explainer.given is None or y is None:
        return explainer.given
    scored = ~study.bad_input
    others = int((~y.has(study.samples[scored], study.classes[scored])).sum())
    if others and not explainer.alone:
        return None
    if others:
        study.data.warn(
            f"a_batch: {metric} explains predicted classes, which are not those of y_batch for "
            f"{others} samples; the maps are taken to be of the predicted ones"
        )
    return explainer.given


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
    explainer: Explainer, data: Data, given: Samples
) -> Literal["explainer", "gradient", "other"]:
    """Tell where maps come from that are said to be those of an explainer."""
    plain = replace(explainer, post_process=lambda maps: maps)
    for sample in _ends(data, given):
        x = data.inputs(sample)
        logits = data.logits(x)
        chosen = logits.argmax(1) if data.y is None else data.y.likeliest(sample, logits)
        target = sent(chosen, x.device)
        theirs = data.maps(given, sample)
        ours = _explained(plain, x, target)
        if (apart := _apart(ours, theirs)) <= _SAME:
            continue
        # A random explainer gives another map, and so does rounding where the map is a small
        # difference of large ones: that depends on the batch.
        twice = _explained(plain, torch.cat([x, x]), torch.cat([target, target]))
        if apart <= _ROOM * max(_apart(ours, one) for one in torch.split(twice, 1)) < torch.inf:
            continue
        if explainer.function is quantus.explain and "method" in explainer.kwargs:
            gradient = replace(plain, kwargs={**plain.kwargs, "method": "Gradient"})
            if _apart(_explained(gradient, x, target), theirs) <= _SAME:
                return "gradient"
        return "other"
    return "explainer"


def _explained(explainer: Explainer, x: Tensor, target: Tensor) -> Tensor:
    return explainer(x.clone(), target.clone())  # some overwrite what they are given


def _ends(data: Data, given: Samples) -> Iterator[NDArray[np.int64]]:
    """Yield the first and the last sample whose input and map are finite."""
    finite = np.flatnonzero(data.finite)[:, None]
    for order in (finite, finite[::-1]):
        known = (sample for sample in order if data.maps(given, sample).isfinite().all())
        yield from islice(known, 1)


def _apart(a: Tensor, b: Tensor) -> float:
    """Return the greatest difference of two maps scaled to maximum 1; infinite where none is."""
    if a.shape != b.shape:
        return torch.inf
    first, second = (maps / maps.abs().max().clamp(min=_TINY) for maps in (a, b))
    return float((first - second).abs().max().nan_to_num(torch.inf))


def normalised(maps: Tensor, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Tensor:
    """Apply Quantus's ``normalise_func`` to each map on its own.

    Maps that are not finite are left for the scores to be NaN.

    Raises
    ------
    ValueError
        If it returns another shape.
    """
    result = maps.cpu().numpy().copy()
    for i in np.flatnonzero(np.isfinite(result).all(axis=tuple(range(1, result.ndim)))):
        found = np.asarray(function(result[i : i + 1]))
        if found.shape != result[i : i + 1].shape:
            raise ValueError(
                f"normalise_func: expected a map of shape {result[i : i + 1].shape}, as it got, "
                f"got {found.shape}"
            )
        result[i] = found
    return torch.from_numpy(result).to(maps.device)
