"""LRP-epsilon: ``R_i = sum_j x_i w_ij / (h_j + epsilon sign(h_j)) R_j``, ``sign(0) = 1``.

Bach et al., PLOS ONE 2015. Conventions, which are those of Zennit's ``Epsilon`` with
``SequentialMergeBatchNorm`` / ``ResNetCanonizer``:

- the bias counts in h and keeps its share of relevance;
- a batch norm directly behind a linear layer or a convolution is one layer with it, whose
  weights are ``w gamma / sigma`` and whose h is the norm's output; any other norm passes
  relevance unchanged;
- Zennit's merger sets a norm's variance to one and leaves its eps, so that the network it
  explains differs from the given one by 1 - (1 + eps)^-1/2 = 5e-6 per batch norm; here it does
  not. With eps = 0, or on the network that Zennit made, both agree to rounding;
- residual additions, average pooling and interpolation are linear layers of weight one, with
  the same epsilon (Zennit's ``Norm``); max pooling is to the winner; activations pass.

Attention has no counterpart in Zennit: products of two activations give half to each operand,
softmax follows its first-order expansion (Achtibat et al., ICML 2024).
"""

import functools

from torch import Tensor

from abslrp.plan.accounts import Account, Product, Term
from abslrp.plan.factors import computed, itself
from abslrp.registry import RuleSet
from abslrp.rule_sets import proportional
from abslrp.rule_sets.proportional import EPSILON, inverse_of
from abslrp.rule_sets.starts import publish
from abslrp.rules.operands import Linear
from abslrp.tape import Call


def build(epsilon: float = EPSILON, name: str | None = None) -> RuleSet:
    """Build an LRP-epsilon rule set with a stabiliser of one's own.

    Parameters
    ----------
    epsilon
        Stabiliser, >= 0.
    name
        Name of the set; by default one that tells its epsilon.

    Returns
    -------
    RuleSet
        A rule set to be passed as ``rules``.

    Raises
    ------
    ValueError
        If ``epsilon`` is negative.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.rule_sets import epsilon
    >>> model = torch.nn.Linear(2, 2, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0], [0.0, 1.0]]))
    >>> abslrp.explain(model, torch.ones(1, 2), [0], rules=epsilon.build(0.0))
    tensor([[ 1.5000, -0.5000]])
    """
    inverse = inverse_of(epsilon)

    def linear_map(call: Call, given: Linear) -> Account:
        """``R_i = x_i sum_j w_ij R_j / (h_j + epsilon sign(h_j))``."""
        x, h = given.input, call.output

        @functools.cache
        def norm() -> proportional.Merged | None:
            return proportional.merged(call, given)

        def share() -> Tensor:
            one = norm()
            return inverse(h.tensor if one is None else h.tensor * one.scale + one.shift)

        def weights(given: Tensor) -> Tensor:
            one = norm()
            return given if one is None else one.weights

        before, terms = [computed(share, h)], [Term(weights)]
        rule = functools.partial(Product, x, given.map, before, terms, [itself(x)], axes=given.axes)
        return rule(contrary=rule)  # -z / -h is z / h

    return proportional.make(name or f"epsilon={epsilon:g}", linear_map, epsilon=epsilon)


LRP_EPSILON = publish(build(name="epsilon"))
"""LRP-epsilon with epsilon 1e-6."""
