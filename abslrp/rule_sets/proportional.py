"""What LRP rule sets share: relevance in proportion to signed contributions, z / (h + epsilon).

Sums, poolings and products have no parameters that a rule could split by sign, so every variant
of LRP treats them alike, as Zennit's composites do with their ``Norm`` rule.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Split, passing
from abslrp.plan.axes import but
from abslrp.plan.factors import Factor, computed, constant, itself
from abslrp.plan.linear_maps import Convolution, Right, Rows
from abslrp.registry import COMMON, RuleSet
from abslrp.rules import addition, multiplication, normalization, operands, pooling
from abslrp.rules.normalization import LOG_SOFTMAX, SOFTMAX, Norm, NormRule
from abslrp.rules.operands import Linear, LinearRule, Pair
from abslrp.tape import Call, Value

EPSILON = 1e-6
"""Stabiliser of the LRP rule sets, Zennit's default."""

Inverse = Callable[[Tensor], Tensor]


def inverse_of(epsilon: float) -> Inverse:
    """Return ``h -> 1 / (h + epsilon * sign(h))`` with ``sign(0) = 1``, and 0 for 1 / 0.

    Raises
    ------
    ValueError
        If ``epsilon`` is negative.

    Examples
    --------
    >>> import torch
    >>> inverse_of(0.5)(torch.tensor([1.5, 0.0, -1.5])).tolist()
    [0.5, 2.0, -0.5]
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon: expected a number >= 0, got {epsilon}")

    def inverse(h: Tensor) -> Tensor:
        wide = h.detach().to(torch.promote_types(h.dtype, torch.float32))
        # Plus or minus epsilon; torch.where takes twelve times as long on a CPU.
        result = wide.clamp(max=0).sign_().add_(0.5).mul_(2 * epsilon)
        result.add_(wide).reciprocal_()
        if epsilon == 0:
            result.masked_fill_(wide == 0, 0)
        # Half precision ends at 65504.
        largest = torch.finfo(h.dtype).max
        return result if wide.dtype == h.dtype else result.clamp_(-largest, largest).to(h.dtype)

    return inverse


def stabilised(value: Value, inverse: Inverse) -> Factor:
    """``1 / (h + epsilon sign(h))`` of a value."""
    return computed(lambda: inverse(value.tensor), value)


def passing_norm(call: Call, norm: Norm) -> Account:
    """One layer with the layer before it, whose rule looks for a batch norm; any other passes."""
    return passing(norm.input, statement=norm if norm.batch else None)


class Merged(NamedTuple):
    """A layer and the batch norm behind it as one: ``h scale + shift``, and its weights."""

    scale: Tensor
    shift: Tensor
    weights: Tensor


def merged(call: Call, given: Linear) -> Merged | None:
    """Return what a batch norm that alone follows a layer makes of it, None if there is none."""
    output, map, weights = call.output, given.map, given.map.weights
    norm = getattr(output.uses[0].account, "statement", None) if len(output.uses) == 1 else None
    columns = isinstance(map, (Rows, Right)) and output.ndim == weights.ndim == 2
    if norm is None or not (columns or isinstance(map, Convolution)):
        return None
    scale = norm.deviation.reciprocal()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = torch.zeros_like(scale) if norm.bias is None else norm.bias
    if norm.mean is not None:
        shift = shift - norm.mean * scale
    by = scale.flatten()
    if isinstance(map, Convolution) and map.backwards:  # (in, out / groups, ...)
        by = by.reshape(map.groups, -1).repeat_interleave(len(weights) // map.groups, 0)
        by = by.reshape(*by.shape, *[1] * (weights.ndim - 2))
    elif not isinstance(map, Right):
        by = by.reshape(-1, *[1] * (weights.ndim - 1))
    return Merged(scale, shift, weights * by)


def make(
    name: str, linear_rule: LinearRule, norm_rule: NormRule = passing_norm, epsilon: float = EPSILON
) -> RuleSet:
    """Build an LRP rule set from its rule for products with parameters.

    Parameters
    ----------
    name
        The set's name.
    linear_rule
        Rule for linear layers and convolutions.
    norm_rule
        Rule for batch, layer, group, instance and RMS norm.
    epsilon
        Stabiliser of everything else.

    Returns
    -------
    A rule set that does its own conservation. It is not published yet.
    """
    rules = RuleSet(name, COMMON, conserves=False)
    inverse = inverse_of(epsilon)

    def pair(call: Call, given: Pair) -> Account:
        """Half of the relevance to each operand, with the other as weights."""
        half = [stabilised(call.output, inverse), constant(0.5)]
        maps = ((given.first, given.of_first), (given.second, given.of_second))
        parts = [Product(x, map, after=[itself(x)]) for x, map in maps]
        return Split(before=half, parts=parts, axes=given.axes)

    def terms(call: Call, given: list[tuple[Any, float]]) -> Account:
        """``R_a = a / (h + epsilon) R``; a constant counts in h only."""
        parts, sure = addition.shares(given, lambda a, c: Diagonal(a, [itself(a), constant(c)]))
        return Split(before=[stabilised(call.output, inverse)], parts=parts, nonnegative=sure)

    operands.register_linear(rules, linear_rule, pair)
    operands.register_products(rules, linear_rule, pair)
    normalization.register(rules, norm_rule)
    addition.register(rules, terms)
    multiplication.register(rules, lambda h: constant(0.5))

    # R = x W^T (R / (h + epsilon)), whatever the weights' sign.
    pool = pooling.register(rules, lambda h: stabilised(h, inverse), itself, itself)
    rules.rule(pooling.SIGNED)(pool)

    @rules.rule(SOFTMAX)
    def softmax(call: Call, input: Value, dim: int, *args: Any, **kwargs: Any) -> Account:
        """``R_x = x (R - p sum(R))``, its first-order expansion (Achtibat et al. 2024)."""
        output, axis = call.output, dim % max(input.ndim, 1) + 1

        def expand(relevance: Tensor) -> list[Tensor | None]:
            # What a mask sets to -inf has probability 0 and takes no part.
            x = input.tensor.masked_fill(~torch.isfinite(input.tensor), 0)
            return [(relevance - output.tensor * relevance.sum(axis, keepdim=True)) * x]

        return Custom(expand, nonnegative=True, axes=but(dim))

    @rules.rule(LOG_SOFTMAX)
    def log_softmax(call: Call, input: Value, dim: int, *args: Any, **kwargs: Any) -> Account:
        """``x - constant``, the logarithm of the denominator being a bias."""
        return Diagonal(input, [itself(input), stabilised(call.output, inverse)], axes=but(dim))

    return rules
