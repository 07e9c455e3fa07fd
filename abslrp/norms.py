"""Normalisations, told apart from the rules that propagate through them.

Every rule set treats batch, layer, group, instance and RMS norm alike, as two layers whose
statistics are held constant: a :class:`Norm` describes the call once, and :func:`register` binds
one rule to all of torch's functions of that kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.operation import Operation
from abslrp.registry import Backward, RuleSet


@dataclass(frozen=True)
class Norm:
    """``h1 = (x - mean) / deviation``, then ``h2 = h1 * weight + bias``.

    ``mean``, ``deviation``, ``weight`` and ``bias`` broadcast against ``input``; None stands for
    an absent term.
    """

    input: Tensor
    mean: Tensor | None
    deviation: Tensor
    weight: Tensor | None
    bias: Tensor | None


NormRule = Callable[[Operation, Norm], Backward]


def register(rules: RuleSet, rule: NormRule) -> None:
    """Make ``rule`` the rule set's rule for every kind of normalisation.

    None of them has defaults: torch passes all arguments of these functions on.
    """

    @rules.rule(F.batch_norm)
    def batch_norm(
        operation: Operation,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Backward:
        if training or running_mean is None or running_var is None:
            raise ValueError(
                "model: a batch norm uses the statistics of the batch, so that samples depend on "
                "one another; expected one in evaluation mode with running statistics"
            )
        shape = [1, -1] + [1] * (input.ndim - 2)
        return rule(
            operation,
            Norm(
                input,
                running_mean.reshape(shape),
                (running_var + eps).sqrt().reshape(shape),
                *(None if p is None else p.reshape(shape) for p in (weight, bias)),
            ),
        )

    @rules.rule(F.layer_norm)
    def layer_norm(
        operation: Operation,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Backward:
        axes = list(range(-len(normalized_shape), 0))
        variance, mean = torch.var_mean(input, axes, correction=0, keepdim=True)
        return rule(operation, Norm(input, mean, (variance + eps).sqrt(), weight, bias))

    @rules.rule(F.group_norm)
    def group_norm(
        operation: Operation,
        input: Tensor,
        num_groups: int,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Backward:
        shape = [1, -1] + [1] * (input.ndim - 2)
        grouped = input.reshape(input.shape[0], num_groups, -1)
        variance, mean = torch.var_mean(grouped, 2, correction=0)
        repeat = input.shape[1] // num_groups
        each = [input.shape[0], input.shape[1]] + [1] * (input.ndim - 2)
        return rule(
            operation,
            Norm(
                input,
                mean.repeat_interleave(repeat, 1).reshape(each),
                (variance + eps).sqrt().repeat_interleave(repeat, 1).reshape(each),
                *(None if p is None else p.reshape(shape) for p in (weight, bias)),
            ),
        )

    @rules.rule(F.instance_norm)
    def instance_norm(
        operation: Operation,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        use_input_stats: bool,
        momentum: float,
        eps: float,
    ) -> Backward:
        if not use_input_stats:
            return batch_norm(
                operation, input, running_mean, running_var, weight, bias, False, momentum, eps
            )
        return group_norm(operation, input, input.shape[1], weight, bias, eps)

    @rules.rule(F.rms_norm)
    def rms_norm(
        operation: Operation,
        input: Tensor,
        normalized_shape: Any,
        weight: Tensor | None,
        eps: float | None,
    ) -> Backward:
        axes = list(range(-len(normalized_shape), 0))
        eps = torch.finfo(input.dtype).eps if eps is None else eps
        root = (input.square().mean(axes, keepdim=True) + eps).sqrt()
        return rule(operation, Norm(input, None, root, weight, None))
