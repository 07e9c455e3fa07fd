"""Relevance propagation by intercepting torch functions; knows no rule and no model class.

Inside :func:`propagation` every torch function on the path from the input to the logits is
looked up in a rule set. One with a rule becomes a :class:`torch.autograd.Function` with the same
value and the rule as its backward; a structural one keeps its gradient, which routes relevance
to the elements it came from; any other is an error. One gradient of the logits is then the
relevance of the input.
"""

from __future__ import annotations

import functools
import os
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from abslrp.layout import Layout, LayoutError, follow
from abslrp.operation import Conserve, Operation, Options, Record
from abslrp.registry import RuleSet, is_inplace, name_of, rule_set


class UnknownOperationError(RuntimeError):
    """A torch function on the path from input to logits has no rule."""


class _Propagate(torch.autograd.Function):
    """The value of an intercepted call, with its rule as the backward."""

    @staticmethod
    def forward(
        ctx: Any, operation: Operation, rule: Callable[..., Any], constants: int, *tensors: Tensor
    ) -> Any:
        operation.backward = rule(operation, *operation.args, **operation.kwargs)
        output = operation.forward()
        ctx.operation, ctx.constants = operation, constants
        ctx.set_materialize_grads(False)
        if operation.inplace:
            ctx.mark_dirty(tensors[0])
            return tensors[0]
        return output

    @staticmethod
    def backward(ctx: Any, *relevance: Any) -> Any:
        if relevance[0] is None:
            return (None,) * len(ctx.needs_input_grad)
        constants = (None,) * ctx.constants
        return (None, None, None, *constants, *ctx.operation.propagate(relevance[0]))


class Structural:
    """Marks a function whose own gradient routes relevance to the elements it came from.

    Parameters
    ----------
    keeps_sign
        Says, from a call's arguments and its active tensors, whether the output has no negative
        entry when no active input has one.
    """

    def __init__(self, keeps_sign: Callable[[Any, Any, list[Tensor]], bool]) -> None:
        self.keeps_sign = keeps_sign
        self.__name__ = "structural"


