"""The metrics that GAE stands beside, on plain images: ROAD, AOPC, ABPC and Focus.

They take the same images, classes and explanation functions as :class:`gae_metric.GAE` and
Quantus's own metrics, so that one ``quantus.evaluate`` computes them all.
"""

from gae_metric.companions.focus import Focus
from gae_metric.companions.focus_plan import FocusPlan
from gae_metric.companions.imputation import linear_imputation
from gae_metric.companions.noise import SeededNoise
from gae_metric.companions.perturbation import ABPC, AOPC
from gae_metric.companions.road import ROAD

__all__ = ["ABPC", "AOPC", "ROAD", "Focus", "FocusPlan", "SeededNoise", "linear_imputation"]
