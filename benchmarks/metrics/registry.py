"""Metrics by name, each of a block of samples.

======================= ==========================================================================
name                    scores
======================= ==========================================================================
``GAE``                 ``GAE`` and its parts ``LC_R``, ``LC_F``, ``LC`` and ``C``
``LC``                  ``LC_R``, ``LC_F`` and ``LC``, where GAE is not wanted
``C``                   Contrastiveness, where GAE is not wanted
``ROAD_MoRF``           share of percentages at which the prediction stays; also by percentage
``ROAD_LeRF``           likewise
``LocalLipschitz``      Quantus's LocalLipschitzEstimate
``AOPC``, ``ABPC``      regions replaced by noise
``Focus``               Focus
``quantus:NAME``        any of Quantus that can work here: :mod:`benchmarks.metrics.quantus_scores`
======================= ==========================================================================

>>> find_metric("road-morf"), find_metric("quantus:sparseness")
('ROAD_MoRF', 'quantus:Sparseness')
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from benchmarks.metrics import quantus_scores
from benchmarks.metrics.metric_call import Call, Columns
from benchmarks.metrics.quantus_scores import LOCALISATION
from gae_metric import GAE, Contrastiveness, LocalConsistency
from gae_metric._names import OTHER_NAMES, plain
from gae_metric.commands.named_metrics import LocalLipschitz, Settings
from gae_metric.companions import ABPC, AOPC, ROAD, Focus
from gae_metric.errors import InputError, UnknownNameError, lookup, nearest
from gae_metric.study.arguments import Data
from gae_metric.study.mosaicking import Layout, Mosaicking


@dataclass(frozen=True)
class BlockMosaicking(Mosaicking):
    """Mosaics of some samples, laid out beforehand."""

    layout: Layout = field(kw_only=True)

    def check(self, data: Data) -> None:
        """Take the mosaics as they are."""

    def draw(self, *args: Any, **kwargs: Any) -> Layout:
        """Return them."""
        return self.layout


PARTS = {
    "lc_robustness": "LC_R",
    "lc_faithfulness": "LC_F",
    "local_consistency": "LC",
    "contrastiveness": "C",
    "gae": "GAE",
}
"""Columns of a metric's components, and what tables call them."""


def _ours(metric: type[Any], call: Call, **options: Any) -> Columns:
    """Score by GAE or one of its parts."""
    options |= {"disable_warnings": True}
    if metric is not Contrastiveness:
        options |= {"steps": call.steps, "schedule": call.schedule}
    made = metric(**options)
    if shows := metric is not LocalConsistency:
        assert call.block.layout is not None
        laid = BlockMosaicking(interpolation=made.interpolation, layout=call.block.layout)
        made._mosaicking = lambda: laid
    call(made, everything=shows)
    return {PARTS[name]: made.components[name].to_numpy() for name in made.columns}


def _road(name: str, call: Call, **options: Any) -> Columns:
    order: Any = name.removeprefix("ROAD_").lower()
    metric = ROAD(order, seed=call.seed, disable_warnings=True, **{**_ROAD, **options})
    scores = call(metric, maps=True)
    parts = {f"{name}@{p:g}": metric.curves[:, k] for k, p in enumerate(metric.percentages)}
    return {name: scores, **parts}


def _lipschitz(call: Call, **options: Any) -> Columns:
    return {"LocalLipschitz": call(LocalLipschitz(call.seed, **options))}


def _regions(kind: type[AOPC], call: Call, **options: Any) -> Columns:
    return {kind.name: call(kind(seed=call.seed, disable_warnings=True, **options), maps=True)}


def _focus(call: Call, **options: Any) -> Columns:
    if call.block.focus is None:
        raise InputError("Focus: all samples are of one class, and half a mosaic shows others")
    metric = Focus(mosaics=call.block.focus, disable_warnings=True, **options)
    return {"Focus": call(metric, everything=True)[call.block.own]}


@dataclass(frozen=True)
class Kind:
    """A metric: its function, what it adds to a table, and what it needs."""

    score: Callable[..., Columns]
    columns: tuple[str, ...]
    #: Options that a configuration may give, and their defaults.
    options: Mapping[str, Any] = field(default_factory=dict)
    mosaics: bool = False
    focus: bool = False
    masks: bool = False


_MASKING: dict[str, Any] = {"mask_value": 0.0}
_SHOWING: dict[str, Any] = {"interpolation": "nearest"}
_ROAD: dict[str, Any] = {"percentages": Settings().road_percentages, "noise": 0.01}
_LIPSCHITZ: dict[str, Any] = {"samples": Settings().lipschitz_samples}
_REGIONS: dict[str, Any] = {"regions": 100, "size": 9}

METRICS: dict[str, Kind] = {
    "GAE": Kind(partial(_ours, GAE), tuple(PARTS.values()), _MASKING | _SHOWING, mosaics=True),
    "LC": Kind(partial(_ours, LocalConsistency), ("LC_R", "LC_F", "LC"), _MASKING),
    "C": Kind(partial(_ours, Contrastiveness), ("C",), _SHOWING, mosaics=True),
    "ROAD_MoRF": Kind(partial(_road, "ROAD_MoRF"), ("ROAD_MoRF",), _ROAD),
    "ROAD_LeRF": Kind(partial(_road, "ROAD_LeRF"), ("ROAD_LeRF",), _ROAD),
    "LocalLipschitz": Kind(_lipschitz, ("LocalLipschitz",), _LIPSCHITZ),
    "AOPC": Kind(partial(_regions, AOPC), ("AOPC",), _REGIONS),
    "ABPC": Kind(partial(_regions, ABPC), ("ABPC",), _REGIONS),
    "Focus": Kind(_focus, ("Focus",), {"mosaic_size": "input"}, focus=True),
}
"""Metrics of the paper, in the order of the tables."""


def find_metric(name: str) -> str:
    """Return a metric's own name, whatever the case, dashes and spaces of what was given.

    Raises
    ------
    UnknownNameError
        If there is none; the message gives the nearest name.
    """
    source, colon, rest = name.strip().partition(":")
    if colon:
        lookup("metrics (source)", source, {"quantus": None})
        return f"quantus:{lookup('metrics (quantus)', rest, quantus_scores.quantus_metrics())[0]}"
    known = {plain(own): own for own in METRICS} | {plain(a): m for a, m in OTHER_NAMES.items()}
    if plain(name) in known:
        return known[plain(name)]
    raise UnknownNameError(f"metrics: unknown name {name!r}; {nearest(name, METRICS)}")


def kind_of(name: str) -> Kind:
    """Return what there is to know of a metric."""
    if name in METRICS:
        return METRICS[name]
    own = name.partition(":")[2]
    function, masks = partial(quantus_scores.score_by_quantus, own), own in LOCALISATION
    return Kind(function, (name,), quantus_scores.quantus_options(own), masks=masks)


def check_metric(name: str, options: Mapping[str, Any]) -> None:
    """Refuse what cannot work: by its reason; an option that there is not: by the nearest."""
    own = name.partition(":")[2]
    if reason := quantus_scores.REFUSED.get(own):
        raise InputError(f"{name} cannot be run: {reason}")
    known = kind_of(name).options
    for option in options:
        if option not in known:
            near = nearest(option, known) if known else "it has none"
            raise InputError(f"{name}: no option {option!r}; {near}")


def score(name: str, call: Call, options: Mapping[str, Any]) -> Columns:
    """Score a block of samples by a metric: values (R,) by the name of the score."""
    kind = kind_of(name)
    with torch.inference_mode(False):
        return kind.score(call, **options)
