"""What LRP rule sets share: relevance in proportion to signed contributions, z / (h + epsilon).

Sums, poolings and products have no parameters that a rule could split by sign, so every variant
of LRP treats them alike, as Zennit's composites do with their ``Norm`` rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp import linear_maps, norms
from abslrp.linear_maps import LinearRule, unbroadcast
from abslrp.norms import Norm, NormRule
from abslrp.operation import Operation, UncoveredError, passes
from abslrp.registry import COMMON, Backward, RuleSet, spellings
from abslrp.rules import multiplication
from abslrp.rules.pooling import POSITIVE
from abslrp.transposes import transpose_of

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


def passing_norm(operation: Operation, norm: Norm) -> Backward:
    """Unchanged: as Zennit treats a batch norm that it does not merge, and LXT a layer norm."""
    return passes(operation)


def make(
    name: str,
    linear_rule: LinearRule,
    norm_rule: NormRule = passing_norm,
    epsilon: float = EPSILON,
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
    inverse_to = inverse_of(epsilon)
    linear_maps.register(rules, linear_rule)
    norms.register(rules, norm_rule)
    _sums(rules, inverse_to)
    _products(rules, linear_rule, inverse_to)
    _linear_functions(rules, inverse_to)
    _softmax(rules, inverse_to)
    return rules


def _sums(rules: RuleSet, inverse_to: Inverse) -> None:
    def terms(operation: Operation, given: list[tuple[Any, float]]) -> Backward:
        """``R_a = a / (h + epsilon) R``; a constant counts in h only."""
        parts = [
            term * sign  # a copy: an addition in place overwrites its first operand
            for term, sign in given
            if operation.is_active(term)
        ]
        whole = operation.forward()
        if len(parts) == len(given) and all(sign > 0 for _, sign in given):
            operation.keeps_sign()
        inverse = inverse_to(whole)
        gains = [(part * inverse, part.shape) for part in parts]
        return lambda relevance: tuple(
            unbroadcast(relevance * gain, shape) for gain, shape in gains
        )

    @rules.rule(spellings("add"), Tensor.__radd__)
    def add(operation: Operation, input: Any, other: Any, *, alpha: float = 1) -> Backward:
        return terms(operation, [(input, 1.0), (other, alpha)])

    @rules.rule(spellings("sub", "subtract"))
    def sub(operation: Operation, input: Any, other: Any, *, alpha: float = 1) -> Backward:
        return terms(operation, [(input, 1.0), (other, -alpha)])

    @rules.rule(Tensor.__rsub__, torch.rsub)
    def rsub(operation: Operation, input: Any, other: Any, *, alpha: float = 1) -> Backward:
        return terms(operation, [(input, -alpha), (other, 1.0)])


def _products(rules: RuleSet, linear_rule: LinearRule, inverse_to: Inverse) -> None:
    @rules.rule(spellings("matmul", "mm", "bmm", "mv", "dot", inplace=False))
    @linear_maps.two_operands
    def matmul(operation: Operation, input: Tensor, other: Tensor) -> Backward:
        """Half of the relevance to each operand, with the other as weights."""
        if not (operation.is_active(input) and operation.is_active(other)):
            return linear_maps.product(linear_rule, operation, input, other)
        if input.ndim < 2 or other.ndim < 2:
            raise UncoveredError(
                f"{operation.name}: a product of two activations needs two axes each, got shapes "
                f"{tuple(input.shape)} and {tuple(other.shape)}"
            )
        a, b = input, other.detach()
        inverse = inverse_to(operation.forward()) / 2

        def backward(relevance: Tensor) -> tuple[Tensor, Tensor]:
            s = relevance * inverse
            return unbroadcast((s @ b.mT) * a, a.shape), unbroadcast((a.mT @ s) * b, b.shape)

        return backward

    @rules.rule(spellings("mul", "multiply"), Tensor.__rmul__)
    def mul(operation: Operation, input: Any, other: Any) -> Backward:
        """Pass relevance of a constant's factor unchanged; of a gate, give half to each operand."""
        if not (operation.is_active(input) and operation.is_active(other)):
            return multiplication.mul(operation, input, other)
        shapes = input.shape, other.shape
        operation.keeps_sign()
        operation.forward()
        return lambda relevance: tuple(unbroadcast(relevance / 2, shape) for shape in shapes)


def _linear_functions(rules: RuleSet, inverse_to: Inverse) -> None:
    def linear(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
        """``R = x W^T (R / (h + epsilon))`` by the function's own transpose."""
        x = input
        inverse = inverse_to(operation.forward())
        transpose = transpose_of(operation.function, input, args, kwargs)
        return lambda relevance: (transpose(relevance * inverse).mul(x),)

    @rules.rule(spellings(*POSITIVE.split(), inplace=False))
    def pooling(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
        operation.keeps_sign()
        return linear(operation, input, *args, **kwargs)

    rules.rule(F.interpolate)(linear)


def _softmax(rules: RuleSet, inverse_to: Inverse) -> None:
    @rules.rule(spellings("softmax", inplace=False))
    def softmax(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
        """``R_x = x (R - p sum(R))``, its first-order expansion (Achtibat et al. 2024)."""
        operation.output_nonnegative = True
        probability = operation.forward().detach()
        # What a mask sets to -inf has probability 0 and takes no part.
        x = input.masked_fill(~torch.isfinite(input), 0)
        axis = kwargs["dim"] if "dim" in kwargs else args[0]
        if axis is None:  # F.softmax then chooses one, with a warning
            axis = 0 if input.ndim in (1, 3) else 1

        def backward(relevance: Tensor) -> tuple[Tensor]:
            return ((relevance - probability * relevance.sum(axis, keepdim=True)) * x,)

        return backward

    @rules.rule(spellings("log_softmax", inplace=False))
    def log_softmax(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
        """``x - constant``, the logarithm of the denominator being a bias."""
        gain = input * inverse_to(operation.forward())
        return lambda relevance: (relevance * gain,)
