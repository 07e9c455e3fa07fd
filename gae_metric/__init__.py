"""Global Attribution Evaluation (GAE) of attribution methods, as Quantus metrics.

>>> import gae_metric
>>> gae_metric.GAE.name
'GAE'

Names are imported when they are used, so that ``gae_metric.functional`` needs no Quantus.
"""

import sys

import lazy_loader

from gae_metric._moved import Moved

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

sys.meta_path.append(Moved())
