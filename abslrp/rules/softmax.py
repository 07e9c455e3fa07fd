"""Softmax with its denominator held constant: R_x = x+ R."""

from __future__ import annotations

from typing import Any

from abslrp.plan.accounts import Account, Diagonal
from abslrp.plan.axes import but
from abslrp.plan.factors import inverse, positive
from abslrp.registry import ABSLRP
from abslrp.rules.absolute import EPSILON
from abslrp.tape import Call, Value

SOFTMAX = "softmax _softmax _safe_softmax special_softmax"
LOG_SOFTMAX = "log_softmax _log_softmax special_log_softmax"


@ABSLRP.rule(SOFTMAX)
def softmax(call: Call, input: Value, dim: int, *args: Any, **kwargs: Any) -> Account:
    """``R_x = x+ R``."""
    return Diagonal(input, [positive(input)], nonnegative=True, axes=but(dim))


@ABSLRP.rule(LOG_SOFTMAX)
def log_softmax(call: Call, input: Value, dim: int, *args: Any, **kwargs: Any) -> Account:
    """``x - constant``: eq. 12 with the logarithm of the denominator as bias."""
    share = [positive(input), inverse(call.output, EPSILON)]
    return Diagonal(input, share, axes=but(dim))
