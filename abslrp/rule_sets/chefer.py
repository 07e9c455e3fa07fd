"""LRP rules of Chefer et al. (CVPR 2021), whose relevance of attention TIBAV takes.

As their code (``hila-chefer/Transformer-Explainability``, ``layers_ours``) has them: linear layers
by their positive contributions without the bias, plus 1e-9; half to each operand of a product of
activations, in proportion to signed contributions; layer norm, softmax and activations unchanged.
A residual sum is in proportion, then each side is scaled as a whole, per sample, so that both
share the total by the size of their sums. The embedding of patches has the z-box of the image's
least and greatest value. Where their code adds 1e-9 to a signed denominator, it has its sign here.
"""

from typing import Any

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, passing
from abslrp.plan.arrivals import placed, ratio
from abslrp.rule_sets import alpha_beta
from abslrp.rule_sets.composites import composite, first_convolution
from abslrp.rule_sets.layers import greatest, least, z_box
from abslrp.rule_sets.proportional import inverse_of
from abslrp.rule_sets.starts import publish
from abslrp.rules.normalization import SOFTMAX
from abslrp.tape import Call, Value

EPSILON = 1e-9

_base = alpha_beta.build(1, 0, EPSILON, biased=False)

_box = z_box(least, greatest, EPSILON)

CHEFER = publish(composite([(first_convolution, _box)], _base, "Chefer"))
"""LRP by Chefer et al.'s code."""


@CHEFER.rule(SOFTMAX)
def softmax(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Unchanged."""
    return passing(input)


@CHEFER.rule(torch.ops.aten.add)
def add(call: Call, input: Any, other: Any, *, alpha: float = 1) -> Account:
    """Two branches share the total by the size of their sums; with a constant, in proportion."""
    pair = [one for one in (input, other) if isinstance(one, Value)]
    if len(pair) < 2 or input.shape != other.shape or alpha != 1:
        return _base.account(call)
    inverse = inverse_of(EPSILON)

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        place = placed(call.output)
        share = relevance * inverse(call.output.tensor)
        sent = [one.tensor * share for one in pair]
        sums = [place.totals(one) for one in sent]
        whole = ratio(place.totals(relevance), sums[0].abs() + sums[1].abs())
        factors = [place.spread(whole * one.sign(), call.output.shape) for one in sums]
        return [one * by.to(one.dtype) for one, by in zip(sent, factors, strict=True)]

    return Custom(propagate)
