"""Score maps that were made elsewhere: by another tool, in another process or language.

A probe set holds everything that a metric wants explained (originals, perturbed states, mosaics,
and their targets) and everything that it knows of the model's outputs. Whoever gives it one map per
item gets the scores that the metric itself would have given.

>>> from gae_metric.probe import ProbeSet
>>> ProbeSet.build.__doc__.splitlines()[0]
'Evaluate a model, and prepare all inputs that must be explained.'
"""

from gae_metric.probe.probe_set import ProbeSet
from gae_metric.probe.storage import ProbeError

__all__ = ["ProbeError", "ProbeSet"]
