"""Publishing a rule set under a name, with the contrast that it is used with by default."""

from abslrp.contrast import Start
from abslrp.registry import RULE_SETS, RuleSet, rule_set

_PUBLISHED: dict[str, Start] = {"absLRP": "streams"}


def publish(rules: RuleSet, contrast: Start = None) -> RuleSet:
    """Make a rule set known to :func:`abslrp.explain` by its name.

    Parameters
    ----------
    rules
        The rule set.
    contrast
        Where its relevance starts unless the caller says otherwise: None at the target alone,
        ``"logits"`` for the map of the target less that of the other classes, from their logits.

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
    ('streams', None, 'logits')
    """
    given = rule_set(rules) if isinstance(rules, str) else rules
    if not isinstance(given, RuleSet):
        raise ValueError(f"rules: expected a name or a RuleSet, got {type(given).__name__}")
    for table in given.lineage:
        if RULE_SETS.get(table.name) is table:
            return _PUBLISHED.get(table.name)
    return "streams" if given.conserves else None
