"""Pooling and reductions: eq. 12 with constant positive weights; max pooling to the winner."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from abslrp.operation import Operation
from abslrp.registry import ABSLRP, COMMON, Backward, RuleSet, spellings
from abslrp.rules.absolute import gain
from abslrp.rules.structural import structural
from abslrp.transposes import transpose_of

POSITIVE = (
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d mean sum nanmean cumsum fold"
)
WINNER = (
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d max_pool1d_with_indices max_pool2d_with_indices "
    "max_pool3d_with_indices amax amin max min maximum minimum topk sort"
)


def positive_weights(operation: Operation, input: Tensor, *args: Any, **kwargs: Any) -> Backward:
    """Eq. 12 for a linear map without negative weights: ``R = x+ W^T s``."""
    operation.keeps_sign()
    positive = input if operation.is_nonnegative(input) else input.clamp(min=0)
    inverse = gain(operation.forward())
    transpose = transpose_of(operation.function, input, args, kwargs)
    return lambda relevance: (transpose(relevance * inverse).mul(positive),)


def register(rules: RuleSet) -> None:
    """Register the pooling rules of eq. 12."""
    rules.rule(spellings(*POSITIVE.split(), inplace=False))(positive_weights)


register(ABSLRP)
structural(COMMON, *WINNER.split())
