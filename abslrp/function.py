"""An intercepted call as a node of autograd's graph, and what its inputs' makers learn of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from abslrp.conservation import propagate
from abslrp.operation import Operation
from abslrp.record import Record, share_memory

__all__ = ["Propagate", "consume", "hand_on"]


class Propagate(torch.autograd.Function):
    """The value of an intercepted call, with its rule as the backward."""

    @staticmethod
    def forward(
        ctx: Any, operation: Operation, rule: Callable[..., Any], constants: int, *tensors: Tensor
    ) -> Any:
        """Run the rule, which runs the call."""
        # Not kept on the operation, which the rule's closure refers to: that would be a cycle.
        ctx.rule = rule(operation, *operation.args, **operation.kwargs)
        output = operation.forward()
        ctx.operation, ctx.constants = operation, constants
        ctx.set_materialize_grads(False)
        if operation.inplace:
            ctx.mark_dirty(tensors[0])
            return tensors[0]
        # Some versions of torch return a view of a result that nothing else holds; as a view of
        # it the output could not be overwritten.
        return output.data if output._is_view() and _is_new(output, tensors) else output

    @staticmethod
    def backward(ctx: Any, *relevance: Any) -> Any:
        """Send relevance on by the rule."""
        if relevance[0] is None:
            return (None,) * len(ctx.needs_input_grad)
        constants = (None,) * ctx.constants
        device = relevance[0].device.type
        if torch.is_autocast_enabled(device):
            # Rules choose their types; autocast would choose others in a backward pass.
            with torch.autocast(device, enabled=False):
                sent = propagate(ctx.operation, ctx.rule, relevance[0])
        else:
            sent = propagate(ctx.operation, ctx.rule, relevance[0])
        return (None, None, None, *constants, *sent)


def consume(
    active: list[Tensor], *, overwritten: bool = True, rectifies: bool = False
) -> list[Record]:
    """Return the records of tensors that a call is about to use.

    Factors of their makers that are still to be computed are computed now, if the call may
    overwrite what they are computed from, or taken back from an earlier consumer. A call that
    rectifies is a ReLU.
    """
    records = [tensor._abslrp for tensor in active]  # type: ignore[attr-defined]
    for tensor, record in zip(active, records, strict=True):
        maker = record.operation
        if maker is None or maker.postponed is None:
            continue
        if record.consumers > 0:
            maker.postponed.consumed_again(tensor)
        elif overwritten:
            maker.postponed.before_overwriting(rectifies=rectifies)
    return records


def hand_on(used: Record, operation: Operation, made: Record) -> None:
    """Let the factor of a tensor's maker travel through an activation function, or compute it."""
    postponed = None if used.operation is None else used.operation.postponed
    if postponed is None or not postponed.pending:
        return
    alone = len(operation.records) == 1 and made.layout == used.layout
    if alone and postponed.travel(operation):
        operation.postponed = postponed
    else:
        postponed.factor()


def _is_new(output: Tensor, inputs: Sequence[Tensor]) -> bool:
    return not any(share_memory(output, one) for one in inputs)
