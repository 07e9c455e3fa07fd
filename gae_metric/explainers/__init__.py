"""Explainers to compare: gradients, GradCAM, absLRP, and Captum's methods by name.

>>> from gae_metric.explainers import EXPLAINERS
>>> sorted(EXPLAINERS)
['GradCAM', 'InputXGradient', 'IntegratedGradients', 'Random', 'Saliency', 'absLRP']
"""

from gae_metric.explainers.cams import gradcam
from gae_metric.explainers.gradients import (
    EXPLAINERS,
    ExplainFunc,
    explainer,
    input_x_gradient,
    integrated_gradients,
    not_applicable,
    random_map,
    saliency,
)

__all__ = [
    "EXPLAINERS",
    "ExplainFunc",
    "explainer",
    "gradcam",
    "input_x_gradient",
    "integrated_gradients",
    "not_applicable",
    "random_map",
    "saliency",
]
