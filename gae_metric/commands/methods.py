"""Methods by the names of tables and ``--methods``; loaded when they are used.

>>> from gae_metric.commands.methods import METHODS, method
>>> name, explain = method("lrp-EPSILON")
>>> name, METHODS[name][0]
('LRP-epsilon', 'LRP with the epsilon rule (Bach et al. 2015)')
"""

from __future__ import annotations

import ast
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gae_metric.errors import InputError, lookup

if TYPE_CHECKING:
    from gae_metric.explainers.gradients import ExplainFunc


_RULES = "abslrp:explain"
_IG = "input times mean gradient from zero to it, 20 steps (Sundararajan et al. 2017)"

METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "absLRP": ("relative absolute magnitude LRP, two streams (Vukadin et al. 2024)", _RULES, {}),
    "absLRP-signed": ("absLRP in one pass, as in the paper's text", _RULES, {"contrast": "signed"}),
    "LRP-epsilon": ("LRP with the epsilon rule (Bach et al. 2015)", _RULES, {"rules": "epsilon"}),
    "LRP-alpha1beta0": ("LRP, alpha 1 beta 0 (Bach et al. 2015)", _RULES, {"rules": "alpha1beta0"}),
    "LRP-alpha2beta1": ("LRP, alpha 2 beta 1 (Bach et al. 2015)", _RULES, {"rules": "alpha2beta1"}),
    "LRP-alpha1beta0-contrastive": (
        "LRP-alpha1beta0 with the two streams of absLRP",
        _RULES,
        {"rules": "alpha1beta0", "contrast": "streams"},
    ),
    "cLRP": ("contrastive LRP (Gu et al. 2018)", _RULES, {"rules": "cLRP"}),
    "RAP": ("relative attributing propagation (Nam et al. 2020)", _RULES, {"rules": "RAP"}),
    "cRAP": ("contrastive RAP (Vukadin et al. 2024)", _RULES, {"rules": "cRAP"}),
    "Saliency": ("absolute gradient (Simonyan et al. 2014)", "gradients:saliency", {}),
    "InputXGradient": ("input*gradient (Shrikumar et al. 2016)", "gradients:input_x_gradient", {}),
    "IntegratedGradients": (_IG, "gradients:integrated_gradients", {}),
    "GradCAM": ("weighted sum of feature maps (Selvaraju et al. 2017)", "gradients:gradcam", {}),
    "GuidedGradCAM": ("GradCAM times guided backpropagation", "cams:guided_gradcam", {}),
    "HiResCAM": ("feature maps times their gradients (Draelos 2020)", "cams:hirescam", {}),
    "LayerCAM": ("HiResCAM with positive gradients only (Jiang et al. 2021)", "cams:layercam", {}),
    "GradCAM++": ("revised GradCAM (Chattopadhay et al. 2018)", "cams:gradcam_plus_plus", {}),
    "Random": ("noise, as a baseline", "gradients:random_map", {}),
}
"""What each method is, where its function is, and that function's options."""


def check_method(name: str) -> str:
    """Return a method's name in tables; which of Captum's can be used is seen once it is loaded.

    Raises
    ------
    InputError
        If there is no such method, or Captum is not installed.
    """
    if not name.lower().startswith("captum:"):
        return lookup("methods", name, METHODS)[0]
    found = find_spec("captum")
    if found is None or found.origin is None:
        raise InputError(
            f"methods: {name} needs Captum: pip install 'gae-metric[captum]'; those without "
            f"Captum: {', '.join(METHODS)}"
        )
    # What it exports, as importing it takes seconds; those of no use here are refused later.
    source = Path(found.origin).with_name("attr").joinpath("__init__.py").read_text("utf-8")
    exported = [
        ast.literal_eval(line.value)
        for line in ast.parse(source).body
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__"
    ]
    if exported:
        lookup("methods (captum)", name.partition(":")[2], dict.fromkeys(exported[0]))
    return name


def method(name: str) -> tuple[str, ExplainFunc]:
    """Return a method's name in tables and its explanation function.

    Raises
    ------
    InputError
        As :func:`check_method`, and for names that Captum has not.
    """
    name = check_method(name)
    if name not in METHODS:
        from gae_metric.explainers.gradients import explainer

        return explainer(name)
    _, place, options = METHODS[name]
    module, _, attribute = place.partition(":")
    home = module if module == "abslrp" else f"gae_metric.explainers.{module}"
    return name, partial(getattr(import_module(home), attribute), **options)
