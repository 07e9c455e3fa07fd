"""The tape: a dispatch mode below autograd that runs what is done with the input, and notes it.

Every call of every model arrives here as an ATen operator, whatever code made it.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from abslrp.tape.modes import State, under
from abslrp.tape.recorder import Recorder, Table
from abslrp.tape.values import Value, WrittenOut, replaced, tensors_in
from abslrp.tape.writes import targets_of, write, written

T = TypeVar("T")


class Tape(Recorder):  # type: ignore[no-untyped-call]
    """Notes the calls of one forward pass that depend on given tensors."""

    supports_higher_order_operators = True

    def __init__(self, table: Table, *, trace: bool = False) -> None:
        super().__init__(table, trace=trace)
        self.functions = table.functions()
        self.rows_of: Tensor | None = None
        """A table whose rows are inputs, wherever the model looks them up."""
        self.looked_up: Callable[[Tensor, Tensor], None] | None = None
        """Called with indices into the table, and with the rows."""
        self.asks = False
        """Whether something is to have a gradient, as where the model takes one by itself."""
        self.in_blocks = False
        """Whether operators that can be written out by blocks are."""
        self._paused = False

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
        taken = self.taken(args, kwargs)
        if not taken.values:
            if any(one.__name__ == "DTensor" for one in types):
                return NotImplemented  # what it makes of it arrives here next
            if self.rows_of is not None and args and _is(args[0], self.rows_of):
                return self._looking_up(func, args, kwargs)
            bare = isinstance(func, OpOverload) and self.table.find(func) is None
            if bare and self.shadowed(args, kwargs):
                result = self.decomposed(func, args, kwargs)
                if result is not NotImplemented:
                    return result
            targets = targets_of(func, args, kwargs) if isinstance(func, OpOverload) else []
            unseen = [one for one in targets if self.memory.within(one) is not None]
            for one in targets:
                self.memory.before_write(one)
            result = func(*args, **kwargs)
            if func in _SETS:  # to memory that may hold values
                self.memory.unbind(result)
                return result
            for one in unseen:
                self.memory.pass_on(one, self.aliased)
            self.memory.stay_constant(tensors_in(result))
            if func is torch.ops.aten.lift_fresh.default and self.left:
                self.back(result)
            self.shade_constants(func, taken, result)
            for one in targets:  # of a part of memory it is not known who sees it
                if self.shadowed(one) and one.nbytes < one.untyped_storage().nbytes():
                    self.mixed, self.decides = Value(one, None), True
            return result
        if not isinstance(func, OpOverload):  # flex attention and its like
            result = func(*args, **kwargs)
            self.note(func, self.table.find(func), taken, result)
            return result
        maker = taken.values[0].maker
        if func in _DETACHES and maker is not None and maker.operator is torch.from_numpy:
            # What torch.tensor makes of a list, and then detaches.
            result = func(*args, **kwargs)
            self.memory.bind(result, taken.values[0])
            return result
        how = written(func)
        if how.names:
            return write(self, func, how, args, kwargs)
        rule = self.table.find(func)
        if rule is None:
            if (result := self.decomposed(func, args, kwargs)) is not NotImplemented:
                return result
        elif rule.decomposes:
            if self.in_blocks and rule.stages:
                # What is made later is made of the constants as they are now.
                kept = replaced(taken[:2], self.memory.lend, Tensor)
                if account := rule.blocks(self.table, taken.values, *kept):
                    result = func(*args, **kwargs)
                    self.note(func, lambda call: account, taken, result)
                    return result
            return under(self, rule.function, *args, **kwargs)
        if func in _FOLDED and args[0].ndim > 2 and args[1].ndim == 2:
            # Of permuted axes torch makes a product for each entry of the first, but for autograd.
            args = (args[0].contiguous(), *args[1:])
        result = func(*args, **kwargs)
        if func is torch.ops.aten.as_strided.default and self.memory.strided(result, self.aliased):
            return result
        try:
            self.note(func, rule, taken, result)
        except WrittenOut as instead:
            return under(self, instead.function, *args, **kwargs)
        for part in tensors_in(result) if func.is_view else ():
            self.memory.constant(part)
        return result

    def _looking_up(self, func: OpOverload, args: Any, kwargs: Any) -> Any:
        """Run a call of the table; bags of rows and the like as they are written out."""
        rule = self.table.find(func)
        if rule is not None and rule.decomposes:
            return under(self, rule.function, *args, **kwargs)
        result = func(*args, **kwargs)
        selects = func is torch.ops.aten.index_select.default and args[1] == 0
        at = args[2] if selects else func is torch.ops.aten.index.Tensor and args[1][0]
        if isinstance(at, Tensor):
            assert self.looked_up is not None
            self.looked_up(at, result)
        return result

    def called(self, function: Callable[..., Any], rule: Any, args: Any, kwargs: Any) -> Any:
        """Run a Python function that has a rule, and note it as one call."""
        taken = self.taken(args, kwargs)
        if not taken.values:
            return function(*args, **kwargs)
        if rule.decomposes:
            return rule.function(*args, **kwargs)
        self._paused = True
        try:
            result = function(*args, **kwargs)
            self.note(function, rule, taken, result)
        finally:
            self._paused = False
        return result


def _is(one: Any, table: Tensor) -> bool:
    """Whether a tensor is a table, or the same memory by another name."""
    alike = isinstance(one, Tensor) and one.shape == table.shape and one.layout == table.layout
    return alike and bool(one.data_ptr() == table.data_ptr())


_DETACHES = (torch.ops.aten.detach.default, torch.ops.aten.detach_.default)
_SET = torch.ops.aten.set_
_SETS = (_SET.source_Storage, _SET.source_Storage_storage_offset)
_FOLDED = (torch.ops.aten.linear.default, torch.ops.aten.matmul.default)
_LISTENS = (Tensor.register_hook, Tensor.retain_grad, Tensor.register_post_accumulate_grad_hook)
_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]
_OUT_OF_TORCH = (Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.__dlpack__)


class Unheard(TorchFunctionMode):
    """Lets hooks on tensors without a gradient wait for nothing, where torch refuses them.

    As any such mode, it also keeps torch from its fused transformer layers.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in _LISTENS and not args[0].requires_grad:
            return RemovableHandle(OrderedDict())
        return func(*args, **(kwargs or {}))


class _Names(Unheard):
    """Finds rules of Python functions."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        rule = self.tape.functions.get(func)
        if rule is not None:
            return self.tape.called(func, rule, args, kwargs or {})
        if func == _SET_DATA:
            self.tape.replace(*args)
            return None
        if func is Tensor.__deepcopy__ and self.tape.value(args[0]) is not None:
            return args[1].setdefault(id(args[0]), args[0].clone())
        self.tape.asks |= func is Tensor.requires_grad_
        if func in _OUT_OF_TORCH:
            value = self.tape.memory.within(args[0])
            self.tape.left += [] if value is None or args[0].numel() == 1 else [value]
            # An array of a value may be looked at alone, as where it is printed.
            if self.tape.shadowed(args[0]) if value is None else func is Tensor.tolist:
                self.tape.mixed, self.tape.decides = Value(args[0], None), True
        return super().__torch_function__(func, types, args, kwargs)
