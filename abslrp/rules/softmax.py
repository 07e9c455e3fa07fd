"""Softmax with its denominator held constant: R_x = x+ R (SPEC 1.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from abslrp.operation import Operation
from abslrp.registry import ABSLRP, Backward, spellings
from abslrp.rules.absolute import claimed, gain


@ABSLRP.rule(spellings("softmax", inplace=False))
def softmax(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
    """``R_x = x+ R``."""
    operation.output_nonnegative = operation.fresh = True
    operation.forward()
    # The scores' own factor comes in here, too, where nothing but a scale lies between.
    scores = claimed(operation, input)
    weight = scores.clamp(min=0) if scores is input else scores.clamp_(min=0)
    return lambda relevance: (operation.scaled(relevance, weight),)


@ABSLRP.rule(spellings("log_softmax", inplace=False))
def log_softmax(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
    """``x - constant``: eq. 12 with the logarithm of the denominator as bias."""
    share = input.clamp(min=0).mul_(gain(operation.forward()))
    return lambda relevance: (operation.scaled(relevance, share),)
