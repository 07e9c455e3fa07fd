"""Adjoints of calls that move elements."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from abslrp.tape import Call, Value
from abslrp.tape.values import replaced, tensors_in

Adjoint = Callable[[Sequence["Tensor | None"]], "Sequence[Tensor | None]"]


def unbroadcast(relevance: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum relevance (S, *broadcast shape) to (S, *shape)."""
    if relevance.shape[1:] == torch.Size(shape):
        return relevance
    ones = [1] * (relevance.ndim - 1 - len(shape))
    return relevance.sum_to_size(len(relevance), *ones, *shape).reshape(len(relevance), *shape)


def at_once(whole: Callable[[Tensor], Tensor | Sequence[Tensor | None]]) -> Adjoint:
    """Return the adjoint of one output, for all starts at once: of one input, or a list of all."""

    def adjoint(relevance: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        (received,) = relevance
        assert received is not None
        sent = whole(received)
        return [sent] if isinstance(sent, Tensor) else sent

    return adjoint


def by_gradient(call: Call, *, curved: bool = False) -> Adjoint:
    """Return the adjoint of a call that is linear in its inputs, by torch's own gradient.

    Of one that is not, it is that of its gradient at the values.
    """

    def adjoint(relevance: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        leaves: dict[Value, Tensor] = {}

        def leaf(value: Value) -> Tensor:
            if value not in leaves:
                zeros = torch.zeros(value.shape, dtype=value.dtype, device=value.device)
                where = value.tensor.detach().clone() if curved else zeros
                leaves[value] = where.requires_grad_()
            # A view: some calls write to what they are given.
            return leaves[value].view_as(leaves[value])

        with torch.inference_mode(False), torch.enable_grad():
            args, kwargs = replaced([call.args, call.kwargs], leaf)
            result = call.operator(*args, **kwargs)
            made = list(tensors_in(result)) if call.several else [result]
            pairs = zip(made, relevance, strict=True)
            used = [(one, came) for one, came in pairs if came is not None and one.requires_grad]
            inputs = [leaves[value] for value in call.inputs]
            if not used:
                return [None for _ in inputs]
            outputs, starts = [one for one, _ in used], len(used[0][1])
            found = []
            for index in range(starts):
                # Copies: the gradient of as_strided_scatter reads its memory from the beginning.
                start = [came[index].to(one.dtype, copy=True) for one, came in used]
                more = {"retain_graph": index + 1 < starts, "allow_unused": True}
                found.append(torch.autograd.grad(outputs, inputs, start, **more))
        return [
            None if any(one is None for one in each) else torch.stack(list(each))
            for each in zip(*found, strict=True)
        ]

    return adjoint
