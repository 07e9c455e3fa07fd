"""Relevance propagation by intercepting torch functions; knows no rule and no model class.

Inside :func:`propagation` every torch function on the path from the input to the logits is
looked up in a rule set. One with a rule becomes a :class:`torch.autograd.Function` with the same
value and the rule as its backward; a structural one keeps its gradient, which routes relevance
to the elements it came from; any other is an error. One gradient of the logits is then the
relevance of the input.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from abslrp.calls import opened, writes
from abslrp.function import Propagate, consume, hand_on
from abslrp.layout import Layout, LayoutError, follow
from abslrp.markers import Decomposed, Held, Structural
from abslrp.nested import detached, replaced, tensors_in
from abslrp.operation import Operation, UncoveredError
from abslrp.record import Conserve, Options, Record
from abslrp.registry import RuleSet, rule_set
from abslrp.unseen import explanation, hangs_on, not_covered, without_rule

_ENTERED = threading.local()


class UnknownOperationError(RuntimeError):
    """A torch function on the path from input to logits has no rule.

    The message names the function, where it is called, and how to register a rule.

    Examples
    --------
    >>> import torch, abslrp
    >>> class Spectrum(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.linalg.svdvals(x.flatten(2)).flatten(1)
    >>> try:
    ...     abslrp.explain(Spectrum().eval(), torch.rand(1, 3, 2, 2), [0])
    ... except abslrp.UnknownOperationError as error:
    ...     print(str(error).split()[0])
    torch.linalg.svdvals
    """


class propagation(TorchFunctionMode):  # noqa: N801 - used like a function, as torch.no_grad
    """Context in which gradients of a model's outputs are relevances of its inputs.

    Parameters
    ----------
    rules
        Name of a rule set, or a :class:`abslrp.registry.RuleSet`.
    conserve
        ``"operation"``, ``"argument"`` or None (SPEC 1.3).
    signed
        Whether relevance may be negative; it is then split into its two signs at every
        operation that conserves. False is faster and right for a start without negatives.
    on_unknown
        ``"error"``, or ``"warn"`` to use the gradient of a function that has no rule.
    inputs
        The tensors that relevance is propagated to; anything else made outside the context is
        a constant. By default, every tensor that requires a gradient and is no parameter.

    Raises
    ------
    UnknownOperationError
        Inside, when a function on the path has no rule.

    Notes
    -----
    Nothing is written to the model. The context belongs to the thread that entered it.

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
        super().__init__()
        if conserve not in ("operation", "argument", None):
            raise ValueError(
                f"conserve: expected 'operation', 'argument' or None, got {conserve!r}"
            )
        if on_unknown not in ("error", "warn"):
            raise ValueError(f"on_unknown: expected 'error' or 'warn', got {on_unknown!r}")
        self.rules = rule_set(rules) if isinstance(rules, str) else rules
        # A call that is not seen may consume a tensor whose only consumer was to normalise it.
        self.options = Options(
            conserve if self.rules.conserves else None,
            signed=signed,
            closed=on_unknown == "error",
        )
        self.on_unknown = on_unknown
        self.inputs = inputs
        self.warned: set[str] = set()

    def __enter__(self) -> propagation:
        _ENTERED.stack = [*getattr(_ENTERED, "stack", []), self]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        _ENTERED.stack = _ENTERED.stack[:-1]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        kwargs = kwargs or {}
        # Inside another propagation, this one steps aside: what that one does is its own.
        if not torch.is_grad_enabled() or _ENTERED.stack[-1] is not self:
            return func(*args, **kwargs)
        active: list[Tensor] = []
        given = args, kwargs
        args = tuple([self._detach_constants(value, active) for value in args])
        kwargs = {key: self._detach_constants(value, active) for key, value in kwargs.items()}
        if not active:
            if self.inputs is None:
                return func(*args, **kwargs)
            # Nothing here is taken for an input by mistake, so that other gradients may go on.
            return func(*given[0], **given[1])
        rule = self.rules.find(func)
        if rule is None:
            return self._without_rule(func, args, kwargs, active)
        try:
            return self._by_rule(func, rule, args, kwargs, active)
        except UncoveredError as error:
            reason = partial(not_covered, error)
        return self._by_gradient(func, args, kwargs, active, reason)

    def _by_rule(
        self, func: Callable[..., Any], rule: Any, args: Any, kwargs: Any, active: list[Tensor]
    ) -> Any:
        if isinstance(rule, Decomposed):
            with self:
                return rule.function(*args, **kwargs)
        if isinstance(rule, Held):
            return detached(func(*args, **kwargs))
        if _returns_input(rule, args, kwargs):
            output = func(*args, **kwargs)
            if any(output is one for one in active):
                return output
        if isinstance(rule, Structural):
            return self._structural(func, rule, args, kwargs, active)
        return self._intercept(func, rule, args, kwargs, active)

    def _detach_constants(self, value: Any, active: list[Tensor]) -> Any:
        """Replace what does not depend on the input by constants, and collect what does."""
        if isinstance(value, Tensor):
            if not value.requires_grad:
                return value
            if not self.depends(value):
                return value.detach()
            active.append(value)
            return value
        if isinstance(value, (list, tuple)) and value and not isinstance(value, torch.Size):
            items = [self._detach_constants(item, active) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    def depends(self, tensor: Tensor) -> bool:
        """Whether relevance flows to a tensor that requires a gradient.

        Parameters
        ----------
        tensor
            A tensor made inside the context, an input or a parameter.

        Returns
        -------
        bool
            False for parameters and for what was made from them alone.

        Raises
        ------
        UnknownOperationError
            If it hangs on the inputs by a call that was not seen, unless ``on_unknown="warn"``.

        Examples
        --------
        >>> import torch, abslrp
        >>> x, layer = torch.ones(1, 2, requires_grad=True), torch.nn.Linear(2, 2)
        >>> with abslrp.propagation(inputs=[x]) as context:
        ...     context.depends(layer(x)), context.depends(layer.weight)
        (True, False)
        """
        record: Record | None = getattr(tensor, "_abslrp", None)
        if record is not None and record.options is self.options:
            return True
        if isinstance(tensor, torch.nn.Parameter):
            return False
        layout = Layout(len(tensor)) if tensor.ndim else None
        if self.inputs is None or not any(tensor is one for one in self.inputs):
            if hangs_on(tensor, self.inputs, self.options):
                self._unknown(explanation(tensor))
                if self.inputs:
                    samples = Layout(len(self.inputs[0]))
                    layout = samples if samples.batch == 1 or samples.fits(tensor) else None
            elif self.inputs is not None:
                return False  # made outside, such as a bias kept from an earlier call
        tensor._abslrp = Record(self.options, layout)  # type: ignore[attr-defined]
        return True

    def _intercept(
        self,
        func: Callable[..., Any],
        rule: Callable[..., Any],
        args: Any,
        kwargs: Any,
        active: list[Tensor],
    ) -> Any:
        inplace = writes(func, args, kwargs)
        rectifies = getattr(rule, "rectifies", False)
        records = consume(active, overwritten=inplace, rectifies=rectifies)
        if inplace:
            self._before_overwriting(args[0])
        # Rules see values without history: what they keep must not keep the graph alive.
        values = {id(tensor): tensor.detach() for tensor in active}
        self.options.hold(values.values())
        operation = Operation(
            func,
            replaced(args, values),
            {key: replaced(value, values) for key, value in kwargs.items()},
            [values[id(tensor)] for tensor in active],
            records,
            self.options,
            inplace=inplace,
        )
        operation.rectifies = rectifies
        target = [args[0]] if inplace and id(args[0]) not in values else []
        output = Propagate.apply(operation, rule, len(target), *target, *active)
        record = Record(self.options, None, operation.output_nonnegative, operation)
        record.layout = self._layouts(func, args, kwargs, active, records, [output])[0]
        operation.record = record
        # What is not normalised at once would leave float16's range.
        operation.settles = operation.settles and output.dtype != torch.float16
        operation.release()
        for used in records:
            used.consumers += 1
            hand_on(used, operation, record)
        output._abslrp = record
        return output

    def _structural(
        self,
        func: Callable[..., Any],
        rule: Structural,
        args: Any,
        kwargs: Any,
        active: list[Tensor],
    ) -> Any:
        records = consume(active)
        if writes(func, args, kwargs):
            self._before_overwriting(args[0])
        output = func(*args, **kwargs)
        made = [
            one for one in tensors_in(args[0] if output is None else output) if one.requires_grad
        ]
        if not made:
            return output
        layouts = self._layouts(func, args, kwargs, active, records, made)
        nonnegative = rule.keeps_sign(args, kwargs, active) and all(
            record.nonnegative for record in records
        )
        for used in records:
            used.consumers += 1
        for tensor, layout in zip(made, layouts, strict=True):
            tensor._abslrp = Record(self.options, layout, nonnegative)  # type: ignore[attr-defined]
        return output

    def _before_overwriting(self, target: Tensor) -> None:
        """Keep what rules remember true when a tensor that was used before is overwritten."""
        record: Record | None = getattr(target, "_abslrp", None)
        if target._is_view() or (record is not None and record.consumers > 0):
            self.options.epoch += 1
            self.options.part_from(target)

    def _layouts(
        self,
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        active: list[Tensor],
        records: list[Record],
        outputs: list[Tensor],
    ) -> list[Layout | None]:
        if self.options.conserve is None:
            return [None for _ in outputs]
        for source, record in zip(active, records, strict=True):
            if record.layout is not None:
                return follow(record.layout, source, func, args, kwargs, outputs)
        return [None for _ in outputs]

    def _without_rule(
        self, func: Callable[..., Any], args: Any, kwargs: Any, active: list[Tensor]
    ) -> Any:
        body = opened(func)
        if body is not None:
            with self:
                return body(*args, **kwargs)
        return self._by_gradient(func, args, kwargs, active, without_rule)

    def _by_gradient(
        self,
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        active: list[Tensor],
        reason: Callable[[Callable[..., Any], RuleSet], str],
    ) -> Any:
        """Run a call whose gradient stands for a rule, if it has one and the user wants that."""
        versions = [tensor._version for tensor in active]
        output = func(*args, **kwargs)
        made = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        if not made and versions == [tensor._version for tensor in active]:
            return output
        self._unknown(reason(func, self.rules))
        records = consume(active)
        for used in records:
            used.consumers += 1
        layouts = self._layouts(func, args, kwargs, active, records, made)
        for tensor, layout in zip(made, layouts, strict=True):
            tensor._abslrp = Record(self.options, layout)  # type: ignore[attr-defined]
        return output

    def _unknown(self, message: str) -> None:
        if self.on_unknown == "error":
            raise UnknownOperationError(message)
        if message not in self.warned:
            self.warned.add(message)
            warnings.warn(f"{message} Its gradient is used.", stacklevel=4)


def _returns_input(rule: Any, args: Any, kwargs: Any) -> bool:
    """Whether a rule declares that this call does nothing, so that its result is its input."""
    declared = getattr(rule, "returns_input", None)
    return declared is not None and bool(declared(args, kwargs))


__all__ = ["LayoutError", "UnknownOperationError", "propagation"]
