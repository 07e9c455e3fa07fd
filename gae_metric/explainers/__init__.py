"""Explainers to compare: gradients, GradCAM, absLRP, and Captum's methods by name.

>>> from gae_metric.explainers import EXPLAINERS
>>> sorted(EXPLAINERS)
['GradCAM', 'InputXGradient', 'IntegratedGradients', 'Random', 'Saliency', 'absLRP']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gae_metric.explainers.gradients import (
        EXPLAINERS,
        ExplainFunc,
        explainer,
        gradcam,
        input_x_gradient,
        integrated_gradients,
        not_applicable,
        random_map,
        saliency,
    )

#: Where each name is defined.
_HOMES = {
    "EXPLAINERS": "gae_metric.explainers.gradients",
    "ExplainFunc": "gae_metric.explainers.gradients",
    "explainer": "gae_metric.explainers.gradients",
    "gradcam": "gae_metric.explainers.gradients",
    "input_x_gradient": "gae_metric.explainers.gradients",
    "integrated_gradients": "gae_metric.explainers.gradients",
    "not_applicable": "gae_metric.explainers.gradients",
    "random_map": "gae_metric.explainers.gradients",
    "saliency": "gae_metric.explainers.gradients",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
