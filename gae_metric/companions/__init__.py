"""The metrics that GAE stands beside, on plain images: ROAD, AOPC, ABPC and Focus.

They take the same images, classes and explanation functions as :class:`gae_metric.GAE` and
Quantus's own metrics, so that one ``quantus.evaluate`` computes them all.
"""

from typing import TYPE_CHECKING

from gae_metric._lazy import lazy

if TYPE_CHECKING:
    from gae_metric.companions.focus import Focus as Focus
    from gae_metric.companions.focus_plan import FocusPlan as FocusPlan
    from gae_metric.companions.imputation import linear_imputation as linear_imputation
    from gae_metric.companions.noise import SeededNoise as SeededNoise
    from gae_metric.companions.perturbation import ABPC as ABPC
    from gae_metric.companions.perturbation import AOPC as AOPC
    from gae_metric.companions.road import ROAD as ROAD

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "focus": ["Focus"],
        "focus_plan": ["FocusPlan"],
        "imputation": ["linear_imputation"],
        "noise": ["SeededNoise"],
        "perturbation": ["ABPC", "AOPC"],
        "road": ["ROAD"],
    },
)
