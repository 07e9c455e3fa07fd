"""The notes of one forward pass: the calls that took a value, and where the samples are.

Nothing is decided here: what a call means for relevance its rule says, and what is computed the
plan.
"""

import functools
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from abslrp.tape import sites
from abslrp.tape.memory import Memory
from abslrp.tape.modes import under
from abslrp.tape.place import LostPlaceError, Place, SamplesMixedError
from abslrp.tape.place_by_numbers import probed
from abslrp.tape.values import Call, Operator, Value, alike, name_of, replaced, tensors_in


class Table(Protocol):
    """What the tape asks of a rule set."""

    @property
    def uncovered(self) -> type[Exception]:
        """What a rule raises for a call that it does not cover."""

    def find(self, function: Operator) -> Any:
        """Return the rule of an operator or function, a decomposition, or None."""

    def functions(self) -> dict[Operator, Any]:
        """Return the rules of Python functions, which are no operators."""


class Taken(NamedTuple):
    """The arguments of a call with values in place of the tensors that stand for one."""

    args: Any
    kwargs: Mapping[str, Any]
    values: list[Value]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What is known of the tensors of one forward pass, and of the calls that depend on the input.

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
        self.calls: list[Call] = []
        self.names: dict[int, str] = {}
        """Paths of a model's modules."""
        self.inputs: list[Value] = []
        self.held: list[Operator] = []
        """Operators whose results count as constants though they were made of values' entries."""
        self.adopts = False
        """Whether tensors that require a gradient, and are no parameters, are inputs."""
        self.adopted: list[Tensor] = []
        self.released: Callable[[Value, Memory], None] | None = None
        """Called with a value when no tensor object of the model's stands for it any more."""
        self.left: list[Value] = []
        """Values whose entries were copied to where no call of torch is made."""
        self.decides = False
        """Whether numbers, masks or indices were made of values: the samples in them are lost."""
        self.mixed: Value | None = None
        """A number that was made of several samples, if one was."""
        self.shadows: MutableMapping[Tensor, Place | Value] = WeakTensorKeyDictionary()
        """Where the samples are in constants that were made of values' entries; values: lost."""
        self._within: list[OpOverload] = []

    def input(self, tensor: Tensor, place: Place | None) -> Value:
        """Let a tensor be one that relevance is wanted of."""
        value = Value(tensor.detach(), place)
        self.inputs.append(value)
        self.memory.bind(tensor, value)
        return value

    def value(self, tensor: Tensor) -> Value | None:
        """Return the value that a tensor stands for, None for a constant."""
        return self.memory.find(tensor, self.aliased)

    def decomposed(self, func: OpOverload, args: Any, kwargs: Any) -> Any:
        """Run an operator as torch writes it out; NotImplemented if it does not."""
        self._within.append(func)
        try:
            result = under(self, func.decompose, *args, **kwargs)
            body = _written_out().get(func) if result is NotImplemented else None
            return result if body is None else under(self, body, *args, **kwargs)
        finally:
            self._within.pop()

    def taken(self, args: Any, kwargs: Mapping[str, Any]) -> Taken:
        """Return a call's arguments with values in them."""
        found: list[Value] = []

        def valued(one: Tensor) -> Tensor | Value:
            value = self.value(one)
            if value is None and self.adopts and _asks(one):
                value = self.input(one, Place.of(one))
                self.adopted.append(one)
            if value is None and self.left and not one.untyped_storage().resizable():
                value = self.back(one)
            if value is not None:
                found.append(value)
            return one if value is None else value

        given, named = replaced([args, kwargs], valued, Tensor)
        return Taken(given, named, found)

    def back(self, tensor: Tensor) -> Value | None:
        """Let a tensor made by NumPy, or of a list, depend on what left torch before."""
        if not tensor.is_floating_point():
            return None
        call = self.note(torch.from_numpy, None, Taken(self.left, {}, self.left), tensor)
        if call is None:
            return None
        call.trouble = self.table.uncovered("its entries left torch (numpy, tolist) and came back")
        return call.output

    def note(
        self, operator: Operator, rule: Any, taken: Taken, result: Any, *, bind: bool = True
    ) -> Call | None:
        """Note a call, and let its results stand for new values."""
        several = isinstance(result, (list, tuple))
        results = tuple(result) if several else (result,)
        made = [one if _counts(one) else None for one in results]
        if not any(one is not None for one in made):
            # All else that has a rule read entries, as casts do.
            of_shape = _OF_SHAPE.search(name_of(operator))
            self.decides |= rule is None or of_shape is None
            if isinstance(result, float) and taken.values[0].place is None:
                self.mixed = taken.values[0]
            if of_shape is None:
                self.held.append(self._within[0] if self._within else operator)
            return None
        inputs = list(dict.fromkeys(taken.values))
        lend = self.memory.lend
        args, kwargs = replaced([tuple(taken.args), {**taken.kwargs}], lend, Tensor)
        call = Call(operator, args, kwargs, inputs, several=several, shadowed=self.shadowed(taken))
        call.outputs = [None if one is None else Value(one.detach(), None) for one in made]
        others = [one if kept is None else None for one, kept in zip(results, made, strict=True)]
        call.results = tuple(replaced(others, lend, Tensor))
        try:
            call.account = None if rule is None else rule(call)
        except self.table.uncovered as error:
            call.trouble = error
        account = call.account
        call.ruled = account is not None
        if account is not None and account.constant:
            if account.held:
                self.held.append(self._within[0] if self._within else operator)
                self._place(call)
            # What was made of several samples goes on, and its users are told so.
            if not account.held or all(one is None or one.place for one in call.outputs):
                for one, output in zip(made, call.outputs, strict=True):
                    if one is not None and output is not None:
                        self.memory.bind(one, None)
                        if output.place:
                            self.shadows[one] = output.place
                return None
        if account is None or account.leaks or self.trace:
            sites.locate(call, self.names)
            call.within = self._within[0] if self._within else None
        self._place(call)
        self.shade(call, taken)
        lost = any(one is not None and one.place is None for one in call.outputs)
        self.decides |= lost and any(isinstance(one, Tensor) for one in call.results)
        for value in inputs:
            value.uses.append(call)
        for one, output in zip(made, call.outputs, strict=True):
            if output is not None and one is not None:
                output.maker = call  # not before: what is left out would be a cycle
                output.nonnegative = account is not None and account.nonnegative
                if bind:
                    self.memory.bind(one, output)
        self.calls.append(call)
        if bind:  # else its results have no tensor yet
            self.release()
        return call

    def replace(self, tensor: Tensor, data: Tensor) -> None:
        """Set a tensor's data; what constants replace passes relevance on, as gradients do."""
        before, value = self.value(tensor), self.value(data)
        tensor.data = data
        if value is None and before is not None and before.shape == data.shape:
            value = self.aliased(torch.ops.aten.set_data.default, (before,), tensor)
        self.memory.bind(tensor, value)

    def shade(self, call: Call, taken: Taken, made: Sequence[Any] = ()) -> None:
        """Follow the samples through a call that takes constants which were made of values.

        ``made``: what it returned, if that is no value but again constant.
        """
        for one in filter(self.shadowed, tensors_in(taken[:2] if self.mixed is None else ())):
            place = self.shadows[one]
            found = self._shaded(call, taken, one, place) if isinstance(place, Place) else place
            self.decides |= not isinstance(found, Place) or not (made or found == call.output.place)
            if isinstance(found, Value) and not any(isinstance(each, Tensor) for each in made):
                self.mixed = found
            for each in filter(_counts, made):
                if found is not None and self.shadows.setdefault(each, found) != found:
                    self.shadows[each] = Value(each, None)

    def shadowed(self, *nest: Any) -> bool:
        """Whether there are constants that were made of values in a nest of arguments."""
        return bool(self.shadows) and any(one in self.shadows for one in tensors_in(nest))

    def shade_constants(self, operator: Operator, taken: Taken, result: Any) -> None:
        """Follow the samples through a call that takes and makes constants alone."""
        if not self.shadows or _OF_SHAPE.search(name_of(operator)):
            return
        several = isinstance(result, (list, tuple))
        made = tuple(result) if several else (result,)
        outputs = [Value(one, None) if _counts(one) else None for one in made]
        self.shade(Call(operator, (), {}, [], outputs, made, several=several), taken, made)

    def _shaded(self, call: Call, taken: Taken, one: Tensor, place: Place) -> Place | Value | None:
        """Return where a constant's samples are in a call's output.

        A value, which has no place, if they are lost there; None if it is not known.
        """
        if not any(call.outputs):
            return None
        own, rule = Value(one, place), self.table.find(call.operator)
        args, kwargs = replaced(taken[:2], lambda each: own if each is one else each, Tensor)
        seen = replace(call, args=args, kwargs=kwargs, inputs=[*call.inputs, own], ruled=True)
        found, tags = None, getattr(call.operator, "tags", ())
        with suppress(Exception):  # rules are made for values
            seen.account = None if rule is None or rule.decomposes else rule(seen)
        with suppress(Exception):
            if seen.account is not None or torch.Tag.pointwise in tags or call.short in _KEEP:
                found = self._followed(seen, call.output)
        seen.account = None  # no cycle is left
        # What is written out, as attention is, is so for values alone.
        if found is not None or (rule is not None and rule.decomposes):
            return found
        lost = Value(call.output.tensor, None)
        lost.maker = Call(call.operator, (), {}, [], ruled=True, trouble=LostPlaceError())
        sites.locate(lost.maker, self.names)
        return lost

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
            call.trouble = call.trouble or error
            sites.locate(call, self.names)
            return None
        return found.pop()

    def aliased(self, operator: Any, args: Any, result: Tensor) -> Any:
        """Note a call that stands for a view of memory, and return its value."""
        found: list[Value] = []
        replaced(args, found.append)
        rule = self.table.find(operator)
        call = self.note(operator, rule, Taken(args, {}, found), result, bind=False)
        assert call is not None
        return call.output


_KEEP = {"copy_", "squeeze_", "unsqueeze_"}
"""Operators that keep the order of entries, though they are not said to be pointwise."""
_OF_SHAPE = re.compile("_like|new_")


@functools.cache
def _written_out() -> dict[Any, Callable[..., Any]]:
    """Return torch's own table of operators that others stand for."""
    return dict(core_aten_decompositions())


def _asks(one: Tensor) -> bool:
    return one.requires_grad and one.ndim > 0 and not isinstance(one, torch.nn.Parameter)


def _counts(one: Any) -> bool:
    return isinstance(one, Tensor) and (one.dtype.is_floating_point or one.dtype.is_complex)
