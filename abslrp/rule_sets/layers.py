"""Rules of layers by one form: contributions of a changed input through changed weights.

For each group of contributions that share a denominator,

    R_i = share sum_k x_ki sum_j w_kij / (sum_k (x_k w_k)_j + b + epsilon) R_j

where ``x_k`` and ``w_k`` are made of the input and the weights, ``b`` of the bias, and epsilon has
the sign of what it is added to (``sign(0) = 1``). Each function here returns a rule set of such a
rule that is LRP-epsilon in all that has no weights, to be passed as ``rules`` or to
:func:`abslrp.rule_sets.composites.composite`. Conventions are Zennit's: a batch norm directly
behind a layer is one with it, so that a negative gamma swaps the signs of contributions.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from abslrp.plan.accounts import Custom
from abslrp.registry import RuleSet
from abslrp.rule_sets.proportional import EPSILON, inverse_of, make, merged
from abslrp.rules.absolute import plus
from abslrp.rules.operands import Linear
from abslrp.tape import Call

Change = Callable[[Tensor], Tensor]
Limit = float | Tensor | Change
"""A number, what broadcasts to the input, or a function of the input (B, C, ...)."""


def whole(tensor: Tensor) -> Tensor:
    """``t``."""
    return tensor


def minus(tensor: Tensor) -> Tensor:
    """``t-``, which is not above 0."""
    return tensor.clamp(max=0)


class Group(NamedTuple):
    """Contributions that share a denominator: pairs of what is made of input and of weights."""

    pairs: tuple[tuple[Change, Change], ...]
    bias: Change = torch.zeros_like
    share: float = 1.0
    sign: int = 0
    """1: of outputs above 0, -1: of those below. No group of a rule has one, or all have."""


POSITIVE = ((plus, plus), (minus, minus))
NEGATIVE = ((plus, minus), (minus, plus))


def rule_of(*groups: Group, epsilon: float = EPSILON) -> Callable[[Call, Linear], Custom]:
    """Return the rule of groups of contributions; a product for each pair, and its transpose."""
    inverse = inverse_of(epsilon)
    groups = tuple(group for group in groups if group.share)

    def rule(call: Call, given: Linear) -> Custom:
        map, value = given.map, given.input

        def pairs(group: Group, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
            x, w = alike(value.tensor, weights)
            made = [one for one in group.pairs if not (value.nonnegative and one[0] is minus)]
            return [(of_x(x), of_w(w)) for of_x, of_w in made]

        @functools.cache  # once for all starts
        def known() -> tuple[Tensor, list[Tensor]]:
            weights, norm = map.weights, merged(call, given)
            bias = weights.new_zeros(()) if given.bias is None else given.bias
            if norm is not None:
                weights, bias = norm.weights, bias * norm.scale + norm.shift

            def summed(group: Group) -> Tensor:
                products = (map.forward(*pair) for pair in pairs(group, weights))
                return sum(products, group.bias(bias))

            factors = [group.share * inverse(summed(group)) for group in groups]
            if any(group.sign for group in groups):
                h = summed(Group(((whole, whole),), whole))
                signs = [h * group.sign > 0 for group in groups]
                factors = [one * sign for one, sign in zip(factors, signs, strict=True)]
            return weights, factors

        def propagate(relevance: Tensor) -> list[Tensor | None]:
            weights, factors = known()
            sent: Any = 0
            for group, factor in zip(groups, factors, strict=True):
                s = relevance * factor
                for x, w in pairs(group, weights):
                    sent = sent + x * map.transposed(s, w.to(s.dtype))
            return [sent]

        return Custom(propagate, axes=given.axes)

    return rule


def alike(*tensors: Tensor) -> list[Tensor]:
    """Return tensors in one type: what sums divide leaves the range of float16."""
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    dtype = torch.float32 if dtype == torch.float16 else dtype
    return [tensor.to(dtype) for tensor in tensors]


def gamma(gamma: float = 0.25, epsilon: float = EPSILON) -> RuleSet:
    """Build LRP-gamma: positive contributions count 1 + gamma times (Montavon et al. 2019).

    For inputs of both signs in the general form: at outputs below 0 negative contributions do.

    Parameters
    ----------
    gamma
        What is added to the weights of such contributions, as a share of them, >= 0.
    epsilon
        Stabiliser, >= 0; that of all functions here.

    Returns
    -------
    A rule set. Cost: as LRP-alpha-beta, and one product more.

    Raises
    ------
    ValueError
        If ``gamma`` or ``epsilon`` is negative.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Linear(2, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> abslrp.explain(model, torch.ones(1, 2), 0, rules=gamma(1.0, epsilon=0.0))
    tensor([[ 1.2000, -0.2000]])
    """
    if not gamma >= 0:
        raise ValueError(f"gamma: expected a number >= 0, got {gamma}")

    def more(tensor: Tensor) -> Tensor:
        return tensor + gamma * plus(tensor)

    def less(tensor: Tensor) -> Tensor:
        return tensor + gamma * minus(tensor)

    above = Group(((plus, more), (minus, less)), more, sign=1)
    below = Group(((plus, less), (minus, more)), less, sign=-1)
    return make(f"gamma={gamma:g}", rule_of(above, below, epsilon=epsilon), epsilon=epsilon)


def flat(epsilon: float = EPSILON) -> RuleSet:
    """Build the flat rule: relevance spreads evenly over what an output sees (Lapuschkin 2019).

    ``epsilon`` and errors are those of :func:`gamma`. Returns a rule set. Cost: one product per
    layer, and one transposed product per start.

    Examples
    --------
    >>> import torch, abslrp
    >>> abslrp.explain(torch.nn.Linear(4, 2).eval(), torch.rand(1, 4), 0, rules=flat(0.0))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return make("flat", rule_of(Group(((torch.ones_like,) * 2,)), epsilon=epsilon), epsilon=epsilon)


def w_square(epsilon: float = EPSILON) -> RuleSet:
    """Build the w-square rule: relevance in proportion to squared weights (Montavon et al. 2017).

    ``epsilon`` and errors are those of :func:`gamma`. Returns a rule set. Cost: one product per
    layer, and one transposed product per start.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Linear(2, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> abslrp.explain(model, torch.rand(1, 2), 0, rules=w_square(0.0))
    tensor([[0.9000, 0.1000]])
    """
    group = Group(((torch.ones_like, torch.square),), torch.square)
    return make("w-square", rule_of(group, epsilon=epsilon), epsilon=epsilon)


def z_box(low: Limit, high: Limit, epsilon: float = EPSILON) -> RuleSet:
    """Build the z-box rule, for inputs that have limits (Montavon et al. 2017).

    ``R_i = sum_j (x_i w_ij - low w+_ij - high w-_ij) / (sum_k of the same + epsilon) R_j``. What
    pads an image counts as 0.

    Parameters
    ----------
    low, high
        The least and the greatest value of the input: numbers, tensors that broadcast to it, or
        functions of it, such as :func:`least` and :func:`greatest`.
    epsilon
        Stabiliser, >= 0.

    Returns
    -------
    A rule set. Cost: three transposed products per layer and start, and three products once.

    Raises
    ------
    ValueError
        If ``epsilon`` is negative.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Linear(2, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> abslrp.explain(model, torch.zeros(1, 2), 0, rules=z_box(-1.0, 1.0, 0.0))
    tensor([[0.7500, 0.2500]])
    """

    def negated(limit: Limit) -> Change:
        def of(x: Tensor) -> Tensor:
            value = limit(x) if callable(limit) else limit
            if not isinstance(value, Tensor):
                return torch.full_like(x, -value)
            return -value.to(x).expand_as(x)

        return of

    group = Group(((whole, whole), (negated(low), plus), (negated(high), minus)))
    return make("z-box", rule_of(group, epsilon=epsilon), epsilon=epsilon)


def least(x: Tensor) -> Tensor:
    """Return the least entry of each sample of (B, ...), of shape (B, 1, ...)."""
    return x.amin(list(range(1, x.ndim)), keepdim=True)


def greatest(x: Tensor) -> Tensor:
    """Return the greatest entry of each sample of (B, ...), of shape (B, 1, ...)."""
    return x.amax(list(range(1, x.ndim)), keepdim=True)
