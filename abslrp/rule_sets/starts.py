"""Publishing a rule set under a name, with the contrast that it is used with by default."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

from abslrp import contrast as contrasts
from abslrp.registry import RULE_SETS, RuleSet, rule_set

Start: TypeAlias = 'Literal["streams", "signed", "difference"] | None'
"""The contrasts of SPEC 1.4 and Gu et al.'s: the plain difference of two maps."""

OWN: Literal["own"] = "own"
"""Value of ``contrast`` that asks for the rule set's own."""

_PUBLISHED: dict[str, Start] = {"absLRP": "streams"}


def publish(rules: RuleSet, contrast: Start = None) -> RuleSet:
    """Make a rule set known to :func:`abslrp.explain` by its name.

    Parameters
    ----------
    rules
        The rule set.
    contrast
        Where its relevance starts unless the caller says otherwise: None at the target alone,
        ``"difference"`` for the map of the target less that of the other classes.

    Returns
    -------
    The rule set.

    Raises
    ------
    ValueError
        If there is a rule set of that name already.

    Examples
    --------
    >>> from abslrp.registry import RULE_SETS, RuleSet
    >>> from abslrp.rule_sets.starts import publish
    >>> publish(RuleSet("absLRP"))
    Traceback (most recent call last):
        ...
    ValueError: rules: there is a rule set named 'absLRP' already
    """
    if rules.name in RULE_SETS:
        raise ValueError(f"rules: there is a rule set named {rules.name!r} already")
    RULE_SETS[rules.name] = rules
    _PUBLISHED[rules.name] = contrast
    return rules


def withdraw(name: str) -> None:
    """Take a published rule set back; KeyError if there is none of that name."""
    del RULE_SETS[name], _PUBLISHED[name]


def own_contrast(rules: str | RuleSet) -> Start:
    """Return the contrast that a rule set, or the nearest published one it builds on, goes with.

    A set that builds on none starts at the target alone, or as absLRP does if it leaves
    conservation to the engine.

    Examples
    --------
    >>> import abslrp
    >>> own_contrast("absLRP"), own_contrast("epsilon"), own_contrast("cRAP")
    ('streams', None, 'difference')
    """
    given = rule_set(rules) if isinstance(rules, str) else rules
    if not isinstance(given, RuleSet):
        raise ValueError(f"rules: expected a name or a RuleSet, got {type(given).__name__}")
    table: RuleSet | None = given
    while table is not None:
        if RULE_SETS.get(table.name) is table:
            return _PUBLISHED.get(table.name)
        table = table.base
    return "streams" if given.conserves else None


def starts(logits: Tensor, targets: Tensor, contrast: Start) -> Tensor:
    """Relevance of the logits that a contrast starts from: (S, B, N).

    ``"difference"`` starts as ``"streams"`` does: from one-hot(target), and from
    ``(1 - one-hot(target)) / (N - 1)``, the same total spread over the other classes.
    """
    if contrast not in ("streams", "signed", "difference", None):
        raise ValueError(
            f"contrast: expected 'streams', 'signed', 'difference', None or 'own', got {contrast!r}"
        )
    if contrast != "difference":
        return contrasts.starts(logits, targets, contrast)
    if logits.shape[1] < 2:
        raise ValueError("contrast: 'difference' needs at least two classes, the logits have one")
    return contrasts.starts(logits, targets, "streams")


def combine(maps: Tensor, contrast: Start) -> Tensor:
    """One map per sample from those of the starts: (S, B, ...) to (B, ...).

    ``"difference"`` subtracts the maps as they are, neither scaled nor clipped.
    """
    if contrast != "difference":
        return contrasts.combine(maps, contrast)
    return maps[0] - maps[1]
