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

from gae_metric.functional.baseline import MaskValue, mask_baseline, masked_inputs
from gae_metric.functional.draws import content_hashes
from gae_metric.functional.masking import LERF, MORF, Schedule, Trajectory, masking_trajectory
from gae_metric.functional.mosaic import Interpolation, mosaics, quadrant_scores, score_map
from gae_metric.functional.mosaic_plan import MosaicPlan
from gae_metric.functional.scores import (
    contrastiveness,
    global_attribution,
    local_consistency,
    local_faithfulness,
    local_robustness,
    output_difference,
    positive_map,
    similarity,
)

__all__ = ["LERF", "MORF", "Interpolation", "MaskValue", "MosaicPlan", "Schedule", "Trajectory"]
__all__ += ["content_hashes", "mask_baseline", "masked_inputs", "masking_trajectory"]
__all__ += ["mosaics", "quadrant_scores", "score_map"]
__all__ += ["contrastiveness", "global_attribution", "local_consistency", "local_faithfulness"]
__all__ += ["local_robustness", "output_difference", "positive_map", "similarity"]
