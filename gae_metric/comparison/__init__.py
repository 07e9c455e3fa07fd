"""Statistics over per-sample scores: intervals, paired tests, and the samples that they need.

>>> from gae_metric import compare
>>> results = {"absLRP": {"GAE": [0.4, 0.5, 0.6]}, "Random": {"GAE": [0.0, 0.1, 0.0]}}
>>> compare(results)[["method", "mean", "best"]].round(3).values.tolist()
[['absLRP', 0.5, True], ['Random', 0.033, False]]
"""

from gae_metric.comparison.intervals import compare
from gae_metric.comparison.pairs import pairwise
from gae_metric.comparison.power import samples_needed

__all__ = ["compare", "pairwise", "samples_needed"]
