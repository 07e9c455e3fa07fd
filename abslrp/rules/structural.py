"""Calls that move elements: relevance follows them, as a gradient would."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Routing, UncoveredError, constant, passing, same
from abslrp.plan.axes import aligned, but, in_order, probe, reduced
from abslrp.plan.routes import at_once, by_gradient, unbroadcast
from abslrp.registry import COMMON
from abslrp.tape import Axes, Call, Value
from abslrp.tape.values import tensors_in

aten = torch.ops.aten
F = TypeVar("F", bound=Callable[..., Account])


def kept_sign(call: Call) -> bool:
    """Whether no entry can be negative, neither of the values that are moved nor of constants."""
    constants = tensors_in([call.args, list(call.kwargs.values())])
    return all(value.nonnegative for value in call.inputs) and not any(
        one.is_floating_point() for one in constants
    )


def of_the_first(rule: F) -> F:
    """Let a result be constant for which only the shape or type of a value was taken."""

    @functools.wraps(rule)
    def checked(call: Call, input: Any, *args: Any, **kwargs: Any) -> Account:
        return rule(call, input, *args, **kwargs) if isinstance(input, Value) else constant()

    return cast(F, checked)


@COMMON.rule("view _unsafe_view reshape unsqueeze squeeze view_as unflatten flatten ravel")
@of_the_first
def reordered(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Keep the entries in their order."""
    shape = input.shape
    return Routing(
        at_once(lambda relevance: relevance.reshape(len(relevance), *shape)),
        lossless=True, axes=in_order, nonnegative=input.nonnegative,
    )  # fmt: skip


