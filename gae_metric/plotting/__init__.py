"""Figures: returned as ``matplotlib.figure.Figure``, saved by the caller, unknown to pyplot.

They are one column (3.4 inches) wide where their content allows, readable at that size, and their
colours can be told apart with any of the common kinds of colour vision.
"""

from gae_metric.plotting.bars import bars
from gae_metric.plotting.curves import curves
from gae_metric.plotting.impact import impact
from gae_metric.plotting.maps import maps

__all__ = ["bars", "curves", "impact", "maps"]
