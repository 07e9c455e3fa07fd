"""The z-box rule on the convolutions that see the image, beside any other rules.

``R_i = sum_j (x_i w_ij - low w+_ij - high w-_ij) / (sum_k of the same + epsilon) R_j``
(Montavon et al., Pattern Recognition 65, 2017). What pads an image counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from abslrp.plan.accounts import Account, Custom
from abslrp.plan.arrivals import ratio
from abslrp.plan.maps import Convolution
from abslrp.registry import RuleSet
from abslrp.rule_sets.proportional import merged_into
from abslrp.rules import operands
from abslrp.rules.operands import Linear
from abslrp.tape import Call, Value

Limits = Callable[[Tensor], "tuple[Tensor, Tensor]"]
"""From an image (B, C, ...) to the least and the greatest values, which broadcast to it."""


def of_the_image(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the greatest entry of each sample."""
    axes = list(range(1, x.ndim))
    return x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)


def boxed(name: str, base: RuleSet, limits: Limits, epsilon: float = 0.0) -> RuleSet:
    """Build the set of a base's rules with the z-box on the convolutions that see the image."""
    rules = RuleSet(name, base, conserves=False)
    rules.by_module = False

    def linear_map(call: Call, given: Linear) -> Account:
        map, x = given.map, given.input
        if not isinstance(map, Convolution) or map.backwards or not sees_image(x):
            return base.account(call)

        def propagate(relevance: Tensor) -> list[Tensor | None]:
            weights, norm = map.weights, merged_into(call.output)
            if norm is not None:
                scale = norm.deviation.reciprocal() * (1 if norm.weight is None else norm.weight)
                weights = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
            low, high = (one.expand_as(x.tensor) for one in limits(x.tensor))
            signs = weights.clamp(min=0), weights.clamp(max=0)
            parts = (x.tensor, weights), (-low, signs[0]), (-high, signs[1])
            h: Any = sum(map.forward(*part) for part in parts)
            s = ratio(relevance, h + epsilon)
            sent: Any = sum(one * map.transposed(s, weight) for one, weight in parts)
            return [sent]

        return Custom(propagate, axes=given.axes)

    operands.register_linear(rules, linear_map)
    return rules


def sees_image(value: Value) -> bool:
    """Whether no linear map with parameters lies between the input and a value."""
    waiting, seen = [value], {value}
    while waiting:
        call = waiting.pop().maker
        if call is not None:
            if getattr(call.account, "linear", False):
                return False
            waiting += set(call.inputs) - seen
            seen |= set(call.inputs)
    return True
