"""Global Attribution Evaluation (GAE) of attribution methods, as Quantus metrics.

>>> import gae_metric
>>> gae_metric.GAE.name
'GAE'

Names are imported when they are used, so that ``gae_metric.functional`` needs no Quantus.
"""

import sys
from typing import TYPE_CHECKING

from gae_metric._lazy import Moved, lazy

if TYPE_CHECKING:
    from gae_metric.comparison import compare as compare
    from gae_metric.comparison import pairwise as pairwise
    from gae_metric.comparison import samples_needed as samples_needed
    from gae_metric.functional.mosaic_plan import MosaicPlan as MosaicPlan
    from gae_metric.metrics import GAE as GAE
    from gae_metric.metrics import Contrastiveness as Contrastiveness
    from gae_metric.metrics import LocalConsistency as LocalConsistency
    from gae_metric.metrics import LocalFaithfulness as LocalFaithfulness
    from gae_metric.metrics import LocalRobustness as LocalRobustness
    from gae_metric.probe.probe_set import ProbeSet as ProbeSet
    from gae_metric.study.cache import cache_info as cache_info
    from gae_metric.study.cache import clear_cache as clear_cache
    from gae_metric.study.cache import set_cache_limit as set_cache_limit
    from gae_metric.study.explaining import tensor_explainer as tensor_explainer

#: Rooms that are there after ``import gae_metric``.
_ROOMS = "companions comparison demo explainers functional inputs metrics plotting probe"

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "metrics": "GAE Contrastiveness LocalConsistency LocalFaithfulness LocalRobustness",
        "functional.mosaic_plan": "MosaicPlan",
        "probe.probe_set": "ProbeSet",
        "study.cache": "cache_info clear_cache set_cache_limit",
        "comparison": "compare pairwise samples_needed",
        "study.explaining": "tensor_explainer",
    },
    {"noise": "gae_metric.companions.noise"} | {one: f"gae_metric.{one}" for one in _ROOMS.split()},
)

sys.meta_path.append(Moved())
