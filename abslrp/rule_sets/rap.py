"""Relative Attributing Propagation (Nam et al., AAAI 2020) and its contrastive start, cRAP.

With ``z_ij = x_i w_ij``, ``P_j = sum_i z+_ij`` and ``N_j = sum_i |z-_ij|``, a layer sends

    R_i = sum_j ( z+_ij / P_j + |z-_ij| / N_j * N_j / (P_j + N_j) ) R_j,

negative contributions weighted by their share of the absolute sum. That is ``N_j / (P_j + N_j)``
too much for every ``R_j``, so the mean correction follows: the excess of the layer's sum over the
sum it received, divided by the number of inputs with relevance, is subtracted from each of them.
What lies under the mean becomes negative. The layer that makes the logits starts with absolute
influence, ``R_i = sum_j |z_ij| / (P_j + N_j) R_j``, which needs no correction.

Decisions, where the paper and its authors' code (``wjNam/Relative_Attributing_Propagation``)
differ or are silent:

- the correction is per sample for convolutions and per row for linear layers, as in the code;
- a bias takes no relevance, a batch norm passes it, pooling and residual additions are in
  proportion to signed contributions, as in the code;
- negative relevance follows the formula above; the code sends it to other inputs in a
  convolution (to those of negative contribution) than in a linear layer (to the positive ones);
- the start is one at the target, not the logit, which only scales the map; the first layer
  follows the formula, where the code uses the z-box rule on images of three channels.
"""

from __future__ import annotations

import functools

from torch import Tensor

from abslrp.plan.accounts import Account, Custom
from abslrp.plan.arrivals import ratio
from abslrp.plan.maps import Left
from abslrp.registry import RuleSet
from abslrp.rule_sets import proportional, signs
from abslrp.rule_sets.starts import publish
from abslrp.rules.operands import Linear
from abslrp.tape import Call

EPSILON = 1e-9
"""Stabiliser of sums and poolings."""


def linear_map(call: Call, given: Linear) -> Account:
    """RAP's rule for a linear layer or a convolution, with its mean correction."""
    axes = _axes(given)
    output = call.output
    sums = functools.cache(lambda: signs.sums(given))  # once for all starts

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        high, low = sums()
        influence = ratio(relevance, high - low)
        last = not output.uses  # nothing consumes the logits inside the model
        positive = influence if last else ratio(relevance, high)
        raw = signs.gather(given, positive, -influence)
        if last:
            return [raw]
        vector = not isinstance(given.map, Left) and given.map.weights.ndim == 1
        received = relevance.unsqueeze(axes[0]) if vector else relevance
        return [_corrected(raw, received.sum(axes, keepdim=True), axes)]

    return Custom(propagate, axes=given.axes)


def _corrected(raw: Tensor, total: Tensor, axes: list[int]) -> Tensor:
    """Subtract the excess of the sum over ``axes`` evenly from the entries that are not zero."""
    there = (raw != 0).to(raw.dtype)
    excess = raw.sum(axes, keepdim=True) - total
    return raw - there * ratio(excess, there.sum(axes, keepdim=True))


def _axes(given: Linear) -> list[int]:
    """Axes of input and output over which a layer's relevance is summed."""
    if given.convolves:
        return list(range(1 - given.map.weights.ndim, 0))
    from_left = isinstance(given.map, Left) and given.input.ndim > 1
    return [-2] if from_left else [-1]


RAP = publish(proportional.make("RAP", linear_map, epsilon=EPSILON))
"""Relative Attributing Propagation."""

CRAP = publish(RuleSet("cRAP", RAP, conserves=False), contrast="difference")
"""RAP with cLRP's start: the map of the target less that of the other classes."""
