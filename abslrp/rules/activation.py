"""Activation functions pass relevance on: R_j is the relevance of a_j = g(h_j) (eq. 2)."""

from typing import Any

import torch
from torch import Tensor

from abslrp.outputs import centred
from abslrp.plan.accounts import Account, UncoveredError, constant, passing, same
from abslrp.plan.axes import aligned, reduced
from abslrp.registry import COMMON
from abslrp.tape import Call, Value, WrittenOut
from abslrp.tape.values import by_name

SIGNED = (
    "leaky_relu prelu _prelu_kernel elu celu selu gelu silu mish hardswish logsigmoid log_sigmoid "
    "tanh hardshrink softshrink log log1p log2 log10 expm1 pow sin cos tan asin "
    "acos atan asinh acosh atanh sinh cosh erf erfinv reciprocal sign sgn nan_to_num round floor "
    "ceil trunc logit float_power threshold log_sigmoid_forward arcsin arccos arctan special_erf "
    "special_expm1 special_log1p special_ndtr erfc"
)
NONNEGATIVE = (
    "relu relu6 sigmoid special_expit hardsigmoid exp exp2 "
    "softplus square abs absolute sqrt special_exp2"
)
HELD = (
    "rsqrt norm linalg_vector_norm linalg_matrix_norm linalg_norm frobenius_norm var std var_mean "
    "std_mean logsumexp detach detach_copy bernoulli"
)
MADE = (
    "zeros_like ones_like full_like empty_like rand_like randn_like zero new_zeros new_ones "
    "new_full new_empty new_empty_strided empty_strided"
)


# The last are Python functions, a difference or a quotient of activations.
@COMMON.rule(SIGNED, torch.nn.functional.tanhshrink, torch.nn.functional.softsign, centred)
def activation(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Unchanged; the output may have either sign."""
    if len(call.inputs) > 1:
        raise UncoveredError("slopes or exponents that are activations")
    return passing(call.inputs[0])


@COMMON.rule("set_data")
def set_data(call: Call, input: Value) -> Account:
    """Unchanged, also relevance of the negative: its sign may be that of what came later."""
    return same(input)


@COMMON.rule(NONNEGATIVE)
def nonnegative_activation(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Unchanged; no entry is negative, and a ReLU's is the input where that is positive, or 0."""
    return passing(input, nonnegative=True, rectifies=call.short == "relu")


def bounded(input: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """Take the larger of two activations, or the smaller."""
    least = input if min is None else torch.maximum(input, min)
    return least if max is None else torch.minimum(least, max)


@COMMON.rule("clamp clamp_min clamp_max clip hardtanh")
def clamp(call: Call, input: Value, min: Any = None, max: Any = None) -> Account:
    """Unchanged; the output has no negative entry where the lower bound is not negative."""
    if isinstance(min, Value) or isinstance(max, Value):
        raise WrittenOut(torch.minimum if call.name == "aten.clamp_max" else bounded)
    if call.name == "aten.clamp_max":
        min, max = None, min
    elif call.name == "aten.hardtanh":
        min, max = (-1 if min is None else min), (1 if max is None else max)
    above_zero = isinstance(min, (int, float)) and min >= 0
    keeps = isinstance(max, (int, float)) and max >= 0 and input.nonnegative
    return passing(input, nonnegative=above_zero or keeps)


@COMMON.rule("rrelu rrelu_with_noise")
def rrelu(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Unchanged whatever the slopes: in evaluation mode it is fixed."""
    if any(one is True for one in (*args, *kwargs.values())):
        raise ValueError(
            "model: an rrelu is in training mode, so that logits and map are random; expected it "
            "in evaluation mode"
        )
    return passing(input)


@COMMON.rule("dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout")
def dropout(call: Call, input: Value, p: float, train: bool | None) -> Account:
    """Unchanged: in evaluation mode dropout is the identity."""
    if p and train is not False:
        raise ValueError(
            "model: a dropout is in training mode, so that logits and map are random; expected "
            "it in evaluation mode (F.dropout drops unless it is given training=False)"
        )
    return same(input, nonnegative=input.nonnegative)


@COMMON.rule(HELD)
def held(call: Call, *args: Any, **kwargs: Any) -> Account:
    """Denominators and spreads, as in norms that models write out by hand, are held constant."""
    dims = by_name(call.operator, call.args, call.kwargs).get("dim")
    same = call.output.shape == call.inputs[0].shape
    return constant(held=True, axes=aligned if same else reduced(dims))


@COMMON.rule(MADE)
def made(call: Call, *args: Any, **kwargs: Any) -> Account:
    """Nothing of the entries: only a shape or type was taken."""
    return constant()
