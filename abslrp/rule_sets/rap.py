"""Relative Attributing Propagation (Nam et al., AAAI 2020), cRAP, and equation 5 of the paper.

With ``z_ij = x_i w_ij``, ``P_j`` and ``N_j`` the sums of absolute contributions through positive
and through negative weights:

- `RAP` is what its authors' code does (``wjNam/Relative_Attributing_Propagation``). ``R_j`` goes to
  the contributions through positive weights by ``|z| / P`` and to those through negative weights by
  ``|z| / (P + N)``; in a convolution a negative ``R_j`` goes to the latter alone, by
  ``|z| / N + |z| / (P + N)``. The excess over the sum received is taken evenly from all relevance
  that is not 0, per sample in a convolution and per row in a linear layer. Positive and negative
  inputs do all this apart. A linear layer whose greatest relevance is 1, which makes the logits,
  shares the logit by ``|z|``. The convolution that sees the image has the z-box of the image's
  least and greatest value. A bias takes no relevance, a batch norm passes it on, pooling and
  residual additions are in proportion to signed contributions.
- `cRAP` has these rules, and the two starts of cLRP.
- `RAP-eq5`: ``R_i = sum_j |z_ij| / (P_j + N_j) R_j``, the bias among the contributions (eq. 2),
  then the mean correction, which spreads what the bias took. The beta of the equation is negative
  as printed; here it is |beta|. All else is as in RAP, without the z-box.

The code takes a convolution of three channels for the one that sees the image; here it is one with
no other linear map before it.
"""

from typing import Any

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, Diagonal
from abslrp.plan.arrivals import ratio
from abslrp.plan.factors import computed
from abslrp.plan.linear_maps import Left
from abslrp.registry import RuleSet
from abslrp.rule_sets import proportional
from abslrp.rule_sets.composites import composite, first_convolution
from abslrp.rule_sets.layers import Group, alike, greatest, least, rule_of, z_box
from abslrp.rule_sets.starts import publish
from abslrp.rules.normalization import Norm
from abslrp.rules.operands import Linear
from abslrp.tape import Call


def relative(call: Call, given: Linear) -> Account:
    """Share relevance of a linear layer or a convolution as the authors' code does."""
    map, axes, nonnegative = given.map, _axes(given), given.input.nonnegative

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        x, weights, relevance = alike(given.input.tensor, map.weights, relevance)
        plus, minus = weights.clamp(min=0), weights.clamp(max=0).neg()
        positive = relevance.clamp(min=0) if given.convolves else relevance
        received = relevance.sum(axes, keepdim=True)
        total = torch.zeros_like(x)
        for half in [x] if nonnegative else [x.clamp(min=0), x.clamp(max=0)]:
            size = half.abs()
            lead, other = map.forward(size, plus), map.forward(size, minus)
            to_lead = ratio(positive, lead)
            to_other = ratio(relevance, lead + other) + ratio(relevance - positive, other)
            raw = size * (map.transposed(to_lead, plus) + map.transposed(to_other, minus))
            total = total + _corrected(raw, received, axes)
        if given.convolves:
            return [total]
        logits = relevance.amax(axes, keepdim=True) == 1
        return [torch.where(logits, _by_magnitude(given, x, weights, relevance), total)]

    return Custom(propagate, axes=given.axes)


def _by_magnitude(given: Linear, x: Tensor, weights: Tensor, relevance: Tensor) -> Tensor:
    """Share the logits by the size of contributions, the bias among those of positive inputs."""
    map, axes = given.map, _axes(given)
    raw = x * map.transposed(relevance, weights)
    if given.bias is not None:
        h, size = map.forward(x, weights), map.forward(x.abs(), weights.abs())
        for sign in (1, -1):
            weight = (weights * sign).clamp(min=0) * sign
            whole = (h + sign * size) / 2  # of the contributions of that sign
            part = ratio(given.bias * ratio(whole, h), map.forward(x.clamp(min=0), weight))
            raw = raw + x.clamp(min=0) * map.transposed(relevance * part, weight)
    size = raw.abs()
    return size * ratio(raw.sum(axes, keepdim=True), size.sum(axes, keepdim=True))


_BY_SIZE = rule_of(Group(((torch.abs, torch.abs),), torch.abs), epsilon=0.0)


def equation_5(call: Call, given: Linear) -> Account:
    """Equation 5 for a linear layer or a convolution."""
    axes, by_size = _axes(given), _BY_SIZE(call, given)

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        raw: Any = by_size.propagate(relevance)[0]
        return [_corrected(raw, relevance.sum(axes, keepdim=True), axes)]

    return Custom(propagate, axes=given.axes)


def norm(call: Call, norm: Norm) -> Account:
    """Unchanged where the input is not 0."""
    x = norm.input
    return Diagonal(x, [computed(lambda: x.tensor.ne(0).to(x.dtype))], conserves=False)


def _corrected(raw: Tensor, total: Tensor, axes: list[int]) -> Tensor:
    """Subtract the excess of the sum over ``axes`` evenly from the entries that are not zero."""
    there = (raw != 0).to(raw.dtype)
    excess = raw.sum(axes, keepdim=True) - total
    return raw - there * ratio(excess, there.sum(axes, keepdim=True))


def _axes(given: Linear) -> list[int]:
    """Axes of input and output over which a layer's relevance is summed."""
    if given.convolves:
        return list(range(1 - given.map.weights.ndim, 0))
    return [-2] if isinstance(given.map, Left) else [-1]


_box = z_box(least, greatest, 0.0)
_base = proportional.make("", relative, norm, 0.0)

RAP = publish(composite([(first_convolution, _box)], _base, "RAP"))
"""Relative Attributing Propagation, by its authors' code."""

CRAP = publish(RuleSet("cRAP", RAP, conserves=False), contrast="logits")
"""RAP from cLRP's two starts."""

RAP_EQ5 = publish(proportional.make("RAP-eq5", equation_5, norm, 0.0))
"""Equation 5 of the paper."""
