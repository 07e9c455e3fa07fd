"""Working copies of models, on which libraries may place hooks and overwrite what they like.

A copy shares its weights with the original, frozen, and nothing else: what a library leaves on it
never reaches the original. Libraries that hook modules see in it what they need to see:
operations that overwrite their input do not (:class:`OutOfPlace`), and each call of an activation
function or pooling is a module of its own, also where the model calls a function or one module
several times (:class:`Unrolled`).
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.methods.registry import InapplicableError

Function: TypeAlias = Callable[..., Any]
Args: TypeAlias = "tuple[Any, ...]"
Keywords: TypeAlias = Mapping[str, Any]
Build = Callable[[Args, Keywords], nn.Module]
"""From a call's arguments to the module that stands for it and gets the active ones."""
Watch: TypeAlias = Callable[[str, Args], None]
"""Gets the name of a call, and its arguments."""


class _ReLU6(nn.ReLU):
    """A ReLU6 that is a ReLU to those who change the gradient of ReLUs."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input)


class _Clipped(nn.Module):
    """``hardtanh`` as ``low + relu(x - low) - relu(x - high)``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.low, self.high = min_val, max_val
        self.rising, self.clipped = nn.ReLU(), nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        difference: Tensor = self.rising(input - self.low) - self.clipped(input - self.high)
        return difference + self.low


def _make(module: Callable[..., nn.Module], *names: str) -> Build:
    """Build a module from a call's arguments of these names, given by position or by name."""

    def build(args: Args, kwargs: Keywords) -> nn.Module:
        given = dict(zip(names, args[1:], strict=False))
        given.update((name, kwargs[name]) for name in names if name in kwargs)
        return module(**given)

    return build


def _clipped_relu(min_val: float = -1.0, max_val: float = 1.0) -> nn.Module:
    if (min_val, max_val) != (0, 6):
        raise InapplicableError(f"hardtanh from {min_val:.1f} to {max_val:.1f} is no ReLU")
    return _ReLU6()


RELUS: dict[str, Build] = {
    "relu": _make(nn.ReLU),
    "relu6": _make(_ReLU6),
    "hardtanh": _make(_clipped_relu, "min_val", "max_val"),
}
"""For deconvolution and guided backpropagation."""

DEEPLIFT: dict[str, Build] = {
    "relu": _make(nn.ReLU),
    "relu6": lambda args, kwargs: _Clipped(0.0, 6.0),
    "hardtanh": _make(_Clipped, "min_val", "max_val"),
    "elu": _make(nn.ELU, "alpha"),
    "leaky_relu": _make(nn.LeakyReLU, "negative_slope"),
    "sigmoid": _make(nn.Sigmoid),
    "tanh": _make(nn.Tanh),
    "softplus": _make(nn.Softplus, "beta", "threshold"),
    "softmax": _make(nn.Softmax, "dim"),
}
"""The activation functions that Captum's DeepLIFT has a rule for."""
# Its rule for max pools loses what overlapping windows share. Without it, they pass what they
# receive to the winner, as in the code of DeepLIFT's authors (MaxPoolDeepLiftMode.gradient).

_PRODUCTS = frozenset({"mul", "matmul", "bmm", "mm", "einsum", "div"})
_UNLINEAR = frozenset(
    {"gelu", "silu", "mish", "hardswish", "hardsigmoid", "selu", "celu", "exp"}
    | {"layer_norm", "group_norm", "instance_norm", "rms_norm"}
    | {"scaled_dot_product_attention", "multi_head_attention_forward"}
)


def refuse_unlinear(name: str, args: Args) -> None:
    """Refuse what Captum would silently propagate a gradient through."""
    if name in _UNLINEAR:
        raise InapplicableError(f"DeepLIFT has no rule for {name} in Captum")
    if name in _PRODUCTS and sum(map(is_active, args)) > 1:
        raise InapplicableError("DeepLIFT has no rule for products of two activations in Captum")


def working_copy(model: nn.Module) -> nn.Module:
    """Copy a model's modules, sharing the values of parameters and buffers, all frozen.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    >>> copied = working_copy(model)
    >>> copied[0].weight is model[0].weight
    False
    >>> copied[0].weight.data_ptr() == model[0].weight.data_ptr()
    True
    >>> copied[1].inplace, copied[0].weight.requires_grad
    (False, False)
    """
    own = model.parameters()
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in own}
    # New tensors on the same memory: a library that replaces a buffer's data replaces the copy's.
    memo.update((id(buffer), buffer.detach()) for buffer in model.buffers())
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        if getattr(module, "inplace", None) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied


