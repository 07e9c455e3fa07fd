"""SPEC 1.2, every row: (inputs, parameters, relevance R of the output) to relevance of the inputs.

Slow, float64, by explicit sums of contributions. Relevance here is eq. 12 to the letter
(``conserve=None``); tests.naive.conserve renormalises. All rules are linear in R, so they take
signed relevance as it is.
"""

from __future__ import annotations

from tests.naive.contributions import (
    EPSILON,
    Array,
    Share,
    absolute_share,
    alpha_beta_share,
    conv,
    conv_transpose,
    epsilon_share,
    linear,
)
from tests.naive.elementwise import (
    activation,
    add,
    add_constant,
    batch_norm,
    gate,
    group_norm,
    layer_norm,
    multiply_constant,
    multiply_negative,
    rms_norm,
    softmax,
    subtract,
    two_layers,
)
from tests.naive.interpolation import interpolate
from tests.naive.pooling import (
    adaptive_avg_pool,
    adaptive_max_pool,
    avg_pool,
    max_pool,
    mean,
    total,
)
from tests.naive.products import Step, attention, einsum, matmul, multi_head_attention, plain_step

__all__ = [
    "EPSILON",
    "Array",
    "Share",
    "Step",
    "absolute_share",
    "activation",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "add",
    "add_constant",
    "alpha_beta_share",
    "attention",
    "avg_pool",
    "batch_norm",
    "conv",
    "conv_transpose",
    "einsum",
    "epsilon_share",
    "gate",
    "group_norm",
    "interpolate",
    "layer_norm",
    "linear",
    "matmul",
    "max_pool",
    "mean",
    "multi_head_attention",
    "multiply_constant",
    "multiply_negative",
    "plain_step",
    "rms_norm",
    "softmax",
    "subtract",
    "total",
    "two_layers",
]