class Decomposed:
    """Marks a function that is replaced by others, whose rules then apply."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = f"decomposed({function.__name__})"


class Held:
    """Marks a function whose result counts as a constant (a denominator)."""

    def __init__(self) -> None:
        self.__name__ = "held constant"


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
    ) -> None:
        super().__init__()
        if conserve not in ("operation", "argument", None):
            raise ValueError(
                f"conserve: expected 'operation', 'argument' or None, got {conserve!r}"
            )
        if on_unknown not in ("error", "warn"):
            raise ValueError(f"on_unknown: expected 'error' or 'warn', got {on_unknown!r}")
        self.rules = rule_set(rules) if isinstance(rules, str) else rules
        self.options = Options(conserve if self.rules.conserves else None, signed=signed)
        self.on_unknown = on_unknown
        self.warned: set[str] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        active: list[Tensor] = []
        args = tuple([_detach_constants(value, active) for value in args])
        kwargs = {key: _detach_constants(value, active) for key, value in kwargs.items()}
        if not active:
            return func(*args, **kwargs)
        rule = self.rules.find(func)
        if rule is None:
            return self._without_rule(func, args, kwargs, active)
        if isinstance(rule, Decomposed):
            with self:
                return rule.function(*args, **kwargs)
        if isinstance(rule, Held):
            return _detached(func(*args, **kwargs))
        if isinstance(rule, Structural):
            return self._structural(func, rule, args, kwargs, active)
        return self._intercept(func, rule, args, kwargs, active)

    def _intercept(
        self,
        func: Callable[..., Any],
        rule: Callable[..., Any],
        args: Any,
        kwargs: Any,
        active: list[Tensor],
    ) -> Any:
        records = _consume(active, claimed=getattr(rule, "claims", False))
        inplace = _writes(func, args, kwargs)
        operation = Operation(func, args, kwargs, active, records, self.options, inplace=inplace)
        target = [args[0]] if inplace and not operation.is_active(args[0]) else []
        output = _Propagate.apply(operation, rule, len(target), *target, *active)  # type: ignore[no-untyped-call]
        record = Record(None, operation.output_nonnegative, operation)
        record.layout = self._layouts(func, args, kwargs, active, records, [output])[0]
        operation.record = record
        operation.release()
        for used in records:
            used.consumers += 1
            if used.operation is not None and used.operation.postponed is not None:
                used.operation.postponed.factor()
        output._abslrp = record
        return output

    def _structural(
        self, func: Callable[..., Any], rule: Structural, args: Any, kwargs: Any, active: list[Tensor]
    ) -> Any:
        records = _consume(active)
        output = func(*args, **kwargs)
        made = [one for one in _tensors(args[0] if output is None else output) if one.requires_grad]
        if not made:
            return output
        layouts = self._layouts(func, args, kwargs, active, records, made)
        nonnegative = rule.keeps_sign(args, kwargs, active) and all(
            record.nonnegative for record in records
        )
        for used in records:
            used.consumers += 1
        for tensor, layout in zip(made, layouts, strict=True):
            tensor._abslrp = Record(layout, nonnegative)  # type: ignore[attr-defined]
        return output

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
        opened = _opened(func)
        if opened is not None:
            with self:
                return opened(*args, **kwargs)
        versions = [tensor._version for tensor in active]
        output = func(*args, **kwargs)
        made = [tensor for tensor in _tensors(output) if tensor.requires_grad]
        if not made and versions == [tensor._version for tensor in active]:
            return output
        message = _explanation(func, self.rules)
        if self.on_unknown == "error":
            raise UnknownOperationError(message)
        if message not in self.warned:
            self.warned.add(message)
            warnings.warn(f"{message} Its gradient is used.", stacklevel=3)
        records = _consume(active)
        for used in records:
            used.consumers += 1
        layouts = self._layouts(func, args, kwargs, active, records, made)
        for tensor, layout in zip(made, layouts, strict=True):
            tensor._abslrp = Record(layout)  # type: ignore[attr-defined]
        return output


def record_of(tensor: Tensor) -> Record:
    """Return what the engine knows of an active tensor; an input is taken to be batch-first."""
    record: Record | None = getattr(tensor, "_abslrp", None)
    if record is None:
        layout = Layout(tensor.shape[0]) if tensor.is_leaf and tensor.ndim else None
        record = Record(layout)
        tensor._abslrp = record  # type: ignore[attr-defined]
    return record


def _consume(active: list[Tensor], *, claimed: bool = False) -> list[Record]:
    """Return the records of tensors that a call is about to use.

    Factors of their makers that are still to be computed are computed now, unless the call's
    rule may claim them, or taken back from an earlier consumer.
    """
    records = [record_of(tensor) for tensor in active]
    for tensor, record in zip(active, records, strict=True):
        maker = record.operation
        if maker is None or maker.postponed is None:
            continue
        if record.consumers > 0:
            maker.postponed.consumed_again(tensor)
        elif not claimed or len(active) > 1:
            maker.postponed.factor()
    return records


def _detach_constants(value: Any, active: list[Tensor]) -> Any:
    """Replace parameters by constants, and collect the tensors that depend on the input."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            if isinstance(value, torch.nn.Parameter):
                return value.detach()
            active.append(value)
        return value
    if isinstance(value, (list, tuple)) and value and not isinstance(value, torch.Size):
        items = [_detach_constants(item, active) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    return type(value)(_detached(item) for item in value)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


@functools.cache
def _inplace_position(func: Callable[..., Any]) -> int | None:
    code = getattr(func, "__code__", None)
    if code is None or "inplace" not in code.co_varnames[: code.co_argcount]:
        return None
    return int(code.co_varnames.index("inplace"))


def _writes(func: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    if is_inplace(func):
        return True
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    position = _inplace_position(func)
    return position is not None and len(args) > position and bool(args[position])


@functools.cache
def _opened(func: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a Python function of torch that runs its body, whose calls are intercepted.

    Torch's own functions ask first whether they are overridden; a copy of the function whose
    globals say no goes straight to its body. Torch itself is left as it is.
    """
    if not isinstance(func, types.FunctionType) or func.__closure__:
        return None
    if "handle_torch_function" not in func.__code__.co_names:
        return None
    scope = dict(func.__globals__)
    for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        scope[name] = lambda *_: False
    copy = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


_HERE = os.path.dirname(os.path.abspath(__file__))
_TORCH = os.path.dirname(os.path.abspath(torch.__file__))


def call_site() -> str:
    """Return where in the user's model the present call was made, as ``file:line in function``."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith((_HERE, _TORCH)):
            return f"{frame.filename}:{frame.lineno} in {frame.name}"
    return "an unknown place"


def _explanation(func: Callable[..., Any], rules: RuleSet) -> str:
    name = name_of(func)
    return (
        f"{name} (called at {call_site()}) is on the path from input to logits, but the rule set "
        f"{rules.name!r} has no rule for it. Register one with @abslrp.rule({name}), "
        "or use on_unknown='warn' to go on with its gradient."
    )


__all__ = ["LayoutError", "Structural", "UnknownOperationError", "call_site", "propagation"]
