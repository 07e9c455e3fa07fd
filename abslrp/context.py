"""The context in which gradients of what a model returns are relevances of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from abslrp.forward import Pass, Settings
from abslrp.plan.arrivals import Conserve
from abslrp.registry import RuleSet
from abslrp.tape import Place, Value
from abslrp.tape.modes import State


class propagation:  # noqa: N801 - used like a function, as torch.no_grad
    """Context in which gradients of a model's outputs are relevances of its inputs.

    Parameters
    ----------
    rules
        Name of a rule set, or a :class:`abslrp.registry.RuleSet`.
    conserve
        ``"operation"``, ``"argument"`` or None, as in :func:`abslrp.explain`.
    signed
        Whether relevance may be negative; it is then split into its two signs at every
        operation that conserves. False is faster and right for a start without negatives.
    on_unknown
        ``"error"``, or ``"warn"`` to use the gradient of a function that has no rule.
    inputs
        The tensors that relevance is propagated to, (B, ...); anything else is a constant. By
        default, every tensor that requires a gradient and is no parameter.

    Raises
    ------
    UnknownOperationError
        By the gradient, when a call on its way has no rule.

    Notes
    -----
    Nothing is written to the model. The context belongs to the thread that entered it. Tensors
    that were made inside and still exist when it ends have gradients with respect to the inputs.

    Examples
    --------
    The second network of the paper's figure 1:

    >>> import torch, abslrp
    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> hidden = torch.tensor([[2.0, -1.0], [-5.0, 6.0]])
    >>> with abslrp.propagation():
    ...     logits = torch.relu(x @ hidden.T) @ torch.ones(2, 1)
    >>> relevance, = torch.autograd.grad(logits.sum(), x)
    >>> relevance / relevance.sum()
    tensor([[0.2500, 0.7500]])
    """

    def __init__(
        self,
        rules: str | RuleSet = "absLRP",
        conserve: Conserve = "operation",
        *,
        signed: bool = True,
        on_unknown: Literal["error", "warn"] = "error",
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        self.settings = Settings(rules, conserve, on_unknown)
        self._pass = Pass(self.settings, signed=signed)
        self._given = None if inputs is None else [*inputs]
        self._state: State | None = None
        self._versions: list[tuple[Tensor, int]] = []

    def __enter__(self) -> propagation:
        if self._state is not None:
            raise RuntimeError("propagation: this context is entered already; make another one")
        tape = self._pass.tape
        tape.adopts = self._given is None
        for one in self._given or ():
            tape.input(one, Place.of(one))
        state = self._state = State()
        try:
            tape.enter(state)
        except BaseException:
            state.restore()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        assert self._state is not None
        try:
            self._state.restore()
        finally:
            self._state.restore()
        self._state = None
        if exception[0] is not None:
            return
        memory, leaves = self._pass.tape.memory, self._given or self._pass.tape.adopted
        alive = memory.alive()
        made = {id(tensor) for tensor, _ in alive}
        kept = [*leaves, *(one for one in memory.lenders() if id(one) not in made)]
        self._versions = [(one, one._version) for one in kept if not one.is_inference()]
        with torch.enable_grad():
            for tensor, value in alive:
                if not any(tensor is one for one in leaves) and tensor.is_leaf:
                    _Relevance.apply(self, value, tensor, *leaves)

    def relevance(self, output: Tensor, start: Tensor, of: Sequence[Tensor]) -> list[Tensor | None]:
        """Return the relevance of tensors, made inside or inputs, from that of one made inside.

        Parameters
        ----------
        output
            A tensor made inside.
        start
            Its relevance, of its shape.
        of
            Tensors whose relevance is wanted.

        Returns
        -------
        For each of them its relevance, of its shape, None where none arrives.

        Raises
        ------
        ValueError
            If a tensor was not made inside, or does not depend on the inputs.

        Examples
        --------
        >>> import torch, abslrp
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> with abslrp.propagation() as context:
        ...     hidden = x * 2
        ...     logits = hidden.sum(1, keepdim=True)
        >>> context.relevance(logits, torch.ones(1, 1), [hidden])
        [tensor([[0.5000, 0.5000]])]
        """
        tape = self._pass.tape
        made = tape.value(output)
        values = [value for one in of if (value := tape.value(one)) is not None]
        if made is None or len(values) < len(of):
            raise ValueError("output, of: expected tensors made inside that depend on the inputs")
        return self._found(made, start, values)

    def _found(self, made: Value, start: Tensor, of: Sequence[Any]) -> list[Tensor | None]:
        if any(one._version != version for one, version in self._versions):
            raise RuntimeError(
                "propagation: an input, or a constant such as a weight, was written to after the "
                "context; take the relevance of what was made inside before"
            )
        (found,) = self._pass.relevance(made, [start[None]], of, keep=True)
        return [None if one is None else one[0] for one in found]


class _Relevance(torch.autograd.Function):
    """Gives a tensor that was made on a tape a gradient: relevance."""

    @staticmethod
    def forward(
        ctx: Any, context: propagation, value: Value, tensor: Tensor, *leaves: Tensor
    ) -> Tensor:
        ctx.mark_dirty(tensor)
        ctx.context, ctx.value = context, value
        ctx.leaves = [context._pass.tape.value(one) for one in leaves]
        return tensor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, None, None, *ctx.context._found(ctx.value, gradients[0], ctx.leaves)
