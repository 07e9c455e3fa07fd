"""Names of metrics, and names as tables and figures show them."""

import re
from typing import Literal, TypeAlias

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

NO_SCORES = ("predicted", "probability")
"""Columns of a metric's ``components`` that tell of samples and are no scores."""


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
