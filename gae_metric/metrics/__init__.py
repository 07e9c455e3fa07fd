"""GAE and its parts as Quantus metrics.

>>> from gae_metric.metrics import GAE
>>> GAE(steps=5).steps
5
"""

from gae_metric.metrics.gae import GAE, Contrastiveness
from gae_metric.metrics.local_consistency import (
    LocalConsistency,
    LocalFaithfulness,
    LocalRobustness,
)
from gae_metric.metrics.newer_numpy import mend

mend()

__all__ = ["GAE", "Contrastiveness", "LocalConsistency", "LocalFaithfulness", "LocalRobustness"]