@COMMON.rule(
    "clone contiguous alias lift lift_fresh _to_copy to type_as "
    "resolve_conj resolve_neg _conj positive real"
)
@of_the_first
def copied(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Keep the entries where they are."""
    if call.output.dtype.is_complex and not input.dtype.is_complex:
        real = at_once(lambda relevance: relevance.real if relevance.is_complex() else relevance)
        return Routing(real)
    return same(input, nonnegative=input.nonnegative)


def _permuted(call: Call, input: Value, order: Sequence[int]) -> Account:
    back = [0, *(1 + list(order).index(axis) for axis in range(len(order)))]
    return Routing(
        at_once(lambda relevance: relevance.permute(back)),
        lossless=True,
        axes=lambda call, value: [list(order).index(axis) for axis in range(value.ndim)],
        nonnegative=input.nonnegative,
    )


@COMMON.rule(aten.permute)
def permute(call: Call, input: Value, dims: Sequence[int]) -> Account:
    """Order the axes anew."""
    return _permuted(call, input, [axis % input.ndim for axis in dims])


@COMMON.rule(aten.transpose)
def transpose(call: Call, input: Value, dim0: int, dim1: int) -> Account:
    """Exchange two axes."""
    order = list(range(input.ndim))
    if order:
        order[dim0], order[dim1] = order[dim1], order[dim0]
    return _permuted(call, input, order)


@COMMON.rule("t numpy_T adjoint mT mH")
def transposed(call: Call, input: Value) -> Account:
    """Exchange the last two axes."""
    order = list(range(input.ndim))
    if input.ndim > 1 and call.name == "aten.numpy_T":
        order.reverse()
    elif input.ndim > 1:
        order[-1], order[-2] = order[-2], order[-1]
    return _permuted(call, input, order)


@COMMON.rule("expand broadcast_to expand_as")
@of_the_first
def expand(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Repeat entries: relevance of the copies adds up."""
    shape = input.shape
    return Routing(
        at_once(lambda relevance: unbroadcast(relevance, shape)),
        lossless=True, nonnegative=input.nonnegative,
    )  # fmt: skip


@COMMON.rule(aten.slice)
def slice_(
    call: Call, input: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Account:
    """Take a range along an axis."""
    dim = dim % input.ndim
    size = input.shape[dim]
    first, last, _ = slice(start, end, step).indices(size)

    def axes(call: Call, value: Value) -> Any:
        place = value.place
        if place is None or (first, last, step) == (0, size, 1):
            return list(range(value.ndim))
        axis, within = place.axis(value.shape)
        period = within * place.batch
        whole = axis != dim or (step == 1 and first % period == 0 and (last - first) % period == 0)
        return [one if whole or one != dim else None for one in range(value.ndim)]

    def whole(relevance: Tensor) -> Tensor:
        result = relevance.new_zeros(len(relevance), *input.shape)
        aten.slice(result, dim + 1, first, last, step).copy_(relevance)
        return result

    return Routing(at_once(whole), axes=axes, lossless=True, nonnegative=input.nonnegative)


@COMMON.rule(aten.select)
def select(call: Call, input: Value, dim: int, index: int) -> Account:
    """Take one entry along an axis."""
    dim = dim % input.ndim

    def whole(relevance: Tensor) -> Tensor:
        result = relevance.new_zeros(len(relevance), *input.shape)
        result.select(dim + 1, index).copy_(relevance)
        return result

    return Routing(at_once(whole), axes=reduced(dim), lossless=True, nonnegative=input.nonnegative)


@COMMON.rule(aten.cat, aten.concat, aten.concatenate)
def cat(call: Call, tensors: Sequence[Any], dim: int = 0) -> Account:
    """Join along an axis."""

    def axes(call: Call, value: Value) -> list[int | None]:
        own = dim % value.ndim
        alike = all(one.shape == value.shape for one in tensors)
        return [axis if axis != own or alike else None for axis in range(value.ndim)]

    def parts(relevance: Sequence[Tensor | None]) -> list[Tensor | None]:
        (received,) = relevance
        assert received is not None
        axis = dim % (received.ndim - 1) + 1
        sizes = [one.shape[axis - 1] if one.ndim == received.ndim - 1 else 0 for one in tensors]
        pieces = torch.split(received, sizes, axis)
        return _added(call, tensors, pieces)

    return Routing(parts, axes=axes, nonnegative=kept_sign(call))


def _added(call: Call, given: Sequence[Any], pieces: Sequence[Tensor]) -> list[Tensor | None]:
    found: dict[Value, Tensor] = {}
    for one, piece in zip(given, pieces, strict=True):
        if isinstance(one, Value):
            whole = piece.reshape(len(piece), *one.shape)
            found[one] = found[one] + whole if one in found else whole
    return [found.get(value) for value in call.inputs]


@COMMON.rule(aten.stack)
def stack(call: Call, tensors: Sequence[Any], dim: int = 0) -> Account:
    """Join along a new axis."""
    axis = dim % (call.output.ndim)

    def axes(call: Call, value: Value) -> list[int | None]:
        return [one + (one >= axis) for one in range(value.ndim)]

    def parts(relevance: Sequence[Tensor | None]) -> list[Tensor | None]:
        (received,) = relevance
        assert received is not None
        return _added(call, tensors, received.unbind(axis + 1))

    return Routing(parts, axes=axes, nonnegative=kept_sign(call))


@COMMON.rule(
    "split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk tensor_split"
)
def split(call: Call, input: Value, sizes: Any, dim: int = 0) -> Account:
    """Part along an axis."""
    dim = dim % input.ndim
    shapes = [one.shape for one in call.outputs if one is not None]

    def whole(relevance: Sequence[Tensor | None]) -> list[Tensor | None]:
        some = next(one for one in relevance if one is not None)
        return [
            torch.cat(
                [
                    some.new_zeros(len(some), *shape) if one is None else one
                    for one, shape in zip(relevance, shapes, strict=True)
                ],
                dim + 1,
            )
        ]

    return Routing(whole, axes=but(dim), nonnegative=input.nonnegative)


@COMMON.rule(aten.unbind)
def unbind(call: Call, input: Value, dim: int = 0) -> Account:
    """Take the entries along an axis apart."""
    dim = dim % input.ndim

    def whole(relevance: Sequence[Tensor | None]) -> list[Tensor | None]:
        some = next(one for one in relevance if one is not None)
        return [
            torch.stack(
                [torch.zeros_like(some) if one is None else one for one in relevance], dim + 1
            )
        ]

    return Routing(whole, axes=reduced(dim), nonnegative=input.nonnegative)


@COMMON.rule(aten.constant_pad_nd)
def pad(call: Call, input: Value, pad: Sequence[int], value: float = 0) -> Account:
    """Add constants at the borders."""
    padded = [-1 - axis for axis in range(len(pad) // 2) if any(pad[2 * axis : 2 * axis + 2])]
    return Routing(
        at_once(lambda relevance: aten.constant_pad_nd(relevance, [-one for one in pad])),
        axes=but(*padded), nonnegative=input.nonnegative and value >= 0,
    )  # fmt: skip


@COMMON.rule(aten.roll)
def roll(call: Call, input: Value, shifts: Any, dims: Any = ()) -> Account:
    """Move along axes, around the end."""
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [dims] if isinstance(dims, int) else [axis % input.ndim for axis in dims]
    if not dims:
        return Routing(by_gradient(call), axes=probe, nonnegative=input.nonnegative)
    return Routing(
        at_once(
            lambda relevance: torch.roll(
                relevance, [-one for one in shifts], [axis + 1 for axis in dims]
            )
        ),
        lossless=True, axes=but(*dims), nonnegative=input.nonnegative,
    )  # fmt: skip


@COMMON.rule(aten.flip)
def flip(call: Call, input: Value, dims: Sequence[int]) -> Account:
    """Reverse axes."""
    axes = [axis % input.ndim for axis in dims]
    return Routing(
        at_once(lambda relevance: relevance.flip([axis + 1 for axis in axes])),
        lossless=True, axes=but(*axes), nonnegative=input.nonnegative,
    )  # fmt: skip


@COMMON.rule(
    "index index_select gather take take_along_dim masked_select diagonal as_strided tril "
    "triu pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle im2col repeat "
    "rot90 view_as_real view_as_complex reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d _unsafe_index diag_embed movedim "
    "slice_scatter select_scatter diagonal_scatter narrow_copy "
    "repeat_interleave diag fliplr flipud meshgrid unsafe_index"
)
def moved(call: Call, *args: Any, **kwargs: Any) -> Account:
    """Move some of the entries elsewhere."""
    return Routing(by_gradient(call), axes=probe, nonnegative=kept_sign(call))


@COMMON.rule(aten.unfold)
def windows(call: Call, input: Value, dimension: int, size: int, step: int) -> Account:
    """Put windows of an axis along a new one."""
    return Routing(by_gradient(call), axes=but(dimension), nonnegative=input.nonnegative)


@COMMON.rule("as_strided_scatter")
def put_into(
    call: Call, input: Any, source: Any, size: Any, stride: Any, offset: int = 0
) -> Account:
    """Put a tensor into a row of memory: each entry comes from the one that was put last."""
    row = call.output.shape

    def parts(relevance: Sequence[Tensor | None]) -> list[Tensor | None]:
        received = relevance[0]
        assert received is not None
        left = received.clone(memory_format=torch.contiguous_format)
        place = left.as_strided((len(left), *size), (row.numel(), *stride), offset)
        found = {source: place.clone()} if isinstance(source, Value) else {}
        place.zero_()
        if isinstance(input, Value):
            found[input] = left
        return [found.get(value) for value in call.inputs]

    return Routing(parts, axes=probe, nonnegative=kept_sign(call))


def accumulates(call: Call) -> bool:
    """Whether entries are added to what was there."""
    given = [*call.args[3:4], call.kwargs.get("accumulate", False)]
    return any(one is True for one in given)


@COMMON.rule(
    "masked_fill where index_fill scatter index_put index_copy masked_scatter fill_diagonal "
    "_unsafe_index_put put"
)
def filled(call: Call, *args: Any, **kwargs: Any) -> Account:
    """Keep some of the entries, and fill others in."""
    if accumulates(call):
        raise UncoveredError("entries that are added up")
    numbers = [
        one for one in [*call.args, *call.kwargs.values()]
        if isinstance(one, (int, float)) and not isinstance(one, bool)
    ]  # fmt: skip
    positive = kept_sign(call) and all(one >= 0 for one in numbers)
    return Routing(by_gradient(call), axes=_elementwise(call), nonnegative=positive)


@COMMON.rule("copy")
def overwritten(call: Call, input: Any, source: Any, *args: Any) -> Account:
    """Take the source; what is overwritten has no part in the result."""
    if not isinstance(source, Value):
        return constant()
    return passing(source, nonnegative=source.nonnegative)


def _elementwise(call: Call) -> Axes:
    if call.name.split(".")[1] in ("masked_fill", "where"):
        return aligned
    return probe
