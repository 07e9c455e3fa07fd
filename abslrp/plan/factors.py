"""Factors of relevance, and the algebra by which they join and cancel.

A factor is known by what it is of, not by who asked for it: ``|v| / |v|`` is 1 and ``v+ / |v|`` is
``[v > 0]`` whatever equations these came from. So it is through a rectifier ``y = v+``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.tape import Value

Kind = Literal[
    "positive", "negative", "magnitude", "inverse", "above", "is", "constant", "computed"
]


@dataclass(frozen=True, eq=False)
class Line:
    """``slope * (v - shift)`` of a value, with constants that broadcast."""

    value: Value
    shift: Tensor | None
    slope: Tensor

    nonnegative = False

    @property
    def dtype(self) -> torch.dtype:
        """The value's type."""
        return self.value.dtype

    @property
    def tensor(self) -> Tensor:
        """The entries."""
        v = self.value.tensor
        return (v if self.shift is None else v - self.shift) * self.slope

    @property
    def upward(self) -> bool:
        """Whether no slope is below 0; unknown on a GPU, which would be waited for."""
        return self.slope.device.type == "cpu" and bool((self.slope >= 0).all())

    def times(self, factor: Tensor | None) -> Line:
        """Return a multiple."""
        return self if factor is None else Line(self.value, self.shift, self.slope * factor)

    def multiple_of(self, other: Source) -> Tensor | None:
        """Return the constant that makes this line of another, None if there is none."""
        if isinstance(other, Line) and other.value is self.value and other.shift is self.shift:
            return self.slope / other.slope
        return None


Source: TypeAlias = "Value | Line"
"""What a factor may be of."""


@dataclass(frozen=True, eq=False)
class Factor:
    """Something that relevance is multiplied by, entry by entry, or by broadcasting.

    Attributes
    ----------
    kind
        ``"positive"``: ``v+``; ``"magnitude"``: ``|v|``; ``"inverse"``: ``1 / (|v| + epsilon)``;
        ``"above"``: 1 where ``v > 0``, else 0; ``"negative"``: ``(-v)+``; ``"is"``: ``v``;
        ``"constant"``: a tensor that does not depend on the input; ``"computed"``: what a function
        returns.
    value
        ``v``.
    """

    kind: Kind
    value: Source | None = None
    constant: Tensor | float | None = None
    compute: Callable[[], Tensor] | None = None
    epsilon: float = 0.0

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of its entries, None for a mask or a number."""
        if self.kind == "above":
            return None
        if self.kind == "constant":  # a number's type goes along with any
            one = self.constant
            return one.dtype if isinstance(one, Tensor) and one.ndim else None
        if self.compute is not None:
            return self.compute().dtype
        assert self.value is not None
        return torch.float32 if self.value.dtype == torch.float16 else self.value.dtype

    def tensors(self) -> list[Tensor | float | None]:
        """Return what its entries are made of: a tensor or number; of a line its shift and slope.

        A number stays one: as a tensor it would have torch's default type and device.
        """
        if self.kind == "constant":
            return [self.constant]
        if self.compute is not None:
            return [self.compute()]
        if isinstance(self.value, Line):
            line = self.value
            # A slope of 0 has a weight of 0 beside it, whatever the mask says.
            plain = self.kind == "above" and line.upward
            return [line.value.tensor, line.shift, None if plain else line.slope]
        assert self.value is not None
        return [self.value.tensor]


def positive(value: Source) -> Factor:
    """Return the factor ``v+``, the positive part of a value."""
    return Factor("positive", value)


def magnitude(value: Source) -> Factor:
    """Return the factor ``|v|``."""
    return Factor("magnitude", value)


def inverse(value: Source, epsilon: float) -> Factor:
    """Return the factor ``1 / (|v| + epsilon)``; where it cancels, epsilon has no effect."""
    return Factor("inverse", value, epsilon=epsilon)


def negative(value: Source) -> Factor:
    """Return the factor ``(-v)+``."""
    return Factor("negative", value)


def above(value: Source) -> Factor:
    """Return the factor ``[v > 0]``: 1 where the value is positive, else 0."""
    return Factor("above", value)


def turned(value: Value, sign: int = -1) -> Source:
    """``-v``, or ``v`` where the sign is 1."""
    if sign > 0:
        return value
    return Line(value, None, torch.full((), -1.0, dtype=value.dtype, device=value.device))


def itself(value: Source) -> Factor:
    """Return the factor ``v``."""
    return Factor("is", value)


def constant(tensor: Tensor | float) -> Factor:
    """Return the factor of a number, or of a tensor that broadcasts to the input's shape."""
    return Factor("constant", constant=tensor)


