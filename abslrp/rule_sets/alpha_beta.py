"""LRP-alpha-beta: positive and negative contributions by their own sums.

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

import torch

from abslrp.registry import RuleSet
from abslrp.rule_sets.layers import NEGATIVE, POSITIVE, Group, minus, rule_of
from abslrp.rule_sets.proportional import EPSILON, make
from abslrp.rule_sets.starts import publish
from abslrp.rules.absolute import plus


def build(
    alpha: float = 2.0,
    beta: float = 1.0,
    epsilon: float = EPSILON,
    name: str | None = None,
    *,
    biased: bool = True,
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
    biased
        Whether a bias counts in the sum of its own sign.

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

    of_bias = (plus, minus) if biased else (torch.zeros_like,) * 2
    positive, negative = Group(POSITIVE, of_bias[0], alpha), Group(NEGATIVE, of_bias[1], -beta)
    rule = rule_of(positive, negative, epsilon=epsilon)
    return make(name or f"alpha={alpha:g}, beta={beta:g}", rule, epsilon=epsilon)


ALPHA1BETA0 = publish(build(1, 0, name="alpha1beta0"))
"""LRP-alpha1-beta0, also known as z+."""

ALPHA2BETA1 = publish(build(2, 1, name="alpha2beta1"))
"""LRP-alpha2-beta1."""
