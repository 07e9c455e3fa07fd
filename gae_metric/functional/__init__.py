"""GAE's formulas as pure tensor functions, on any device (equations 13 to 18).

Nothing here knows Quantus, explainers or metrics: tensors in, tensors out.

>>> import torch
>>> from gae_metric import functional
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
>>> x = torch.rand(2, 3, 4, 4)
>>> trajectory = functional.masking_trajectory(model, x, torch.tensor([0, 2]), steps=4)
>>> trajectory.outputs.shape
torch.Size([2, 2, 4])
"""

from gae_metric.functional.baseline import MaskValue as MaskValue
from gae_metric.functional.baseline import mask_baseline as mask_baseline
from gae_metric.functional.baseline import masked_inputs as masked_inputs
from gae_metric.functional.draws import content_hashes as content_hashes
from gae_metric.functional.masking import LERF as LERF
from gae_metric.functional.masking import MORF as MORF
from gae_metric.functional.masking import Features as Features
from gae_metric.functional.masking import Schedule as Schedule
from gae_metric.functional.masking import Trajectory as Trajectory
from gae_metric.functional.masking import masking_trajectory as masking_trajectory
from gae_metric.functional.mosaic import Interpolation as Interpolation
from gae_metric.functional.mosaic import mosaics as mosaics
from gae_metric.functional.mosaic import quadrant_scores as quadrant_scores
from gae_metric.functional.mosaic import score_map as score_map
from gae_metric.functional.mosaic_plan import MosaicPlan as MosaicPlan
from gae_metric.functional.scores import contrastiveness as contrastiveness
from gae_metric.functional.scores import global_attribution as global_attribution
from gae_metric.functional.scores import local_consistency as local_consistency
from gae_metric.functional.scores import local_faithfulness as local_faithfulness
from gae_metric.functional.scores import local_robustness as local_robustness
from gae_metric.functional.scores import output_difference as output_difference
from gae_metric.functional.scores import positive_map as positive_map
from gae_metric.functional.scores import similarity as similarity
