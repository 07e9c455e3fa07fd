"""The metrics that GAE stands beside, on plain images: ROAD, AOPC, ABPC and Focus.

They take the same images, classes and explanation functions as :class:`gae_metric.GAE` and
Quantus's own metrics, so that one ``quantus.evaluate`` computes them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gae_metric.companions.focus import Focus as Focus
    from gae_metric.companions.focus_plan import FocusPlan as FocusPlan
    from gae_metric.companions.imputation import linear_imputation as linear_imputation
    from gae_metric.companions.noise import SeededNoise as SeededNoise
    from gae_metric.companions.perturbation import ABPC as ABPC
    from gae_metric.companions.perturbation import AOPC as AOPC
    from gae_metric.companions.road import ROAD as ROAD

#: Where each name is defined.
_HOMES = {
    "ABPC": "gae_metric.companions.perturbation",
    "AOPC": "gae_metric.companions.perturbation",
    "ROAD": "gae_metric.companions.road",
    "Focus": "gae_metric.companions.focus",
    "FocusPlan": "gae_metric.companions.focus_plan",
    "SeededNoise": "gae_metric.companions.noise",
    "linear_imputation": "gae_metric.companions.imputation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
