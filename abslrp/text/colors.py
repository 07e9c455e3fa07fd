"""Colours of figure 9, shared by its renderings: red for the target, blue against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from abslrp.text.result import TextRelevance

RED = (239, 83, 80)
BLUE = (84, 140, 235)
"""Ends of the scale, light enough for black text (contrast above 4.5:1)."""


def as_results(results: TextRelevance | Sequence[TextRelevance]) -> list[TextRelevance]:
    """Return one or several results as a list; ValueError for anything else."""
    listed = [results] if isinstance(results, TextRelevance) else list(results)
    for i, one in enumerate(listed):
        if not isinstance(one, TextRelevance):
            raise ValueError(
                f"results: expected TextRelevance at position {i}, got {type(one).__name__}"
            )
    return listed


def intensities(result: TextRelevance) -> list[float]:
    """Relevance divided by the largest absolute relevance of the text's own tokens.

    The scale leaves special tokens out, or one that gathers most of the relevance would leave
    the text white; theirs is cut to [-1, 1]. What is not finite counts as 0.

    Examples
    --------
    >>> import numpy as np
    >>> found = TextRelevance(
    ...     ("[CLS]", "a", "b"), np.array([9.0, 1.0, -2.0]), np.array([True, False, False]), 0,
    ...     np.zeros(2),
    ... )
    >>> intensities(found)
    [1.0, 0.5, -1.0]
    """
    relevance = np.nan_to_num(result.relevance.astype(float), posinf=0, neginf=0)
    ordinary = np.abs(relevance[~result.special])
    largest = ordinary.max(initial=0)
    if largest == 0:
        largest = np.abs(relevance).max(initial=0) or 1
    shares: list[float] = np.clip(relevance / largest, -1, 1).tolist()
    return shares


def color(intensity: float) -> tuple[int, int, int]:
    """Colour of an intensity in [-1, 1]: white at 0.

    Examples
    --------
    >>> color(0), color(1) == RED, color(-1) == BLUE
    ((255, 255, 255), True, True)
    """
    end = RED if intensity > 0 else BLUE
    red, green, blue = (round(255 + abs(intensity) * (one - 255)) for one in end)
    return red, green, blue


def caption(result: TextRelevance) -> str:
    """Target and its probability, or its logit where there is but one."""
    name = result.label if result.label is not None else f"class {result.target}"
    if len(result.logits) < 2:
        return f"{name} (logit {result.logits[result.target]:.3g})"
    return f"{name} ({result.probabilities[result.target]:.1%})"
