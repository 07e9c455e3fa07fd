"""The metrics that GAE stands beside, on plain images: ROAD, AOPC, ABPC and Focus.

They take the same images, classes and explanation functions as :class:`gae_metric.GAE` and
Quantus's own metrics, so that one ``quantus.evaluate`` computes them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gae_metric.companions.focus import Focus
    from gae_metric.companions.focus_plan import FocusPlan
    from gae_metric.companions.imputation import linear_imputation
    from gae_metric.companions.noise import SeededNoise
    from gae_metric.companions.perturbation import ABPC, AOPC
    from gae_metric.companions.road import ROAD

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

__all__ = [
    "ABPC",
    "AOPC",
    "ROAD",
    "Focus",
    "FocusPlan",
    "SeededNoise",
    "linear_imputation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
