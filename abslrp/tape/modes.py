"""What of torch's state on this thread is changed for a tape, and put back whatever happens.

An interrupt may arrive between any two lines, also while a ``with`` block is left. So nothing is
popped one for one: what there was is noted before, and put back as a whole, twice.
"""

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class _Stance:
    """What compiled functions do: they run as written while a tape listens, on any thread.

    The compiler has one stance for all threads, so that the last that listens puts it back. There
    is no lock: an interrupt may arrive where a lock is given up, and then no one else ever had it.
    """

    _eager: Any

    def __init__(self) -> None:
        self._listening: dict[Any, None] = {}
        self._before: Any = None

    def hold(self, one: Any) -> None:
        compiler = sys.modules.get("torch._dynamo.eval_frame")  # nothing is compiled without it
        if compiler is not None and hasattr(torch.compiler, "set_stance"):
            eager = vars(self).setdefault("_eager", compiler.DynamoStance("force_eager"))
            stance = compiler._stance
            if stance is not eager:
                self._before = stance
            self._listening[one] = None
            compiler._set_stance(eager)

    def let_go(self, one: Any) -> None:
        self._listening.pop(one, None)
        if "_eager" in vars(self):
            compiler = sys.modules["torch._dynamo.eval_frame"]
            if not self._listening and compiler._stance is self._eager:
                compiler._set_stance(self._before)
            if self._listening:  # another has begun meanwhile
                compiler._set_stance(self._eager)


_STANCE = _Stance()


class State:
    """Torch's modes, guards and gradient mode on this thread, as they are when it is made."""

    def __init__(self) -> None:
        self._modes = torch._C._len_torch_dispatch_stack()
        self._functions = torch._C._len_torch_function_stack()
        self._grad = torch.is_grad_enabled()
        self._guards: list[Any] = []

    def enter(self, mode: TorchDispatchMode, names: TorchFunctionMode) -> None:
        """Let calls arrive at a mode below autograd: as they were made, with no record of views."""
        views = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
        self._guard(torch._C._InferenceMode(False))
        _STANCE.hold(self)
        self._guard(torch._C._AutoDispatchBelowAutograd())
        self._guard(torch._C._ExcludeDispatchKeyGuard(views))
        torch._C._set_grad_enabled(False)
        torch._C._push_on_torch_function_stack(names)
        torch._C._push_on_torch_dispatch_stack(mode)

    def _guard(self, guard: Any) -> None:
        self._guards.append(guard)
        guard.__enter__()

    def restore(self) -> None:
        """Put back what there was; a second time changes nothing."""
        while torch._C._len_torch_dispatch_stack() > self._modes:
            torch._C._pop_torch_dispatch_stack(None)
        while torch._C._len_torch_function_stack() > self._functions:
            torch._C._pop_torch_function_stack()
        while self._guards:
            self._guards[-1].__exit__(None, None, None)
            self._guards.pop()
        _STANCE.let_go(self)
        torch._C._set_grad_enabled(self._grad)


def leaving_nothing(function: F) -> F:
    """Put torch's state back when a function ends, also if an interrupt ends it at any line."""

    @functools.wraps(function)
    def whole(*args: Any, **kwargs: Any) -> Any:
        state = State()
        try:
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                if not isinstance(error, Exception):
                    # A generator of torch's that waits in a frame would push its mode back later;
                    # before Python 3.13 a debugger's copy of the locals holds it, too.
                    traceback.clear_frames(error.__traceback__)
                    for frame, _ in traceback.walk_tb(error.__traceback__):
                        frame.f_locals  # noqa: B018  the copy is made again, of what is left
                raise
            finally:
                state.restore()
        finally:
            state.restore()

    return whole  # type: ignore[return-value]


def under(mode: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function whose calls arrive at a dispatch mode that is being asked itself."""
    torch._C._push_on_torch_dispatch_stack(mode)
    try:
        return function(*args, **kwargs)
    finally:
        torch._C._pop_torch_dispatch_stack(None)
