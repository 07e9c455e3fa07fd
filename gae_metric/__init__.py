"""Global Attribution Evaluation (GAE) of attribution methods, as Quantus metrics.

>>> import gae_metric
>>> gae_metric.GAE.name
'GAE'

Names are imported when they are used, so that ``gae_metric.functional`` needs no Quantus.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gae_metric._moved import Moved

if TYPE_CHECKING:
    from gae_metric.comparison import compare as compare
    from gae_metric.comparison import pairwise as pairwise
    from gae_metric.comparison import samples_needed as samples_needed
    from gae_metric.functional.mosaic_plan import MosaicPlan as MosaicPlan
    from gae_metric.metrics import GAE as GAE
    from gae_metric.metrics import Contrastiveness as Contrastiveness
    from gae_metric.metrics import LocalConsistency as LocalConsistency
    from gae_metric.metrics import LocalFaithfulness as LocalFaithfulness
    from gae_metric.metrics import LocalRobustness as LocalRobustness
    from gae_metric.probe.probe_set import ProbeSet as ProbeSet
    from gae_metric.study.cache import cache_info as cache_info
    from gae_metric.study.cache import clear_cache as clear_cache
    from gae_metric.study.cache import set_cache_limit as set_cache_limit
    from gae_metric.study.explaining import tensor_explainer as tensor_explainer

#: Where each name is defined.
_HOMES = {
    "GAE": "gae_metric.metrics",
    "Contrastiveness": "gae_metric.metrics",
    "LocalConsistency": "gae_metric.metrics",
    "LocalFaithfulness": "gae_metric.metrics",
    "LocalRobustness": "gae_metric.metrics",
    "MosaicPlan": "gae_metric.functional.mosaic_plan",
    "ProbeSet": "gae_metric.probe.probe_set",
    "cache_info": "gae_metric.study.cache",
    "clear_cache": "gae_metric.study.cache",
    "compare": "gae_metric.comparison",
    "pairwise": "gae_metric.comparison",
    "samples_needed": "gae_metric.comparison",
    "set_cache_limit": "gae_metric.study.cache",
    "tensor_explainer": "gae_metric.study.explaining",
}

#: Rooms that are there after ``import gae_metric``, imported when they are used.
_ROOMS = {
    name: f"gae_metric.{name}"
    for name in (
        *("companions", "comparison", "demo", "explainers", "functional", "inputs", "metrics"),
        *("plotting", "probe"),
    )
} | {"noise": "gae_metric.companions.noise"}

__all__ = list(_HOMES)


sys.meta_path.append(Moved())


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(_ROOMS[name])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