def computed(compute: Callable[[], Tensor], value: Value | None = None) -> Factor:
    """Return the factor that a function computes when it is needed, once for all starts.

    Parameters
    ----------
    compute
        Without arguments; returns a tensor that broadcasts to the input's shape.
    value
        Given if each entry of the factor is a function of the value's entry, and finite where that
        is 0.
    """
    return Factor("computed", value, compute=functools.cache(compute))


Origin = Callable[[Value], "tuple[Value, Tensor | float | None] | None"]
"""From ``y`` to ``v`` and a scale ``c`` where ``y = c v``, or without a scale where ``y = v+``;
None if it is not so made."""


def joined(factors: Sequence[Factor], origin: Origin) -> list[Factor]:
    """Return the factors with what cancels taken out.

    Examples
    --------
    >>> v = Value(torch.tensor([2.0, -1.0]), None)
    >>> [one.kind for one in joined([magnitude(v), inverse(v, 1e-9)], lambda _: None)]
    []
    >>> [one.kind for one in joined([inverse(v, 1e-9), positive(v)], lambda _: None)]
    ['above']
    """
    left = list(factors)
    result: list[Factor] = []
    for divisor in [one for one in left if one.kind == "inverse"]:
        assert divisor.value is not None
        if divisor.epsilon > torch.finfo(divisor.value.dtype).eps:
            continue  # it is seen, beside what rounding takes
        for factor in left:
            found = _quotient(factor, divisor.value, origin)
            if found is not None:
                left = [one for one in left if one is not factor and one is not divisor]
                result += found
                break
    return _one_mask(result + left)


def _one_mask(factors: Sequence[Factor]) -> list[Factor]:
    """Join the masks of each value: ``[v > a] [v > b]`` is ``[v > max(a, b)]``."""
    result: list[Factor] = []
    masks: dict[Value, list[Factor]] = {}
    for factor in factors:
        of = factor.value
        if factor.kind == "above" and isinstance(of, Line) and of.upward:
            of = of.value
        if factor.kind == "above" and isinstance(of, Value):
            masks.setdefault(of, []).append(factor)
        else:
            result.append(factor)
    for value, alike in masks.items():
        shifts = [getattr(one.value, "shift", None) for one in alike]
        known = [one for one in shifts if one is not None]
        if known:
            top = functools.reduce(torch.maximum, known)
            top = top if len(known) == len(alike) else top.clamp(min=0)
            result.append(above(Line(value, top, torch.ones_like(top))))
        else:
            result.append(alike[0])
    return result


def _quotient(factor: Factor, divisor: Source, origin: Origin) -> list[Factor] | None:
    """Return a factor divided by ``|divisor|``, None if it does not cancel."""
    value = factor.value
    if value is None or factor.kind not in ("positive", "magnitude"):
        return None
    mask = [above(value)] if factor.kind == "positive" else []
    if value is divisor:
        return mask
    if isinstance(value, Line):
        multiple = value.multiple_of(divisor)
        return None if multiple is None else [constant(multiple.abs()), *mask]
    made = origin(value)
    if made is None or made[0] is not divisor:
        return None
    scale = made[1]
    if scale is None:
        return [above(value)]
    return [constant(scale.abs() if isinstance(scale, Tensor) else abs(scale)), *mask]
