"""Activation functions pass relevance on: R_j is the relevance of a_j = g(h_j) (eq. 2)."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from abslrp.markers import Held
from abslrp.operation import Operation, passes
from abslrp.registry import COMMON, Backward, spellings

SIGNED = (
    "leaky_relu prelu elu celu selu gelu silu mish hardswish hardtanh logsigmoid tanh "
    "softsign hardshrink softshrink tanhshrink log log1p log2 log10 expm1 pow sin cos tan asin "
    "acos atan asinh acosh atanh sinh cosh erf erfinv neg negative reciprocal sign sgn nan_to_num "
    "round floor ceil trunc logit float_power threshold"
)
NONNEGATIVE = "relu6 sigmoid expit hardsigmoid exp exp2 softplus square abs absolute sqrt"
KEEPING = (
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout "
    "native_dropout"
)


@COMMON.rule(spellings(*SIGNED.split()))
def activation(operation: Operation, *args: Any, **kwargs: Any) -> Backward:
    """Unchanged; the output may have either sign."""
    return passes(operation)


@COMMON.rule(spellings("rrelu"))
def rrelu(
    operation: Operation,
    input: Any,
    lower: Any = None,
    upper: Any = None,
    training: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Backward:
    """Unchanged whatever the slopes: in evaluation mode it is fixed."""
    if training:
        raise ValueError(
            "model: an rrelu is in training mode, so that logits and map are random; expected it "
            "in evaluation mode"
        )
    return passes(operation)


@COMMON.rule(spellings(*NONNEGATIVE.split()))
def nonnegative_activation(operation: Operation, *args: Any, **kwargs: Any) -> Backward:
    """Unchanged; the output has no negative entry."""
    operation.output_nonnegative = True
    return passes(operation)


@COMMON.rule(spellings("relu"))
def relu(operation: Operation, *args: Any, **kwargs: Any) -> Backward:
    """Unchanged; the output is the input where that is positive, and 0 elsewhere."""
    operation.output_nonnegative = True
    return passes(operation)


relu.rectifies = True  # type: ignore[attr-defined]


@COMMON.rule(spellings(*KEEPING.split()))
def dropout(operation: Operation, *args: Any, **kwargs: Any) -> Backward:
    """Unchanged: in evaluation mode dropout is the identity."""
    probability = kwargs["p"] if "p" in kwargs else args[1]
    if probability and not _in_evaluation(args, kwargs):
        raise ValueError(
            "model: a dropout is in training mode, so that logits and map are random; expected "
            "it in evaluation mode (F.dropout drops unless it is given training=False)"
        )
    operation.keeps_sign()
    return passes(operation)


def _in_evaluation(args: Any, kwargs: Any) -> bool:
    # Always given: by name in torch.nn.functional, as the third argument or ``train`` in torch.
    training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train"))
    return not training


# torch then returns the tensor that it was given, which may be overwritten afterwards.
dropout.returns_input = _in_evaluation  # type: ignore[attr-defined]


@COMMON.rule(spellings("clamp", "clamp_min", "clamp_max", "clip"))
def clamp(operation: Operation, *args: Any, **kwargs: Any) -> Backward:
    """Unchanged; the output has no negative entry where the lower bound is not negative."""
    name = operation.name.rpartition(".")[2].rstrip("_")
    lower = kwargs.get("min", args[1] if len(args) > 1 and name != "clamp_max" else None)
    upper = kwargs.get("max", args[-1] if name == "clamp_max" or len(args) > 2 else None)
    if isinstance(lower, (int, float)) and lower >= 0:
        operation.output_nonnegative = True
    elif isinstance(upper, (int, float)) and upper >= 0:
        operation.keeps_sign()
    return passes(operation)


HELD = "rsqrt norm vector_norm matrix_norm frobenius_norm var std var_mean std_mean logsumexp"

# Denominators and spreads, as in norms that models write out by hand, are held constant.
COMMON.rule(
    [function for function in spellings(*HELD.split()) if not inspect.isclass(function)],
    torch.linalg.vector_norm,
    torch.linalg.norm,
)(Held())
