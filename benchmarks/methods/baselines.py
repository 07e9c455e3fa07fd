"""The paper's two baselines that look at no model."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods.registry import method
from gae_metric.explainers.gradients import random_map

PAPER = "Vukadin et al., ACM TIST 15(3), 2024"


@method("Constant", family="any", source="benchmarks", citation=PAPER, paper=("cnn",))
def constant(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
    """Return ones."""
    return torch.ones_like(inputs) if isinstance(inputs, Tensor) else np.ones_like(inputs)


@method("Random", family="any", source="gae_metric", citation=PAPER, paper=("cnn",))
def random(model: nn.Module, inputs: Any, targets: Any, *, seed: int = 0, **kwargs: Any) -> Any:
    """Draw standard normal noise that depends on the sample's content and the seed alone."""
    return random_map(model, inputs, targets, seed=seed)
