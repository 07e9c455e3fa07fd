"""Factors of relevance, and the algebra by which they join and cancel.

A factor is known by what it is of, not by who asked for it: ``|v| / |v|`` is 1 and ``v+ / |v|`` is
``[v > 0]`` whatever equations these came from. So it is through a rectifier ``y = v+``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.plan.blocks import blocks, cut
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
        if self.kind == "above" or (self.kind == "constant" and not _wide(self.constant)):
            return None
        if self.kind == "constant":
            return self.constant.dtype  # type: ignore[union-attr]
        if self.value is None:
            assert self.compute is not None
            return self.compute().dtype
        return torch.float32 if self.value.dtype == torch.float16 else self.value.dtype

    def tensors(self) -> list[Tensor | None]:
        """Return what its entries are made of: a tensor, and of a line its shift and slope."""
        if self.kind == "constant":
            return [torch.as_tensor(self.constant)]
        if self.kind == "computed":
            assert self.compute is not None
            return [self.compute()]
        if isinstance(self.value, Line):
            line = self.value
            # A GPU would be waited for.
            here = self.kind == "above" and line.slope.device.type == "cpu"
            upward = here and bool((line.slope >= 0).all())
            # A slope of 0 has a weight of 0 beside it, whatever the mask says.
            return [line.value.tensor, line.shift, None if upward else line.slope]
        assert self.value is not None
        return [self.value.tensor]

    def reads(self) -> tuple[Value, ...]:
        """Return the values whose entries are needed."""
        if self.value is None:
            return ()
        return (self.value.value if isinstance(self.value, Line) else self.value,)


def positive(value: Source) -> Factor:
    """``v+``."""
    return Factor("positive", value)


def magnitude(value: Source) -> Factor:
    """``|v|``."""
    return Factor("magnitude", value)


def inverse(value: Source, epsilon: float) -> Factor:
    """``1 / (|v| + epsilon)``."""
    return Factor("inverse", value, epsilon=epsilon)


def negative(value: Source) -> Factor:
    """``(-v)+``."""
    return Factor("negative", value)


def above(value: Source) -> Factor:
    """``[v > 0]``."""
    return Factor("above", value)


def itself(value: Source) -> Factor:
    """``v``."""
    return Factor("is", value)


def constant(tensor: Tensor | float) -> Factor:
    """Return the factor of a tensor that broadcasts."""
    return Factor("constant", constant=tensor)


def computed(compute: Callable[[], Tensor]) -> Factor:
    """Return the factor that a function computes when it is needed, once for all starts."""
    known: list[Tensor] = []

    def once() -> Tensor:
        if not known:
            known.append(compute())
        return known[0]

    return Factor("computed", compute=once)


def _wide(constant: Any) -> bool:
    """Whether a constant is more than a number, whose type goes along with any."""
    return isinstance(constant, Tensor) and constant.ndim > 0


Rectified = Callable[[Value], "Value | None"]
"""From ``y`` to ``v`` where ``y`` is ``v`` wherever ``y > 0``; None if it is not so made."""


def joined(factors: Sequence[Factor], rectified: Rectified) -> list[Factor]:
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
            found = _quotient(factor, divisor.value, rectified)
            if found is not None:
                left = [one for one in left if one is not factor and one is not divisor]
                result += found
                break
    return result + left


def _quotient(factor: Factor, divisor: Source, rectified: Rectified) -> list[Factor] | None:
    """Return a factor divided by ``|divisor|``, None if it does not cancel."""
    value = factor.value
    if value is None or factor.kind not in ("positive", "magnitude"):
        return None
    if value is divisor:
        return [] if factor.kind == "magnitude" else [above(value)]
    if isinstance(value, Value):
        return [above(value)] if rectified(value) is divisor else None
    slope = value.multiple_of(divisor)
    if slope is None:
        return None
    return [constant(slope.abs()), *([above(value)] if factor.kind == "positive" else [])]


def multiplied(relevance: Tensor, factors: Sequence[Factor], *, owned: bool) -> Tensor:
    """Return relevance (S, *shape) times the factors, in its own memory if that is ``owned``.

    All that are not masks are multiplied with one another first, once for all starts.
    """
    shape = relevance.shape[1:]
    dtypes = [one.dtype for one in factors]
    dtype = functools.reduce(
        torch.promote_types, [one for one in dtypes if one is not None], relevance.dtype
    )
    result = (
        relevance
        if owned and dtype == relevance.dtype
        else relevance.new_empty(relevance.shape, dtype=dtype)
    )
    given = [(factor, factor.tensors()) for factor in factors]
    for index in blocks(shape, relevance.device):
        every = (slice(None), *index)
        parts = [
            (factor, [one if one is None else cut(one, index, len(shape)) for one in tensors])
            for factor, tensors in given
        ]
        _multiply(relevance[every], parts, result[every])
    return result


def by_sign(parts: Sequence[Tensor], signs: Sequence[int], v: Tensor) -> Tensor:
    """Add parts (S, *shape), each where a value has its sign, in the memory of the first."""
    v = v.to(parts[0].dtype)
    for index in blocks(v.shape, v.device):
        every = (slice(None), *index)
        side = v[index] if index else v
        sides = [side if sign > 0 else side.neg() for sign in signs]
        for start in range(len(parts[0])):
            first, *others = (part[every][start] for part in parts)
            _kept(first, sides[0], first)
            for one, other in zip(others, sides[1:], strict=True):
                first.add_(_kept(one, other, one))
    return parts[0]


def _multiply(relevance: Tensor, factors: list[tuple[Factor, list[Any]]], result: Tensor) -> None:
    """Write relevance times the factors, given with their tensors, to the result."""
    whole: Tensor | None = None
    fresh = False
    for factor, tensors in factors:
        if factor.kind == "above":
            continue
        one, made = _entries(factor, *tensors)
        if whole is None:
            whole, fresh = one, made
        elif fresh and _fits(one, whole):
            whole.mul_(one)
        elif made and _fits(whole, one):
            whole, fresh = one.mul_(whole), True
        else:
            whole, fresh = whole * one, True
    masks = [_masking(factor, *tensors) for factor, tensors in factors if factor.kind == "above"]
    shape = result.shape[1:]
    if whole is not None and whole.shape == shape:
        for mask in masks:
            whole, fresh = _kept(whole, mask, whole if fresh else None), True
        masks = []
    source = relevance
    for mask in masks:
        for start, into in zip(source, result, strict=True):
            _kept(start, mask, into)
        source = result
    if whole is not None:
        torch.mul(source, whole, out=result)
    elif source is not result:
        result.copy_(source)


def _kept(relevance: Tensor, mask: Tensor, into: Tensor | None) -> Tensor:
    """Zero where a mask is not above 0."""
    kernel = torch.ops.aten.threshold_backward
    alike = mask.dtype == relevance.dtype
    if into is None:
        new: Tensor = kernel(relevance, mask, 0) if alike else relevance * (mask > 0)
        return new
    if alike and into.dtype == relevance.dtype:
        kernel.grad_input(relevance, mask, 0, grad_input=into)
        return into
    return torch.mul(relevance, mask > 0, out=into)


def _masking(factor: Factor, v: Tensor, shift: Any = None, slope: Any = None) -> Tensor:
    """Return what is above 0 where a factor is 1."""
    v = v if shift is None else v - shift
    return v if slope is None else v * slope


def _fits(one: Tensor, whole: Tensor) -> bool:
    """Whether a tensor broadcasts to the shape of another."""
    pairs = zip(reversed(one.shape), reversed(whole.shape), strict=False)
    return one.ndim <= whole.ndim and all(a in (1, b) for a, b in pairs)


def _entries(
    factor: Factor, v: Tensor, shift: Any = None, slope: Any = None
) -> tuple[Tensor, bool]:
    """Return a factor's entries, and whether they are in new memory."""
    if factor.kind in ("constant", "computed"):
        return v, False
    made = shift is not None or slope is not None
    v = _masking(factor, v, shift, slope)
    if v.dtype == torch.float16:  # which ends at 65504, far below 1 / epsilon
        v, made = v.float(), True
    if factor.kind == "inverse":
        return v.abs().add_(factor.epsilon).reciprocal_(), True
    if factor.kind == "negative":
        return v.neg().clamp_(min=0), True
    assert factor.value is not None
    if factor.kind == "is" or factor.value.nonnegative:
        return v, made
    return (v.clamp(min=0) if factor.kind == "positive" else v.abs()), True
