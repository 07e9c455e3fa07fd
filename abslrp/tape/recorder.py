"""The tape: a dispatch mode below autograd that notes what is done with the input.

Every call of every model arrives here as an ATen operator, whatever code made it. The tape runs
it, and notes it if it took a value. Nothing is decided here: what a call means for relevance its
rule says, and what is computed the plan.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from abslrp.tape import sites
from abslrp.tape.memory import Memory
from abslrp.tape.place import LostPlaceError, Place, SamplesMixedError
from abslrp.tape.probe import probed
from abslrp.tape.spelling import argument, written
from abslrp.tape.values import Call, Value

__all__ = ["Table", "Tape"]


class Table(Protocol):
    """What the tape asks of a rule set."""

    @property
    def uncovered(self) -> type[Exception]:
        """What a rule raises for a call that it does not cover."""

    def find(self, function: Callable[..., Any]) -> Any:
        """Return the rule of an operator or function, a decomposition, or None."""

    def functions(self) -> dict[Callable[..., Any], Any]:
        """Return the rules of Python functions, which are no operators."""


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the calls of one forward pass that depend on given tensors.

    Parameters
    ----------
    table
        Finds an operator's rule, which accounts for a call of it.
    whole
        Whether all rows belong to one sample.
    watch
        Called with a value when no tensor object of the model's stands for it any more.
    trace
        Whether the module path and call site of every call are noted, not only of those without
        a rule.
    """

    def __init__(self, table: Table, *, trace: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = table
        self.trace = trace
        self.memory = Memory()
        self.functions = table.functions()
        self.calls: list[Call] = []
        self.inputs: list[Value] = []
        self.watch: Callable[[OpOverload, Any, Any], None] | None = None
        """Called with a call that took no value, its arguments and its result."""
        self.adopts = False
        """Whether tensors that require a gradient, and are no parameters, are inputs."""
        self.adopted: list[Tensor] = []
        self._within: list[OpOverload] = []
        self._paused = False

    def input(self, tensor: Tensor, place: Place | None) -> Value:
        """Let a tensor be one that relevance is wanted of."""
        value = Value(tensor.detach(), place)
        self.inputs.append(value)
        self.memory.bind(tensor, value)
        return value

    def alive(self) -> list[tuple[Tensor, Value]]:
        """Return the tensors of the model's that exist and stand for a value."""
        return self.memory.alive()

    def value(self, tensor: Tensor) -> Value | None:
        """Return the value that a tensor stands for, None for a constant."""
        return self.memory.find(tensor, self._aliased)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Note what is called inside, below autograd, on this thread."""
        depth = torch._C._len_torch_dispatch_stack()
        functions = torch._C._len_torch_function_stack()
        try:
            with torch.no_grad(), _below_autograd(), _Names(self), self:
                yield
        finally:
            while torch._C._len_torch_dispatch_stack() > depth:
                torch._C._pop_torch_dispatch_stack()
            while torch._C._len_torch_function_stack() > functions:
                torch._C._pop_torch_function_stack()

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        found: list[Value] = []
        valued = self._valued(args, found)
        named = {key: self._valued(one, found) for key, one in kwargs.items()} if kwargs else {}
        if not found:
            result = func(*args, **kwargs)
            if self.watch is not None:
                self.watch(func, args, result)
            return result
        how = written(func)
        if how.names:
            return self._write(func, how, args, kwargs, found)
        rule = self.table.find(func)
        if rule is None:
            result = self._decomposed(func, args, kwargs)
            if result is not NotImplemented:
                return result
        elif rule.decomposes:
            with self:
                return rule.function(*args, **kwargs)
        result = func(*args, **kwargs)
        self._note(func, rule, valued, named, found, result)
        return result

    def _decomposed(self, func: OpOverload, args: Any, kwargs: Any) -> Any:
        self._within.append(func)
        try:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is NotImplemented:
                body = _written_out().get(func)
                if body is not None:
                    with self:
                        return body(*args, **kwargs)
            return result
        finally:
            self._within.pop()

    def _valued(self, one: Any, found: list[Value]) -> Any:
        """Put values in place of the tensors that stand for one."""
        if isinstance(one, Tensor):
            value = self.memory.find(one, self._aliased)
            if value is None and self.adopts and _asks(one):
                value = self.input(one, Place(len(one), max(1, one[0].numel())))
                self.adopted.append(one)
            if value is None:
                return one
            found.append(value)
            return value
        if isinstance(one, (list, tuple)):
            items = [self._valued(item, found) for item in one]
            return items if isinstance(one, list) else tuple(items)
        return one

    def called(self, function: Callable[..., Any], rule: Any, args: Any, kwargs: Any) -> Any:
        """Run a Python function that has a rule, and note it as one call."""
        found: list[Value] = []
        valued = self._valued(args, found)
        named = {key: self._valued(one, found) for key, one in kwargs.items()}
        if not found:
            return function(*args, **kwargs)
        if rule.decomposes:
            return rule.function(*args, **kwargs)
        self._paused = True
        try:
            result = function(*args, **kwargs)
            self._note(function, rule, valued, named, found, result)
        finally:
            self._paused = False
        return result

    def _note(
        self,
        operator: Callable[..., Any],
        rule: Any,
        args: Any,
        kwargs: Mapping[str, Any],
        inputs: list[Value],
        result: Any,
        *,
        bind: bool = True,
    ) -> Call | None:
        """Note a call, and let its results stand for new values."""
        several = isinstance(result, (list, tuple))
        results = tuple(result) if several else (result,)
        inputs = list(dict.fromkeys(inputs))
        call = Call(operator, tuple(args), kwargs, inputs, results=results, several=several)
        made = [
            one
            if (isinstance(one, Tensor) and one.dtype.is_floating_point) or _complex(one)
            else None
            for one in results
        ]
        if not any(one is not None for one in made):
            return None
        call.outputs = [None if one is None else Value(one.detach(), None, call) for one in made]
        call.results = tuple(
            one.detach() if isinstance(one, Tensor) and kept is None else None
            for one, kept in zip(results, made, strict=True)
        )
        try:
            call.account = None if rule is None else rule(call)
        except self.table.uncovered as error:
            call.trouble = error
        account = call.account
        call.ruled = account is not None
        if account is not None and account.constant:
            for one in made:
                if one is not None:
                    self.memory.bind(one, None)
            return None
        if account is None or self.trace:
            call.module, call.site = sites.here()
            call.within = self._within[0] if self._within else None
        self._place(call)
        for value in inputs:
            value.uses.append(call)
        for one, output in zip(made, call.outputs, strict=True):
            if output is not None and one is not None:
                output.nonnegative = account is not None and account.nonnegative
                if bind:
                    self.memory.bind(one, output)
        self.calls.append(call)
        return call

    def _place(self, call: Call) -> None:
        """Follow the samples into the outputs of a call."""
        for output in call.outputs:
            if output is not None:
                output.place = self._followed(call, output)

    def _followed(self, call: Call, output: Value) -> Place | None:
        found: Place | None = None
        if any(value.place is None for value in call.inputs):
            return None
        for value in call.inputs:
            assert value.place is not None
            try:
                place = value.place
                if place.batch > 1:
                    if call.account is not None:
                        axes = call.account.axes(call, value)
                    elif value.shape == output.shape:  # its gradient may be asked for
                        axes = list(range(value.ndim))
                    else:
                        raise LostPlaceError
                    if axes == "probe":
                        place = probed(call, output)
                    else:
                        place = place.moved(value.shape, axes, output.shape)
            except (SamplesMixedError, LostPlaceError) as error:
                call.trouble = error
                call.module, call.site = sites.here()
                return None
            if found is not None and place != found:
                call.trouble = SamplesMixedError()
                call.module, call.site = sites.here()
                return None
            found = place
        return found

    def _aliased(self, operator: Any, args: Any, result: Tensor) -> Any:
        """Note a call that stands for a view of memory, and return its value."""
        found: list[Value] = []
        _collect(args, found)
        rule = self.table.find(operator)
        call = self._note(operator, rule, args, {}, found, result, bind=False)
        assert call is not None
        return call.output

    def _write(self, func: OpOverload, how: Any, args: Any, kwargs: Any, found: Any) -> Any:
        """Run a call that writes to its arguments, as the same call in new memory and a move."""
        twin = how.twin
        rule = None if twin is None else self.table.find(twin)
        if rule is None or len(how.names) > 1:
            own = self.table.find(func)
            if own is None:
                with self:
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
        target = argument(func, how.names[0], args, kwargs)
        given, named = args, dict(kwargs)
        if how.names[0] == "out" or (twin is not None and how.names[0] in kwargs):
            named = {key: one for key, one in kwargs.items() if key not in how.names}
        inputs: list[Value] = []
        valued = self._valued(given, inputs)
        kept = {key: self._valued(one, inputs) for key, one in named.items()}
        if how.reshapes:
            func(*args, **kwargs)
            self._rebind(self._note(twin, rule, valued, kept, inputs, target), target)
            return target
        if rule is not None and not rule.decomposes and self.memory.alone(target):
            result = twin(*given, **named)
            if result.shape == target.shape and result.dtype == target.dtype:
                call = self._note(twin, rule, valued, kept, inputs, result)
                target.data = result
                self._rebind(call, target)
                return target
        if rule is not None and rule.decomposes:
            with self:
                made = rule.function(*given, **named)
            value: Any = self.value(made)
            self.memory.before_write(target)
            result = target.copy_(made)
        else:
            self.memory.before_write(target)
            result = func(*args, **kwargs)
            alias = target.detach()
            call = self._note(twin or func, rule, valued, kept, inputs, alias, bind=False)
            value = None if call is None else call.output
        self.memory.after_write(target, value, self._aliased)
        return result

    def _rebind(self, call: Call | None, target: Tensor) -> None:
        self.memory.bind(target, None if call is None else call.output)


class _Names(TorchFunctionMode):
    """Finds rules of Python functions. It also keeps torch from its fused transformer layers."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = self.tape.functions.get(func)
        if rule is None:
            return func(*args, **kwargs)
        return self.tape.called(func, rule, args, kwargs)


@functools.cache
def _written_out() -> dict[Any, Callable[..., Any]]:
    """Return torch's own table of operators that others stand for."""
    return dict(core_aten_decompositions())


@contextlib.contextmanager
def _below_autograd() -> Iterator[None]:
    """Let calls arrive as they were made: not written out, and with no record of views."""
    views = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
    with torch._C._AutoDispatchBelowAutograd(), torch._C._ExcludeDispatchKeyGuard(views):
        yield


def _asks(one: Tensor) -> bool:
    return one.requires_grad and one.ndim > 0 and not isinstance(one, torch.nn.Parameter)


def _complex(one: Any) -> bool:
    return isinstance(one, Tensor) and one.dtype.is_complex


def _collect(args: Any, found: list[Value]) -> None:
    if isinstance(args, Value):
        found.append(args)
    elif isinstance(args, (list, tuple)):
        for one in args:
            _collect(one, found)