def out_of_place(
    func: Function, args: Args, kwargs: Keywords
) -> tuple[Function, Args, dict[str, Any]]:
    """Return a call that computes the same and leaves its input as it is, where torch has one."""
    if args and is_active(args[0]):
        if (signature := _with_inplace(func)) is not None:  # F.relu(x, inplace=True)
            given = signature.bind(*args, **kwargs)
            given.arguments["inplace"] = False
            return func, given.args, given.kwargs
        func = _counterpart(func)
    return func, args, dict(kwargs)


@functools.cache
def _with_inplace(func: Function) -> inspect.Signature | None:
    """Return the signature of a Python function that has an argument ``inplace``."""
    named = "inplace" in getattr(getattr(func, "__code__", None), "co_varnames", ())
    return inspect.signature(func) if named else None


@functools.cache
def _counterpart(func: Function) -> Function:
    """Return what an overwriting function does without overwriting; else the function itself.

    Examples
    --------
    >>> _counterpart(torch.Tensor.relu_).__name__, _counterpart(torch.Tensor.__iadd__).__name__
    ('relu', '__add__')
    """
    name = getattr(func, "__name__", "")
    plain = f"__{name[3:]}" if name.startswith("__i") else name.removesuffix("_")
    for owner in (torch.Tensor, torch, F) if plain != name else ():
        counterpart: Any = getattr(owner, plain, None)
        if callable(counterpart):
            return counterpart  # type: ignore[no-any-return]
    return func


def base_name(func: Function) -> str:
    """Return what an operation is called in all of its spellings: ``add`` for ``x += y``."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        name = name.strip("_")
        stem = name[1:]
        return stem if name[:1] in ("i", "r") and hasattr(torch, stem) else name
    return name.rstrip("_")


class Calls(TorchFunctionMode):
    """Lets ``handle(func, args, kwargs)`` stand for every call, none of which overwrites."""

    def __init__(self, handle: Function) -> None:
        super().__init__()
        self.handle = handle

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.handle(*out_of_place(func, args, kwargs or {}))


def check_same(model: nn.Module, copied: nn.Module, x: Tensor) -> None:
    """Refuse a copy whose output is another."""
    with torch.no_grad():
        expected = model(x.clone())
    with torch.enable_grad():  # constants may be overwritten, activations may not
        got = copied(x.clone().requires_grad_())
    if not torch.allclose(expected, got.detach(), rtol=1e-4, atol=1e-5):
        raise InapplicableError("the model's output changes where nothing is overwritten in place")


class Unrolled(nn.Module):
    """A model whose calls of some functions are modules, one for each call.

    Its only submodules are those, in order of the calls; the working copy that they are called
    from is :attr:`inner`.

    Parameters
    ----------
    model
        The original.
    x
        One sample, which the model is run on to see its calls.
    builders
        What to make of a call, by the function's :func:`base_name`.
    watch
        Called with every other call that has an active argument: ``watch(name, args)``.

    Raises
    ------
    InapplicableError
        As :class:`OutOfPlace` does, or as ``watch`` or a builder does.
    """

    #: The working copy.
    inner: nn.Module

    def __init__(
        self, model: nn.Module, x: Tensor, builders: Mapping[str, Build], watch: Watch | None = None
    ) -> None:
        super().__init__()
        self.calls = nn.ModuleList()
        # Not registered, so that hooks on activations are placed on the calls alone.
        vars(self)["inner"] = working_copy(model).eval()
        self._builders = builders
        self._watch = watch
        self._learning = True
        self._position = 0
        check_same(model, self, x)
        self._learning = False

    def forward(self, x: Tensor) -> Any:
        """Run the copy, its calls going to the modules."""
        self._position = 0
        with Calls(self._handle):
            return self.inner(x.clone())

    def _handle(self, func: Function, args: Args, kwargs: Keywords) -> Any:
        name, active = base_name(func), [one for one in args if is_active(one)]
        if name not in self._builders or not active:
            if active and self._learning and self._watch is not None:
                self._watch(name, args)
            return func(*args, **kwargs)
        if self._learning:
            self.calls.append(self._builders[name](args, kwargs).eval())
        self._position += 1
        # Of two calls in a row, Captum's hooks on one tensor would run in the wrong order.
        return self.calls[self._position - 1](*(one.clone() for one in active))


class OutOfPlace(Unrolled):
    """A working copy, :attr:`model`, in which nothing overwrites an activation.

    Parameters
    ----------
    model
        The original.
    x
        One sample; the copy must give what the original gives.

    Raises
    ------
    InapplicableError
        If it does not: the model relies on something being overwritten.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__(model, x, {})
        self.model = self.inner  # as a part, whose parameters and modules libraries look for


def is_active(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
