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

import torch
from torch import Tensor

from abslrp.conservation import ratio
from abslrp.linear_maps import LinearMap
from abslrp.operation import Operation
from abslrp.registry import Backward, RuleSet
from abslrp.rule_sets import proportional, signs
from abslrp.rule_sets.starts import publish

EPSILON = 1e-9
"""Stabiliser of sums and poolings."""

CONVOLUTIONS = frozenset(
    getattr(torch, f"conv{transposed}{n}d") for transposed in ("", "_transpose") for n in (1, 2, 3)
)


def linear_map(operation: Operation, call: LinearMap) -> Backward:
    """RAP's rule for a linear layer or a convolution, with its mean correction."""
    nonnegative = operation.is_nonnegative(call.input)
    axes = _axes(operation, call)
    known: list[signs.Sums] = []

    def backward(relevance: Tensor) -> tuple[Tensor]:
        if not known:  # once for all starts
            known.append(signs.sums(call, nonnegative=nonnegative))
        high, low = known[0]
        influence = ratio(relevance, high - low)
        # Nothing consumes the logits inside the model.
        last = operation.record is not None and operation.record.consumers == 0
        positive = influence if last else ratio(relevance, high)
        raw = signs.gather(call, positive, -influence, nonnegative=nonnegative)
        if last:
            return (raw,)
        received = relevance.unsqueeze(axes[0]) if call.weight.ndim == 1 else relevance
        return (_corrected(raw, received.sum(axes, keepdim=True), axes),)

    return backward


def _corrected(raw: Tensor, total: Tensor, axes: list[int]) -> Tensor:
    """Subtract the excess of the sum over ``axes`` evenly from the entries that are not zero."""
    there = (raw != 0).to(raw.dtype)
    excess = raw.sum(axes, keepdim=True) - total
    return raw - there * ratio(excess, there.sum(axes, keepdim=True))


def _axes(operation: Operation, call: LinearMap) -> list[int]:
    """Axes of input and output over which a layer's relevance is summed."""
    if operation.function in CONVOLUTIONS:
        return list(range(1 - call.weight.ndim, 0))
    from_left = call.weight is operation.args[0] and call.input.ndim > 1
    return [-2] if from_left else [-1]


RAP = publish(proportional.make("RAP", linear_map, epsilon=EPSILON))
"""Relative Attributing Propagation."""

CRAP = publish(RuleSet("cRAP", RAP, conserves=False), contrast="difference")
"""RAP with cLRP's start: the map of the target less that of the other classes."""
