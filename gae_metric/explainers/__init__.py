"""Explainers to compare: gradients, GradCAM, absLRP, and Captum's methods by name.

>>> from gae_metric.explainers import EXPLAINERS
>>> sorted(EXPLAINERS)
['GradCAM', 'InputXGradient', 'IntegratedGradients', 'Random', 'Saliency', 'absLRP']
"""

from gae_metric.explainers.cams import gradcam as gradcam
from gae_metric.explainers.gradients import EXPLAINERS as EXPLAINERS
from gae_metric.explainers.gradients import ExplainFunc as ExplainFunc
from gae_metric.explainers.gradients import explainer as explainer
from gae_metric.explainers.gradients import input_x_gradient as input_x_gradient
from gae_metric.explainers.gradients import integrated_gradients as integrated_gradients
from gae_metric.explainers.gradients import not_applicable as not_applicable
from gae_metric.explainers.gradients import random_map as random_map
from gae_metric.explainers.gradients import saliency as saliency

__all__ = ["EXPLAINERS", "ExplainFunc", "explainer", "gradcam", "input_x_gradient"]
__all__ += ["integrated_gradients", "not_applicable", "random_map", "saliency"]
