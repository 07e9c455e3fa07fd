"""What is explained, chunk by chunk, and the function that explains it."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import quantus
import torch
from torch import Tensor
from tqdm.auto import tqdm

from abslrp.losses import untold
from gae_metric.study import conversion
from gae_metric.study.guard import ModelGuard
from gae_metric.study.items import NONE, Items
from gae_metric.study.logits import LogitsModel, targets_of
from gae_metric.study.samples import Samples
from gae_metric.study.scoring import Scorer
from gae_metric.study.study import Study

#: Features of a chunk whose temporaries are worth giving back.
_LARGE = 2**22

Function = TypeVar("Function", bound=Callable[..., Any])


def tensor_explainer(function: Function) -> Function:
    """Mark an explain_func that takes and returns tensors.

    Metrics then pass inputs and targets as tensors on the model's device, and maps stay there.
    Functions without this mark get NumPy arrays, as in Quantus.

    Called with arrays, as ``quantus.evaluate`` itself calls it, the function gets tensors on the
    model's device, in its floating-point type, and arrays come back.

    Parameters
    ----------
    function
        ``function(model, inputs, targets, **kwargs)``, or a method: inputs (B, ...), targets (B,)
        and maps are tensors.

    Returns
    -------
    callable
        The same, with the attribute ``accepts_tensors``, for tensors and arrays.

    Notes
    -----
    Cost: none. GAE calls an explainer for up to 2T - 1 + K inputs a sample, 20 by default; on a
    GPU the mark saves that many copies of inputs to the host, and of maps back.

    Examples
    --------
    >>> @tensor_explainer
    ... def brightness(model, inputs, targets, **kwargs):
    ...     return inputs.mean(1, keepdim=True)
    >>> brightness.accepts_tensors
    True
    >>> brightness(torch.nn.Identity(), [[[1.0], [2.0], [3.0]]], [0])
    array([[[2.]]])
    """
    if isinstance(function, (classmethod, staticmethod)):
        return cast(Function, type(function)(tensor_explainer(function.__func__)))

    signature = inspect.signature(function)

    @functools.wraps(function)
    def explain(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)  # says what is missing
        placed = [name for name in ("model", "inputs", "targets") if name not in kwargs]
        own = args[: len(args) - len(placed)]  # the object of a method
        kwargs |= dict(zip(placed, args[len(own) :], strict=True))
        model, inputs = kwargs["model"], kwargs["inputs"]
        if isinstance(inputs, Tensor):
            return function(*own, **kwargs)
        with conversion.at_work(model):
            x = conversion.as_input(model, inputs)
            classes = targets_of(kwargs["targets"], model, x)
            maps = function(*own, **{**kwargs, "inputs": x, "targets": classes})
        explained = conversion.as_tensor(maps, "explain_func", "an array of maps")
        return conversion.like(explained, inputs)

    explain.accepts_tensors = True  # type: ignore[attr-defined]
    return cast(Function, explain)


def accepts_tensors(function: Callable[..., Any]) -> bool:
    """Whether a function is marked as taking tensors, or what a partial or an object calls."""
    while isinstance(function, functools.partial) and not hasattr(function, "accepts_tensors"):
        function = function.func
    called = inspect.getattr_static(type(function), "__call__", None)  # of an object
    return any(getattr(each, "accepts_tensors", False) for each in (function, called))


@dataclass(frozen=True)
class Explainer:
    """An explain_func with all that a call of it needs."""

    #: None if the given maps are all there is.
    function: Callable[..., Any] | None
    kwargs: Mapping[str, Any]
    #: It gets the model itself where that returns the logits, as far as evaluations have shown.
    model: LogitsModel
    #: What Quantus's ``normalise`` and ``abs`` do to the maps.
    post_process: Callable[[Tensor], Tensor]
    #: Looks at the model after each call.
    guard: ModelGuard
    #: Maps of the samples, if there are any of use, and whether no others can be had.
    given: Samples | None = None
    alone: bool = False

    def __call__(self, x: Tensor, targets: Tensor) -> Tensor:
        """Attributions (B, 1 or C, ...) of inputs (B, C, ...), on their device."""
        assert self.function is not None
        model = self.model.for_explainers
        given: dict[str, Any] = {"model": model, "inputs": x, "targets": targets}
        if self.function is quantus.explain and x.dtype != torch.get_default_dtype():
            # It takes tensors, too, and makes arrays of the default type; a gradient as with them.
            given["inputs"] = x.requires_grad_()
        elif not accepts_tensors(self.function):
            # NumPy has no bfloat16.
            given["inputs"] = (x.float() if x.dtype == torch.bfloat16 else x).cpu().numpy()
            given["targets"] = targets.cpu().numpy()
        with torch.enable_grad():
            maps = untold(self.function, **given, **self.kwargs)
        self.guard.explained()
        return self.post_process(conversion.as_maps(maps, x.shape, "explain_func", x.device))


def explain_and_score(
    study: Study,
    explainer: Explainer,
    given: Samples | None,
    items: Items,
    size: conversion.ChunkSize,
    progress: str | None,
) -> Scorer:
    """Explain in chunks of a study's items, sample by sample, and let go of what is done.

    Parameters
    ----------
    study
        What is explained.
    explainer
        What explains.
    given
        Maps of the data set's samples, in place of explaining them.
    items
        What is to be explained.
    size
        Of them that are explained at a time.
    progress
        Name on the progress bar; None for no bar.
    """
    scorer = Scorer(study)

    def explain(some: Items) -> None:
        if len(some) * study.data.x.shape[1:].numel() > _LARGE:
            conversion.give_back()
        ready = study.ready(some)
        if given is not None:
            rows = scorer.lacks(ready.row)
            none = np.full(len(rows), NONE)
            originals = study.ready(Items(rows, none, np.zeros_like(rows), none))
            if len(originals):
                maps = study.data.maps(given, study.samples[originals.row])
                scorer.add(originals, explainer.post_process(maps))
            ready = ready[ready.state != 0]
        for part in study.alike(ready):
            scorer.add(part, explainer(*study.inputs(part)))

    with tqdm(total=len(items), desc=progress, unit="map", disable=progress is None) as bar:
        for some, place in _wanted(study, scorer, items, size):
            for done, _ in size.each(some, explain):
                # More may follow of the last one.
                study.forget(int(done.row[-1]))
                scorer.forget(int(done.row[-1]))
            bar.update(place - bar.n)
    return scorer


def _wanted(
    study: Study, scorer: Scorer, items: Items, size: conversion.ChunkSize
) -> Iterator[tuple[Items, int]]:
    """Yield loaded items, as many as are explained at a time, and how many are done with them."""
    start, waiting = 0, np.arange(0)
    while start < len(items) or len(waiting):
        while start < len(items) and len(waiting) < size.value:
            places = np.arange(start, min(start + size.value, len(items)))
            start += len(places)
            study.load(items.row[places])
            waiting = np.append(waiting, places[~scorer.known(items[places])])
        chosen, waiting = np.split(waiting, [size.value])
        yield items[chosen], start - len(waiting)
