"""The values of a forward pass and the calls that made them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from abslrp.tape.place import LostPlaceError, Place

Operator = Callable[..., Any]
"""An ATen operator, or a Python function that is noted as one call."""
Axes = Callable[["Call", "Value"], "list[int | None] | Literal['probe'] | None"]
"""From a call and one of its inputs to the output's axis for each of the input's: None for an axis
whose entries the call mixes, None in place of the list where the order of the entries is kept,
``"probe"`` where the call must be run on the samples' numbers."""


class WrittenOut(Exception):  # noqa: N818 - it is no error
    """Raised by a rule for a call whose place ``function`` takes, of the same arguments."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function


class Value:
    """A tensor that depends on the model's input, as it was when it was made.

    Attributes
    ----------
    shape : torch.Size
        Of the tensor; empty for a nested one.
    dtype : torch.dtype
        Of the tensor.
    device : torch.device
        Of the tensor.
    place
        Where the samples are; None where nothing is known of it.
    nonnegative
        Whether no entry can be negative.
    maker
        The call that made it, None for an input.
    uses
        The calls that took it.
    tensor
        The entries.
    bound
        How many tensor objects of the model's stand for it.
    """

    __slots__ = (
        "__weakref__", "bound", "device", "dtype", "maker", "nonnegative", "place", "shape",
        "tensor", "uses",
    )  # fmt: skip

    def __init__(self, tensor: Tensor, place: Place | None) -> None:
        self.tensor = tensor
        # A nested tensor has no shape.
        self.shape = torch.Size() if tensor.is_nested else tensor.shape
        self.dtype, self.device = tensor.dtype, tensor.device
        self.place = place
        self.nonnegative: bool = False
        self.maker: Call | None = None
        self.uses: list[Call] = []
        self.bound: int = 0

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclass(eq=False)
class Call:
    """One call of an ATen operator, or of a function, that took a value.

    Attributes
    ----------
    operator
        The ATen operator, or the Python function.
    args, kwargs
        Its arguments, with a :class:`Value` for each tensor that depends on the model's input.
    inputs, outputs
        The values that it took, each once, and that it made: None for an output that is no value.
    module, path, site
        The class of the module that called it, the module's name in the model, and the line.
    """

    operator: Operator
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: list[Value]
    outputs: list[Value | None] = field(default_factory=list)
    results: tuple[Any, ...] = ()
    """What the call returned that is no value: indices, statistics."""
    account: Any = None
    module: str = ""
    path: str = ""
    """Of the module, from the model."""
    site: str = ""
    ruled: bool = False
    """Whether a rule accounts for it."""
    several: bool = False
    """Whether the call returned a list or tuple."""
    shadowed: bool = False
    """Whether there are constants among its arguments that were made of values."""
    within: Any = None
    """The operator that was written out by this one and others, if one was."""
    trouble: Exception | None = None
    """Why the samples could not be followed through it."""

    @property
    def name(self) -> str:
        """The operator's name, such as ``aten.relu``."""
        return name_of(self.operator)

    @property
    def short(self) -> str:
        """The operator's name without its library's."""
        return self.name.rpartition(".")[2]

    @property
    def output(self) -> Value:
        """The first output."""
        return next(one for one in self.outputs if one is not None)

    def taken(self) -> list[Value]:
        """Return the values among the arguments, in their order; a value may be there twice."""
        found: list[Value] = []
        replaced([self.args, self.kwargs], found.append)
        return found


def replaced(value: Any, by: Callable[[Any], Any] | None = None, kind: type[Any] = Value) -> Any:
    """Put tensors (or what ``by`` says) in place of the values in a nest of arguments.

    ``kind``: that of what is replaced, if it is no value.
    """
    if value is None or isinstance(value, (int, float)):  # to ask for a UserDict takes long
        return value
    if isinstance(value, kind):
        return value.tensor if by is None else by(value)
    if isinstance(value, (dict, UserDict)):
        made = copy(value)  # whose entries a model may take as attributes
        for key, one in value.items():
            made[key] = replaced(one, by, kind)
        return made
    if type(value) in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_make")):
        make = getattr(type(value), "_make", type(value))  # of named tuples
        return make([replaced(one, by, kind) for one in value])
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a nest of arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for one in value if isinstance(value, (list, tuple)) else value.values():
            yield from tensors_in(one)


def alike(call: Call, value: Value) -> list[int | None]:
    """Follow the axes where the shape stays: the answer for a call of which nothing is known."""
    if value.shape != call.output.shape:
        raise LostPlaceError
    return list(range(value.ndim))


def by_name(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of an ATen operator by their names."""
    names = (one.name for one in operator._schema.arguments)
    return {**dict(zip(names, args, strict=False)), **kwargs}


def name_of(operator: Operator) -> str:
    """Return the name a user knows an operator by."""
    if isinstance(operator, torch._ops.OpOverload):
        return str(operator.overloadpacket)
    module = getattr(operator, "__module__", None)
    return f"{module}.{operator.__name__}" if module else getattr(operator, "__name__", "?")
