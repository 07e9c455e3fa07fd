"""The tape: a dispatch mode below autograd that notes what is done with the input.

Every call of every model arrives here as an ATen operator, whatever code made it. The tape runs
it, and notes it if it took a value. Nothing is decided here: what a call means for relevance its
rule says, and what is computed the plan.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from abslrp.tape import sites
from abslrp.tape.memory import Memory
from abslrp.tape.modes import State, under
from abslrp.tape.place import LostPlaceError, Place, SamplesMixedError
from abslrp.tape.probe import probed
from abslrp.tape.spelling import written
from abslrp.tape.values import Call, Value, alike, replaced
from abslrp.tape.writes import write

__all__ = ["Table", "Tape"]

T = TypeVar("T")


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
        self.names: dict[int, str] = {}
        """Paths of a model's modules."""
        self.inputs: list[Value] = []
        self.watch: Callable[[OpOverload, Any, Any], None] | None = None
        """Called with a call that took no value, its arguments and its result."""
        self.held: list[Callable[..., Any]] = []
        """Operators whose results count as constants though they were made of values' entries."""
        self.adopts = False
        """Whether tensors that require a gradient, and are no parameters, are inputs."""
        self.adopted: list[Tensor] = []
        self.released: Callable[[Value, Memory], None] | None = None
        """Called with a value when no tensor object of the model's stands for it any more."""
        self._within: list[OpOverload] = []
        self._paused = False
        self._out: list[Value] = []

    supports_higher_order_operators = True

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
        return self.memory.find(tensor, self.aliased)

    def noting(self, function: Callable[[], T]) -> T:
        """Return what a function returns, and note what is called in it on this thread."""
        state = State()
        try:
            try:
                self.enter(state)
                result = function()
                self.release()
                return result
            finally:
                state.restore()
        finally:
            state.restore()

    def enter(self, state: State) -> None:
        """Note what is called from now on, on this thread, until the state is restored."""
        state.enter(self, _Names(self))

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        found: list[Value] = []
        valued = self.valued(args, found)
        named = {key: self.valued(one, found) for key, one in kwargs.items()} if kwargs else {}
        if not found:
            result = func(*args, **kwargs)
            if self.watch is not None:
                self.watch(func, args, result)
            if func is torch.ops.aten.lift_fresh.default and self._out:
                self._back(result)
            return result
        if not isinstance(func, OpOverload):  # flex attention and its like
            result = func(*args, **kwargs)
            self.note(func, self.table.find(func), valued, named, found, result)
            return result
        how = written(func)
        if how.names:
            return write(self, func, how, args, kwargs)
        rule = self.table.find(func)
        if rule is None:
            result = self.decomposed(func, args, kwargs)
            if result is not NotImplemented:
                return result
        elif rule.decomposes:
            return under(self, rule.function, *args, **kwargs)
        if func in _FOLDED and args[0].ndim > 2 and args[1].ndim == 2:
            # Of permuted axes torch makes a product for each entry of the first, but for autograd.
            args = (args[0].contiguous(), *args[1:])
        result = func(*args, **kwargs)
        self.note(func, rule, valued, named, found, result)
        return result

    def decomposed(self, func: OpOverload, args: Any, kwargs: Any) -> Any:
        """Run an operator as torch writes it out; NotImplemented if it does not."""
        self._within.append(func)
        try:
            result = under(self, func.decompose, *args, **kwargs)
            body = _written_out().get(func) if result is NotImplemented else None
            return result if body is None else under(self, body, *args, **kwargs)
        finally:
            self._within.pop()

    def valued(self, one: Any, found: list[Value]) -> Any:
        """Put values in place of the tensors that stand for one."""
        if isinstance(one, Tensor):
            value = self.memory.find(one, self.aliased)
            if value is None and self.adopts and _asks(one):
                value = self.input(one, Place.of(one))
                self.adopted.append(one)
            if value is None and self._out and not one.untyped_storage().resizable():
                value = self._back(one)
            if value is None:
                return one
            found.append(value)
            return value
        if isinstance(one, (list, tuple)):
            items = [self.valued(item, found) for item in one]
            return items if isinstance(one, list) else tuple(items)
        return one

    def leaving(self, tensor: Tensor) -> None:
        """Note that a tensor's entries are copied to where no call of torch is made."""
        value = self.memory.within(tensor)
        if value is not None and tensor.numel() > 1:
            self._out.append(value)

    def _back(self, tensor: Tensor) -> Value | None:
        """Let a tensor made by NumPy, or of a list, depend on what left torch before."""
        if not tensor.is_floating_point():
            return None
        call = self.note(torch.from_numpy, None, self._out, {}, self._out, tensor)
        if call is None:
            return None
        call.trouble = self.table.uncovered("its entries left torch (numpy, tolist) and came back")
        return call.output

    def called(self, function: Callable[..., Any], rule: Any, args: Any, kwargs: Any) -> Any:
        """Run a Python function that has a rule, and note it as one call."""
        found: list[Value] = []
        valued = self.valued(args, found)
        named = {key: self.valued(one, found) for key, one in kwargs.items()}
        if not found:
            return function(*args, **kwargs)
        if rule.decomposes:
            return rule.function(*args, **kwargs)
        self._paused = True
        try:
            result = function(*args, **kwargs)
            self.note(function, rule, valued, named, found, result)
        finally:
            self._paused = False
        return result

    def note(
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
            if account.held:
                self.held.append(operator)
                self._place(call)
            # What was made of several samples goes on, and its users are told so.
            if not account.held or all(one is None or one.place for one in call.outputs):
                for one in made:
                    if one is not None:
                        self.memory.bind(one, None)
                return None
        if account is None or account.leaks or self.trace:
            sites.locate(call, self.names)
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
        if bind:  # else its results have no tensor yet
            self.release()
        return call

    def release(self) -> None:
        """Say which values have no more uses than are known."""
        for value in self.memory.let_go():
            if self.released is not None:
                self.released(value, self.memory)

    def _place(self, call: Call) -> None:
        """Follow the samples into the outputs of a call."""
        for output in call.outputs:
            if output is not None:
                output.place = self._followed(call, output)

    def _followed(self, call: Call, output: Value) -> Place | None:
        """Return where the samples are in an output; None, and why, where they are lost."""
        found: set[Place] = set()
        if any(value.place is None for value in call.inputs):
            return None
        try:
            given = [one for one in call.inputs if 0 not in one.shape] or call.inputs
            for value in given:  # what is empty is no one's
                place = value.place
                assert place is not None
                # The gradient of a call without a rule may be asked for.
                axes = alike if call.account is None else call.account.axes
                where = None if place.batch == 1 else axes(call, value)
                if where == "probe":
                    return probed(call, output)
                found.add(place.moved(value.shape, where, output.shape))
            if len(found) > 1:
                raise SamplesMixedError
        except (SamplesMixedError, LostPlaceError) as error:
            call.trouble = error
            sites.locate(call, self.names)
            return None
        return found.pop()

    def aliased(self, operator: Any, args: Any, result: Tensor) -> Any:
        """Note a call that stands for a view of memory, and return its value."""
        found: list[Value] = []
        replaced(args, found.append)
        rule = self.table.find(operator)
        call = self.note(operator, rule, args, {}, found, result, bind=False)
        assert call is not None
        return call.output


_FOLDED = (torch.ops.aten.linear.default, torch.ops.aten.matmul.default)
_OUT_OF_TORCH = (Tensor.numpy, Tensor.__array__, Tensor.tolist)


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
            if func in _OUT_OF_TORCH:
                self.tape.leaving(args[0])
            return func(*args, **kwargs)
        return self.tape.called(func, rule, args, kwargs)


@functools.cache
def _written_out() -> dict[Any, Callable[..., Any]]:
    """Return torch's own table of operators that others stand for."""
    return dict(core_aten_decompositions())


def _asks(one: Tensor) -> bool:
    return one.requires_grad and one.ndim > 0 and not isinstance(one, torch.nn.Parameter)


def _complex(one: Any) -> bool:
    return isinstance(one, Tensor) and one.dtype.is_complex
