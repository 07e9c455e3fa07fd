"""Norms, two layers of eq. 12, and softmax: their statistics are held constant."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Diagonal, signed
from abslrp.plan.axes import aligned, but, only
from abslrp.plan.factors import Line, constant, inverse, negative, positive
from abslrp.registry import ABSLRP, RuleSet
from abslrp.rules.absolute import EPSILON
from abslrp.tape import Call, Value
from abslrp.tape.place import LostPlaceError

aten = torch.ops.aten

SOFTMAX = "softmax _softmax _safe_softmax special_softmax"
LOG_SOFTMAX = "log_softmax _log_softmax special_log_softmax"


class Norm(NamedTuple):
    """``h1 = (x - mean) / deviation``, ``h = h1 weight + bias``; shapes that broadcast."""

    input: Value
    mean: Tensor | None
    deviation: Tensor
    weight: Tensor | None
    bias: Tensor | None
    axes: Any
    batch: bool = False
    """Whether it is a batch norm by its running statistics."""


@signed
def absolute(call: Call, norm: Norm, *, sign: int) -> Account:
    """Eq. 12 for the two layers, with the mean as the first one's bias.

    ``(x / d)+ / (|h1| + epsilon)``, then ``(h1 weight)+ / (|h| + epsilon)``; the negative of a norm
    is the norm of ``-x``, with ``-bias``.
    """
    first = Line(norm.input, norm.mean, 1 / norm.deviation)
    own = positive(norm.input) if sign > 0 else negative(norm.input)
    share = [own, constant(1 / norm.deviation), inverse(first, EPSILON)]
    if norm.weight is not None or norm.bias is not None:
        second = first.times(norm.weight)
        second = second if sign > 0 else second.times(norm.deviation.new_tensor(-1))
        share += [positive(second), inverse(call.output, EPSILON)]
    return Diagonal(norm.input, share, axes=norm.axes, negates=sign < 0)


NormRule = Callable[[Call, Norm], Account]


def register(rules: RuleSet, rule: NormRule) -> None:
    """Give all norms a rule."""

    def by_channel(input: Value, *given: Any) -> list[Any]:
        shape = (-1, *[1] * (input.ndim - 2))
        # A view would have what the model writes to it later.
        return [None if one is None else one.clone().reshape(shape) for one in given]

    @rules.rule("batch_norm native_batch_norm cudnn_batch_norm")
    def batch_norm(
        call: Call, input: Value, weight: Any, bias: Any, mean: Any, variance: Any,
        training: bool, momentum: float, eps: float, *args: Any,
    ) -> Account:  # fmt: skip
        if training and not _samples_are_channels(input, mean):
            raise ValueError(
                "model: a batch norm uses the statistics of the batch, so that samples depend on "
                "one another; expected evaluation mode and running statistics"
            )
        only_first(call)
        weight, bias, mean, variance = by_channel(input, weight, bias, mean, variance)
        if training:
            x, dims = input.tensor, [0, *range(2, input.ndim)]
            variance, mean = torch.var_mean(x, dims, correction=0, keepdim=True)
        axes = only(1) if training else aligned
        deviation = (variance + eps).sqrt()
        return rule(call, Norm(input, mean, deviation, weight, bias, axes, not training))

    @rules.rule("_native_batch_norm_legit_no_training")
    def no_training(call: Call, input: Value, *given: Any) -> Account:
        return batch_norm(call, input, *given[:4], False, *given[4:])

    for packet in (aten.layer_norm, aten.group_norm):
        # As torch writes it out, so that the statistics are among the results.
        rules.decomposition(packet)(packet.default.decompose)

    @rules.rule("native_layer_norm")
    def layer_norm(
        call: Call, input: Value, shape: Any, weight: Any, bias: Any, eps: float
    ) -> Account:
        _, mean, scale = only_first(call)
        return rule(call, Norm(input, mean, 1 / scale, weight, bias, but(*range(-len(shape), 0))))

    @rules.rule("native_group_norm")
    def group_norm(
        call: Call, input: Value, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int,
        eps: float,
    ) -> Account:  # fmt: skip
        _, mean, scale = only_first(call)
        one = [1] * (input.ndim - 2)

        def spread(statistic: Tensor) -> Tensor:
            return statistic.repeat_interleave(C // group, 1).reshape(N, C, *one)

        weight, bias = by_channel(input, weight, bias)
        return rule(call, Norm(input, spread(mean), 1 / spread(scale), weight, bias, only(0)))

    @rules.rule("rms_norm")
    def rms_norm(
        call: Call, input: Value, shape: Any, weight: Any = None, eps: float | None = None
    ) -> Account:
        x = input.tensor
        axes = list(range(-len(shape), 0))
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        deviation = (x.square().mean(axes, keepdim=True) + eps).sqrt()
        return rule(call, Norm(input, None, deviation, weight, None, but(*axes)))


def _samples_are_channels(input: Value, mean: Tensor | None) -> bool:
    """Whether a norm over the batch is one over each sample, as (1, B C, ...) has them."""
    place = input.place
    if place is None or place.batch == 1:
        return len(input.shape) > 1 and input.shape[0] == 1 and mean is None
    try:
        return place.axis(input.shape)[0] == 1
    except LostPlaceError:
        return False


def only_first(call: Call) -> list[Tensor]:
    """Take the statistics that a call returned beside its value as constants."""
    given = [one.tensor for one in call.outputs if one is not None]
    call.outputs[1:] = [None] * (len(call.outputs) - 1)
    return given


register(ABSLRP, absolute)


@ABSLRP.rule(SOFTMAX)
def softmax(call: Call, input: Value, dim: int, *args: Any, **kwargs: Any) -> Account:
    """``R_x = x+ R``."""
    return Diagonal(input, [positive(input)], nonnegative=True, axes=but(dim))


@ABSLRP.rule(LOG_SOFTMAX)
def log_softmax(call: Call, input: Value, dim: int, *args: Any, **kwargs: Any) -> Account:
    """``x - constant``: eq. 12 with the logarithm of the denominator as bias."""
    return Diagonal(input, [positive(input), inverse(call.output, EPSILON)], axes=but(dim))
