"""Every attribution method of the paper, and others, each with its row in one registry.

A method is an explanation function ``f(model, inputs, targets, **kwargs)``: arrays or tensors
(B, C, H, W) in, maps of the same kind out, (B, C, H, W) or (B, 1, H, W). Nothing is left on the
model; a map depends on its sample, the target and the options alone. A module of this package that
decorates a function with :func:`method` is all that a new one takes.

>>> from benchmarks.methods import METHODS, find
>>> find("saliency").source
'Captum'
>>> [name for name, row in METHODS.items() if row.family == "vit" and not row.paper]
['TIBAV-epsilon', 'AttnLRP']
"""

import importlib
import pkgutil

from benchmarks.methods.registry import METHODS, Family, InapplicableError, Method, find, method

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "matrix":  # which tries methods, and needs models for that
        importlib.import_module(f"{__name__}.{_module.name}")

_ORDER = (
    *("Constant", "Random", "Saliency", "InputXGradient", "Deconvolution", "LRP-epsilon"),
    *("LRP-epsilon-0.1", "DeepLIFT", "LRP-alpha1beta0", "LRP-alpha2beta1", "IntegratedGradients"),
    *("SmoothGrad", "GradCAM", "GradCAM++", "HiResCAM", "LayerCAM", "GuidedGradCAM", "LLAttention"),
    *("Rollout", "TIBAV", "TIBAV-epsilon", "LRP-alpha1beta0-contrastive", "cLRP", "RAP", "RAP-eq5"),
    *("cRAP", "absLRP", "absLRP-signed", "absLRP-patches", "absLRP-values", "absLRP-queries-keys"),
)
for _name in (*_ORDER, *(name for name in list(METHODS) if name not in _ORDER)):
    METHODS[_name] = METHODS.pop(_name)

__all__ = ["METHODS", "Family", "InapplicableError", "Method", "find", "method"]
