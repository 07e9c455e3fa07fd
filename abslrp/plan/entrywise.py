"""Relevance times factors, entry by entry, in parts of a tensor that fit a processor's cache.

Several passes over a part cost little more than one; a GPU takes all of a tensor at once.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from abslrp.plan.factors import Factor

ENTRIES = 2**18
"""Entries of a block: one megabyte of float32."""

Index = tuple[slice, ...]


def blocks(shape: Sequence[int], device: torch.device) -> Iterator[Index]:
    """Yield indices of parts that together are a tensor of some shape; on a GPU, all of it.

    Examples
    --------
    >>> [index for index in blocks((2, 3), torch.device("cpu"))]
    [()]
    >>> len(list(blocks((4, 256, 56, 56), torch.device("cpu"))))
    16
    """
    count = torch.Size(shape).numel()
    if device.type != "cpu" or count <= ENTRIES:
        yield ()
        return
    inner = count // shape[0]
    if inner >= ENTRIES and len(shape) > 1:
        for first in range(shape[0]):
            for rest in blocks(shape[1:], device):
                yield slice(first, first + 1), *rest
        return
    step = max(1, ENTRIES // max(1, inner))
    for first in range(0, shape[0], step):
        yield (slice(first, first + step),)


def cut(tensor: Any, index: Index, ndim: int) -> Any:
    """Return a block of a tensor that broadcasts to ``ndim`` axes, or what is none as it is."""
    if not index or not isinstance(tensor, Tensor):
        return tensor
    own = zip(index[ndim - tensor.ndim :], tensor.shape, strict=False)
    return tensor[tuple(one if size > 1 else slice(None) for one, size in own)]


def laid(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return new memory whose last axes are in the order that those of a tensor have in memory."""
    order = sorted(range(-like.ndim, 0), key=like.stride, reverse=True)
    more = len(shape) - like.ndim
    places = [*range(more), *(len(shape) + axis for axis in order)]
    return torch.empty_permuted(shape, places, dtype=dtype or like.dtype, device=like.device)


def multiplied(relevance: Tensor, factors: Sequence[Factor], *, owned: bool) -> Tensor:
    """Return relevance (S, *shape) times the factors, in its own memory if that is ``owned``.

    All that are not masks are multiplied with one another first, once for all starts.
    """
    shape = relevance.shape[1:]
    dtypes = [dtype for one in factors if (dtype := one.dtype) is not None]
    dtype = functools.reduce(torch.promote_types, dtypes, relevance.dtype)
    given = [(factor, factor.tensors()) for factor in factors]
    result = relevance
    if not owned or dtype != relevance.dtype:
        known = (one for _, tensors in given for one in tensors if isinstance(one, Tensor))
        like = next((one for one in known if one.shape == shape), relevance[0])
        result = laid(relevance.shape, like, dtype)
    for index in blocks(shape, relevance.device):
        every = (slice(None), *index)
        parts = [
            (factor, [cut(one, index, len(shape)) for one in tensors]) for factor, tensors in given
        ]
        _multiply(relevance[every], parts, result[every])
    return result


def by_sign(parts: Sequence[Tensor], signs: Sequence[int], v: Tensor) -> Tensor:
    """Add parts (S, *shape), each where a value has its sign, in the memory of the first."""
    for index in blocks(v.shape, v.device):
        every = (slice(None), *index)
        side, like = v[index], parts[0][every][0]
        if side.stride() != like.stride() or side.dtype != like.dtype:
            # A pass over two orders takes ten times as long.
            side = laid(side.shape, like).copy_(side)
        sides = [side if sign > 0 else side.neg() for sign in signs]
        for start in range(len(parts[0])):
            first, *others = (part[every][start] for part in parts)
            _kept(first, sides[0], first)
            for one, other in zip(others, sides[1:], strict=True):
                first.add_(_kept(one, other, one))
    return parts[0]


def _multiply(relevance: Tensor, factors: list[tuple[Factor, list[Any]]], result: Tensor) -> None:
    """Write relevance times the factors, given with their tensors, to the result."""
    whole: Any = None
    for factor, tensors in factors:
        if factor.kind != "above":
            one = _entries(factor, *tensors)
            whole = one if whole is None else whole * one
    masks = [_masking(factor, *tensors) for factor, tensors in factors if factor.kind == "above"]
    if masks and isinstance(whole, Tensor) and whole.ndim:
        whole = whole.expand(result.shape[1:])
        for number, mask in enumerate(masks):  # the first in new memory: it may be a constant
            whole = _kept(whole, mask, whole if number else None)
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
        return kernel(relevance, mask, 0) if alike else relevance * (mask > 0)
    if alike and into.dtype == relevance.dtype:
        kernel.grad_input(relevance, mask, 0, grad_input=into)
        return into
    return torch.mul(relevance, mask > 0, out=into)


def _masking(factor: Factor, v: Tensor, shift: Any = None, slope: Any = None) -> Tensor:
    """Return what is above 0 where a factor is 1."""
    v = v if shift is None else v - shift
    return v if slope is None else v * slope


def _entries(factor: Factor, v: Any, shift: Any = None, slope: Any = None) -> Any:
    """Return a factor's entries."""
    if factor.kind in ("constant", "computed"):
        return v
    v = _masking(factor, v, shift, slope)
    if v.dtype == torch.float16:  # which ends at 65504, far below 1 / epsilon
        v = v.float()
    if factor.kind == "inverse":
        return v.abs().add_(factor.epsilon).reciprocal_()
    if factor.kind == "negative":
        return v.neg().clamp_(min=0)
    assert factor.value is not None
    if factor.kind == "is" or factor.value.nonnegative:
        return v
    return v.clamp(min=0) if factor.kind == "positive" else v.abs()
