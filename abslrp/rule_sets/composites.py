"""Rule sets that take a layer's rule by its name, its class, or its place in the network.

Zennit's composites for any model, without canonizers: ``EpsilonPlusFlat`` has the flat rule on the
first layer, alpha1-beta0 on other convolutions and epsilon on all else; ``EpsilonGammaBox`` the
z-box on the first convolution (between the least and the greatest value of each input),
gamma = 0.25 on others and epsilon on all else.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from abslrp.plan.accounts import Account
from abslrp.registry import RuleSet, rule_set
from abslrp.rule_sets.alpha_beta import ALPHA1BETA0
from abslrp.rule_sets.epsilon import LRP_EPSILON
from abslrp.rule_sets.layers import Limit, flat, gamma, greatest, least, z_box
from abslrp.rule_sets.starts import publish
from abslrp.rules.operands import Linear, register_linear
from abslrp.tape import Call
from abslrp.tape.sites import running

Where: TypeAlias = (
    "str | type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[Call, Linear], bool]"
)
"""A module's name or a pattern of names, classes of modules, or a predicate."""


def composite(
    layers: Sequence[tuple[Where, str | RuleSet]],
    base: str | RuleSet = LRP_EPSILON,
    name: str = "composite",
) -> RuleSet:
    """Build a rule set that takes the rule of each layer with weights from another set.

    Parameters
    ----------
    layers
        Pairs of which layers, and a rule set or its name; the first that fits counts. Which: a
        name as in ``model.named_modules()``, where ``*`` stands for anything; a class of modules
        or a tuple of classes; or :func:`first` (no other layer lies between the input and it),
        :func:`convolution`, :func:`first_convolution`, or a function like these.
    base
        Rules of all other layers, and of all that has no weights.
    name
        The set's name.

    Returns
    -------
    A rule set to be passed as ``rules``.

    Raises
    ------
    ValueError
        When a model is explained, if a name fits none of its modules.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.rule_sets.layers import flat, gamma
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> rules = composite([("0", flat()), (torch.nn.Linear, gamma(0.25))])
    >>> maps = abslrp.explain(model.eval(), torch.rand(2, 4), 0, rules=rules)
    >>> bool((maps == maps[:, :1]).all())
    True
    """
    table = rule_set(base) if isinstance(base, str) else base
    chosen = [(where, rule_set(one) if isinstance(one, str) else one) for where, one in layers]
    rules = RuleSet(name, table, conserves=table.conserves)

    def account(call: Call, given: Linear) -> Account:
        fitting = (one for where, one in chosen if _fits(where, call, given))
        return next(fitting, table).account(call)

    register_linear(rules, account, lambda call, given: table.account(call))
    return rules


def _fits(where: Where, call: Call, given: Linear) -> bool:
    modules = running()
    if isinstance(where, str):
        named = modules[-1].named_modules(remove_duplicate=False) if modules else ()
        fitting = [one for name, one in named if fnmatchcase(name, where)]
        if not fitting:
            model = type(modules[-1]).__name__ if modules else "the model"
            raise ValueError(f"layers: no module of {model} has a name like {where!r}")
        return any(one is modules[0] for one in fitting)
    if isinstance(where, (type, tuple)):
        return any(isinstance(one, where) for one in modules[:1])
    return where(call, given)


def first(call: Call, given: Linear) -> bool:
    """Whether no other layer lies between the input and a layer."""
    waiting, seen = [given.input], {given.input}
    while waiting:
        maker = waiting.pop().maker
        if maker is not None:
            if getattr(maker.account, "linear", False):
                return False
            waiting += set(maker.inputs) - seen
            seen |= set(maker.inputs)
    return True


def convolution(call: Call, given: Linear) -> bool:
    """Whether a layer is a convolution, transposed or not."""
    return given.convolves


def first_convolution(call: Call, given: Linear) -> bool:
    """Whether a layer is a convolution that no other layer precedes."""
    return given.convolves and first(call, given)


_plus_flat = [(first, flat()), (convolution, ALPHA1BETA0)]

EPSILON_PLUS_FLAT = publish(composite(_plus_flat, name="EpsilonPlusFlat"))
"""Zennit's composite of that name."""


def epsilon_gamma_box(low: Limit, high: Limit, name: str = "EpsilonGammaBox") -> RuleSet:
    """Build Zennit's composite of that name from the limits of the input.

    Parameters
    ----------
    low, high
        As for :func:`abslrp.rule_sets.layers.z_box`.
    name
        The set's name.

    Returns
    -------
    A rule set to be passed as ``rules``.

    Examples
    --------
    >>> epsilon_gamma_box(-2.1, 2.6).name
    'EpsilonGammaBox'
    """
    layers = [(first_convolution, z_box(low, high)), (convolution, gamma(0.25))]
    return composite(layers, name=name)


EPSILON_GAMMA_BOX = publish(epsilon_gamma_box(least, greatest))
"""Zennit's composite of that name, each input between its least and its greatest value."""
