"""What ``import gae_metric`` gives: rooms, and names of some of them."""

from . import companions as companions
from . import comparison as comparison
from . import demo as demo
from . import explainers as explainers
from . import functional as functional
from . import inputs as inputs
from . import metrics as metrics
from . import plotting as plotting
from . import probe as probe
from .companions import noise as noise
from .comparison import compare as compare
from .comparison import pairwise as pairwise
from .comparison import samples_needed as samples_needed
from .functional.mosaic_plan import MosaicPlan as MosaicPlan
from .metrics import GAE as GAE
from .metrics import Contrastiveness as Contrastiveness
from .metrics import LocalConsistency as LocalConsistency
from .metrics import LocalFaithfulness as LocalFaithfulness
from .metrics import LocalRobustness as LocalRobustness
from .probe.probe_set import ProbeSet as ProbeSet
from .study.cache import cache_info as cache_info
from .study.cache import clear_cache as clear_cache
from .study.cache import set_cache_limit as set_cache_limit
from .study.explaining import tensor_explainer as tensor_explainer

__all__ = [
    "GAE",
    "Contrastiveness",
    "LocalConsistency",
    "LocalFaithfulness",
    "LocalRobustness",
    "MosaicPlan",
    "ProbeSet",
    "cache_info",
    "clear_cache",
    "companions",
    "compare",
    "comparison",
    "demo",
    "explainers",
    "functional",
    "inputs",
    "metrics",
    "noise",
    "pairwise",
    "plotting",
    "probe",
    "samples_needed",
    "set_cache_limit",
    "tensor_explainer",
]
