"""LRP-alpha-beta: positive and negative contributions by their own sums, and cLRP on top of it.

``R_i = sum_j (alpha z+_ij / sum_k z+_kj - beta z-_ij / sum_k z-_kj) R_j`` with
``z_ij = x_i w_ij`` (Bach et al., PLOS ONE 2015). Conventions, which are those of Zennit's
``AlphaBeta`` with ``SequentialMergeBatchNorm`` / ``ResNetCanonizer``:

- a bias counts in the sum of its own sign; both sums are moved away from 0 by epsilon;
- a batch norm directly behind a linear layer or a convolution is one layer with it, so that a
  negative gamma swaps the signs of the contributions; any other norm passes relevance unchanged
  (on the eps that Zennit leaves in a merged norm see :mod:`abslrp.rule_sets.epsilon`);
- sums without parameters (residual additions, average pooling, interpolation) are in proportion
  to the signed contributions, as in LRP-epsilon (Zennit's ``Norm``), not split by sign; max
  pooling is to the winner; activations pass.

Zennit's ready-made composites ``epsilon_plus`` and ``epsilon_alpha2_beta1`` use alpha-beta for
convolutions alone and epsilon for linear layers; here one rule serves both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.conservation import ratio
from abslrp.linear_maps import LinearMap
from abslrp.norms import Norm
from abslrp.operation import Operation
from abslrp.record import Postponed
from abslrp.registry import Backward, RuleSet
from abslrp.rule_sets import proportional, signs
from abslrp.rule_sets.proportional import EPSILON
from abslrp.rule_sets.starts import publish


class _Mergeable(Postponed):
    """A linear map whose coefficients wait until it is known whether a batch norm follows."""

    norm: tuple[Tensor, Tensor] | None = None
    """``scale`` and ``shift`` of the batch norm that is one layer with the map."""

    def __init__(self, output: Tensor) -> None:
        super().__init__(output, lambda h: h)

    def factor(self) -> None:
        """Let go of the output, which nothing here needs; too late for a merger."""
        self._output = None

    def merge(self, scale: Tensor, shift: Tensor) -> None:
        """Become one layer with the batch norm ``scale * h + shift``."""
        self.norm = scale, shift

    def unmerge(self, _: Tensor) -> None:
        """Be a layer of its own again."""
        self.norm = None


def build(
    alpha: float = 2.0, beta: float = 1.0, epsilon: float = EPSILON, name: str | None = None
) -> RuleSet:
    """Build an LRP-alpha-beta rule set.

    Parameters
    ----------
    alpha, beta
        Weights of positive and negative contributions, ``alpha - beta = 1`` and ``beta >= 0``.
    epsilon
        Stabiliser of both sums, >= 0.
    name
        Name of the set; by default one that tells its parameters.

    Returns
    -------
    RuleSet
        A rule set to be passed as ``rules``.

    Raises
    ------
    ValueError
        If ``alpha - beta`` is not 1, or ``beta`` or ``epsilon`` is negative.

    Notes
    -----
    Cost: two transposed products per layer and start and two products once (one each for
    ``beta = 0``), twice that where the input has both signs.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.rule_sets import alpha_beta
    >>> model = torch.nn.Linear(2, 2, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0], [0.0, 1.0]]))
    >>> abslrp.explain(model, torch.ones(1, 2), [0], rules=alpha_beta.build(2, 1, epsilon=0.0))
    tensor([[ 2., -1.]])
    """
    if beta < 0 or abs(alpha - beta - 1) > 1e-9:
        raise ValueError(
            f"alpha, beta: expected beta >= 0 and alpha - beta = 1, got {alpha} and {beta}"
        )

    def linear_map(operation: Operation, call: LinearMap) -> Backward:
        nonnegative = operation.is_nonnegative(call.input)
        mergeable = operation.postponed = _Mergeable(operation.forward())
        bias = signs.bias_of(call)
        known: list[tuple[Tensor, Tensor | None]] = []

        def backward(relevance: Tensor) -> tuple[Tensor]:
            if not known:  # once for all starts
                sums = signs.sums(call, nonnegative=nonnegative)
                known.append(_coefficients(sums, bias, mergeable, alpha, beta, epsilon))
            positive, negative = known[0]
            return (
                signs.gather(
                    call,
                    relevance * positive,
                    None if negative is None else relevance * negative,
                    nonnegative=nonnegative,
                ),
            )

        return backward

    def merged_norm(operation: Operation, norm: Norm) -> Backward:
        maker = operation.records[0].operation
        mergeable = maker.postponed if maker is not None else None
        if (
            operation.function is F.batch_norm
            and isinstance(mergeable, _Mergeable)
            and operation.claim(norm.input, mergeable.unmerge) is not None
        ):
            scale = norm.deviation.reciprocal()
            if norm.weight is not None:
                scale = scale * norm.weight
            shift = torch.zeros_like(scale) if norm.bias is None else norm.bias
            mergeable.merge(scale, shift if norm.mean is None else shift - norm.mean * scale)
        return proportional.passing_norm(operation, norm)

    return proportional.make(
        name or f"alpha={alpha:g}, beta={beta:g}", linear_map, merged_norm, epsilon
    )


def _coefficients(
    sums: signs.Sums,
    bias: Tensor | None,
    merged: _Mergeable,
    alpha: float,
    beta: float,
    epsilon: float,
) -> tuple[Tensor, Tensor | None]:
    """Return the factors of ``(x_i w_ij)+`` and ``(x_i w_ij)-`` per unit of relevance."""
    high, low = sums
    if merged.norm is None:
        if bias is not None:
            high, low = high + bias.clamp(min=0), low + bias.clamp(max=0)
        for_low = ratio(-beta, low - epsilon) if beta else None
        return ratio(alpha, high + epsilon), for_low
    scale, shift = merged.norm
    # A negative scale makes positive contributions of negative ones.
    swapped = scale < 0
    bias = shift if bias is None else bias * scale + shift
    positive = torch.where(swapped, low, high) * scale + bias.clamp(min=0)
    negative = torch.where(swapped, high, low) * scale + bias.clamp(max=0)
    for_positive = ratio(alpha, positive + epsilon) * scale
    for_negative = ratio(-beta, negative - epsilon) * scale
    return (
        torch.where(swapped, for_negative, for_positive),
        torch.where(swapped, for_positive, for_negative),
    )


ALPHA1BETA0 = publish(build(1, 0, name="alpha1beta0"))
"""LRP-alpha1-beta0, also known as z+."""

ALPHA2BETA1 = publish(build(2, 1, name="alpha2beta1"))
"""LRP-alpha2-beta1."""

CLRP = publish(RuleSet("cLRP", ALPHA1BETA0, conserves=False), contrast="difference")
"""Contrastive LRP (Gu et al., ACCV 2018): alpha1-beta0 of the target less that of the others."""
