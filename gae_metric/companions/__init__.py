"""The metrics that GAE stands beside, on plain images: ROAD and Focus.

They take the same images, classes and explanation functions as :class:`gae_metric.GAE` and
Quantus's own metrics, so that one ``quantus.evaluate`` computes them all.
"""

from gae_metric.companions.focus import Focus
from gae_metric.companions.imputation import linear_imputation
from gae_metric.companions.plan import FocusPlan
from gae_metric.companions.road import ROAD

__all__ = ["ROAD", "Focus", "FocusPlan", "linear_imputation"]
