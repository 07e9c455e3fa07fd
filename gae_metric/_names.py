"""Names of metrics and methods, and names as tables and figures show them."""

import re
from typing import Any, Literal, TypeAlias

Better: TypeAlias = Literal["higher", "lower"]

METRICS: dict[str, tuple[Better, str]] = {
    "GAE": ("higher", "global attribution evaluation: LC times C"),
    "LC": ("higher", "Local Consistency: robust and faithful under masking"),
    "C": ("higher", "Contrastiveness: relevance in the class's own quadrant of a mosaic"),
    "ROAD": ("lower", "accuracy once the most relevant pixels are imputed, mean of 10 to 90 %"),
    "LocalLipschitz": ("lower", "how much maps change with a little noise"),
    "Focus": ("higher", "share of relevance in a mosaic's quadrants of the class"),
}
"""The metrics of the commands: which way each is read, and what it is."""

DIRECTIONS = {name: better for name, (better, _) in METRICS.items()}
"""Which way the metrics of the commands are read, by the names of tables and ``--metrics``."""

OTHER_NAMES = {"LocalConsistency": "LC", "Contrastiveness": "C"}
"""What else users call a metric."""

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
    "EpsilonPlusFlat": ("LRP with Zennit's rules by layer", _RULES, {"rules": "EpsilonPlusFlat"}),
    "Saliency": ("absolute gradient (Simonyan et al. 2014)", "gradients:saliency", {}),
    "InputXGradient": ("input*gradient (Shrikumar et al. 2016)", "gradients:input_x_gradient", {}),
    "IntegratedGradients": (_IG, "gradients:integrated_gradients", {}),
    "GradCAM": ("weighted sum of feature maps (Selvaraju et al. 2017)", "cams:gradcam", {}),
    "GuidedGradCAM": ("GradCAM times guided backpropagation", "cams:guided_gradcam", {}),
    "HiResCAM": ("feature maps times their gradients (Draelos 2020)", "cams:hirescam", {}),
    "LayerCAM": ("HiResCAM with positive gradients only (Jiang et al. 2021)", "cams:layercam", {}),
    "GradCAM++": ("revised GradCAM (Chattopadhay et al. 2018)", "cams:gradcam_plus_plus", {}),
    "Random": ("noise, as a baseline", "gradients:random_map", {}),
}
"""What each method is, where its function is, and that function's options."""

DEFAULT_METHODS = "absLRP, Saliency, InputXGradient, IntegratedGradients, GradCAM, Random"
"""What is compared unless other methods are asked for."""

NO_SCORES = ("model", "method", "sample", "file", "target", "predicted", "probability")
"""Columns of ``components``, and of the command line's tables, that tell of samples."""


def plain(name: str) -> str:
    """Return a name without case, spaces and punctuation.

    Examples
    --------
    >>> plain("ROAD_MoRF") == plain("road-morf")
    True
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def two_lines(name: str, longest: int = 10) -> str:
    """Break a long name near its middle: after a mark such as a dash, or before a word's capital.

    Examples
    --------
    >>> two_lines("IntegratedGradients").split()
    ['Integrated', 'Gradients']
    >>> two_lines("Contrastiveness").split()
    ['Contras-', 'tiveness']
    >>> two_lines("LRP-alpha1beta0").split()
    ['LRP-', 'alpha1beta0']
    """
    if len(name) <= longest:
        return name
    words = re.finditer(r"(?<=[:_-])|(?<![A-Z])(?=[A-Z])|(?=[A-Z][a-z])", name)
    places = [word.start() for word in words if 1 < word.start() < len(name)]
    if not places:
        return f"{name[: len(name) // 2]}-\n{name[len(name) // 2 :]}"
    middle = min(places, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}\n{name[middle:]}"
