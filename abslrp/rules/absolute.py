"""Eq. 12 for products: with a parameter, and of two activations.

``R_i = sum_j (x_i w_ij)+ / (|h_j| + epsilon) R_j``, with ``s = R / (|h| + epsilon)``.
"""

from torch import Tensor

from abslrp.plan.accounts import Account, Product, Split, Term, signed
from abslrp.plan.factors import inverse, magnitude, positive
from abslrp.plan.linear_maps import LinearMap
from abslrp.registry import ABSLRP
from abslrp.rules.operands import Linear, Pair, register_linear, register_products
from abslrp.tape import Call, Value

EPSILON = 1e-9
"""Stabiliser of eq. 12."""


def plus(weight: Tensor) -> Tensor:
    """``W+``."""
    return weight.clamp(min=0)


def minus(weight: Tensor) -> Tensor:
    """``-W-``."""
    return weight.clamp(max=0).neg_()


def product(x: Value, map: LinearMap, nonnegative: bool = False, sign: int = 1) -> Product:
    """``x+ W+^T s + x- W-^T s``, with ``-W`` where ``sign`` is -1.

    Where no entry of x, or of W, is negative, ``x+ W+^T s``.
    """
    if nonnegative and sign > 0:
        return Product(x, map, after=[positive(x)])
    above, below = (plus, minus) if sign > 0 else (minus, plus)
    if x.nonnegative:
        return Product(x, map, terms=[Term(above)], after=[positive(x)])
    both = [Term(above, sign=1), Term(below, sign=-1)]
    return Product(x, map, terms=both, after=[magnitude(x)])


def linear_map(call: Call, given: Linear) -> Account:
    """Eq. 12 for a linear layer or a convolution; the bias counts in h."""
    account = product(given.input, given.map)
    account.axes = given.axes
    account.before = [inverse(call.output, EPSILON)]
    return account


@signed
def two_values(call: Call, given: Pair, *, sign: int) -> Account:
    """Eq. 12 once for each operand, with the other as weights; a bias counts in h."""
    a, of_a, b, of_b, axes = given
    parts = [product(a, of_a, b.nonnegative, sign), product(b, of_b, a.nonnegative, sign)]
    return Split(before=[inverse(call.output, EPSILON)], parts=parts, axes=axes)


register_linear(ABSLRP, linear_map, two_values)
register_products(ABSLRP, linear_map, two_values)
