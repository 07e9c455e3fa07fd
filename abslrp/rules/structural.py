"""Calls that move elements: relevance follows them, as a gradient would."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Routing, UncoveredError, constant, passing, same
from abslrp.plan.axes import aligned, but, in_order, probe, reduced
from abslrp.plan.routes import at_once, by_gradient, unbroadcast
from abslrp.registry import COMMON
from abslrp.tape import Axes, Call, Value, WrittenOut
from abslrp.tape.values import tensors_in

aten = torch.ops.aten
F = TypeVar("F", bound=Callable[..., Account])


def kept_sign(call: Call, *, indexed: bool = False) -> bool:
    """Whether no entry can be negative, neither of the values that are moved nor of constants.

    ``indexed``: constants of whole numbers are indices, and not entries.
    """
    constants = tensors_in([call.args, list(call.kwargs.values())])
    return all(value.nonnegative for value in call.inputs) and all(
        one.dtype == torch.bool or (indexed and not one.is_floating_point()) for one in constants
    )


def of_the_first(rule: F) -> F:
    """Let a result be constant for which only others of a call's arguments are values."""

    @functools.wraps(rule)
    def checked(call: Call, input: Any, *args: Any, **kwargs: Any) -> Account:
        return rule(call, input, *args, **kwargs) if isinstance(input, Value) else constant()

    return cast(F, checked)


def lossless(
    input: Value, adjoint: Callable[[Tensor], Tensor], axes: Axes = aligned, window: Any = None
) -> Routing:
    """Every entry of the output is one of the input's."""
    sure = input.nonnegative
    return Routing(at_once(adjoint), lossless=True, window=window, axes=axes, nonnegative=sure)


@COMMON.rule(
    "view view_copy _unsafe_view reshape unsqueeze squeeze view_as unflatten flatten ravel"
)
@of_the_first
def reordered(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Keep the entries in their order."""
    if call.operator is aten.view.dtype:
        raise WrittenOut(_seen_as)
    shape = input.shape
    return lossless(input, lambda relevance: relevance.reshape(len(relevance), *shape), in_order)


def _seen_as(input: Tensor, dtype: torch.dtype) -> Tensor:
    """See pairs of real numbers as complex ones, or the reverse."""
    if dtype == input.dtype:
        return input.view_as(input)
    if dtype == input.dtype.to_complex() and not input.is_complex():
        return torch.view_as_complex(input.reshape(*input.shape[:-1], -1, 2))
    if input.is_complex() and dtype == input.dtype.to_real():
        return torch.view_as_real(input).flatten(-2)
    raise ValueError(f"model: it sees the bits of {input.dtype} as {dtype}; expected to(dtype)")


@COMMON.rule(
    "clone contiguous alias lift lift_fresh _to_copy to type_as resolve_conj resolve_neg positive"
)
@of_the_first
def copied(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Keep the entries where they are."""
    if call.output.dtype.is_complex and not input.dtype.is_complex:
        return Routing(at_once(lambda relevance: relevance.real))
    if input.dtype.is_complex:
        return Routing(at_once(lambda relevance: relevance))
    return same(input, nonnegative=input.nonnegative)


@COMMON.rule("permute permute_copy transpose t numpy_T adjoint mT mH movedim swapaxes swapdims")
def permuted(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Order the axes anew: as the call does with a shape of other sizes along each."""
    meta = torch.empty(list(range(input.ndim)), device="meta")
    order = list(call.operator(meta, *args, **kwargs).shape)
    places = [order.index(axis) for axis in range(input.ndim)]
    back = [0, *(1 + place for place in places)]
    return lossless(input, lambda relevance: relevance.permute(back), lambda *_: [*places])


@COMMON.rule("expand broadcast_to expand_as")
@of_the_first
def expand(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
    """Repeat entries: relevance of the copies adds up."""
    shape = input.shape
    return lossless(input, lambda relevance: unbroadcast(relevance, shape))


def window(input: Value, part: Callable[[Tensor], Tensor], axes: Axes) -> Routing:
    """Take the part of an input that the same view of its relevance is of."""

    def whole(relevance: Tensor) -> Tensor:
        result = relevance.new_zeros(len(relevance), *input.shape)
        part(result).copy_(relevance)
        return result

    return lossless(input, whole, axes, part)


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
        whole = axis != dim or (step == 1 and first % period == last % period == 0)
        return [one if whole or one != dim else None for one in range(value.ndim)]

    return window(input, lambda whole: aten.slice(whole, dim + 1, first, last, step), axes)


@COMMON.rule(aten.select)
def select(call: Call, input: Value, dim: int, index: int) -> Account:
    """Take one entry along an axis."""
    dim = dim % input.ndim

    return window(input, lambda whole: whole.select(dim + 1, index), reduced(dim))


@COMMON.rule(aten.cat, aten.concat, aten.concatenate)
def cat(call: Call, tensors: Sequence[Any], dim: int = 0) -> Account:
    """Join along an axis."""

    def axes(call: Call, value: Value) -> list[int | None]:
        own = dim % value.ndim
        alike = all(one.shape == value.shape for one in tensors)
        return [axis if axis != own or alike else None for axis in range(value.ndim)]

    def parts(received: Tensor) -> list[Tensor | None]:
        axis = dim % (received.ndim - 1) + 1
        sizes = [one.shape[axis - 1] if one.ndim == received.ndim - 1 else 0 for one in tensors]
        found: dict[Value, Tensor] = {}
        for one, piece in zip(tensors, torch.split(received, sizes, axis), strict=True):
            if isinstance(one, Value):
                whole = piece.reshape(len(piece), *one.shape)
                found[one] = found[one] + whole if one in found else whole
        return [found.get(value) for value in call.inputs]

    return Routing(at_once(parts), axes=axes, nonnegative=kept_sign(call))


@COMMON.rule(
    "split split_with_sizes unsafe_split unsafe_split_with_sizes chunk unsafe_chunk tensor_split"
)
def split(call: Call, input: Value, sizes: Any, dim: int = 0) -> Account:
    """Part along an axis."""
    return Routing(by_gradient(call), axes=but(dim), nonnegative=input.nonnegative)


@COMMON.rule("unbind unbind_copy")
def unbind(call: Call, input: Value, dim: int = 0) -> Account:
    """Take the entries along an axis apart."""
    return Routing(by_gradient(call), axes=reduced(dim), nonnegative=input.nonnegative)


@COMMON.rule(aten.constant_pad_nd)
def pad(call: Call, input: Value, pad: Sequence[int], value: float = 0) -> Account:
    """Add constants at the borders."""
    padded = [-1 - axis for axis in range(len(pad) // 2) if any(pad[2 * axis : 2 * axis + 2])]
    adjoint = at_once(lambda relevance: aten.constant_pad_nd(relevance, [-one for one in pad]))
    return Routing(adjoint, axes=but(*padded), nonnegative=input.nonnegative and value >= 0)


@COMMON.rule(
    "index index_select gather take take_along_dim masked_select diagonal as_strided tril "
    "triu pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle im2col repeat "
    "rot90 reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
    "replication_pad3d _unsafe_index diag_embed slice_scatter select_scatter diagonal_scatter "
    "narrow_copy repeat_interleave diag fliplr flipud meshgrid unsafe_index"
)
def moved(call: Call, *args: Any, **kwargs: Any) -> Account:
    """Move some of the entries elsewhere."""
    return Routing(by_gradient(call), axes=probe, nonnegative=kept_sign(call, indexed=True))


@COMMON.rule("view_as_real view_as_complex")
def paired(call: Call, input: Value) -> Account:
    """Take real and imaginary parts along a last axis, or an axis of two for them."""
    return Routing(by_gradient(call), axes=lambda call, value: list(range(value.ndim)))


@COMMON.rule(aten.roll, aten.flip, aten.unfold)
def along(call: Call, input: Value, *given: Any) -> Account:
    """Move along axes, which are known, so that no device is waited for."""
    dims = ([*given[1:], ()] if call.name == "aten.roll" else given)[0]
    dims = [dims] if isinstance(dims, int) else dims
    axes, sure = but(*dims) if dims else probe, input.nonnegative
    whole = call.output.shape == input.shape
    return Routing(by_gradient(call), axes=axes, lossless=whole, nonnegative=sure)


@COMMON.rule("as_strided_scatter")
def put_into(
    call: Call, input: Any, source: Any, size: Any, stride: Any, offset: int = 0
) -> Account:
    """Put a tensor into a row of memory: each entry comes from the one that was put last."""
    row = call.output.shape

    def parts(received: Tensor) -> list[Tensor | None]:
        left = received.clone(memory_format=torch.contiguous_format)
        place = left.as_strided((len(left), *size), (row.numel(), *stride), offset)
        found = {source: place.clone()} if isinstance(source, Value) else {}
        place.zero_()
        if isinstance(input, Value):
            found[input] = left
        return [found.get(value) for value in call.inputs]

    return Routing(at_once(parts), axes=probe, nonnegative=kept_sign(call))


def accumulates(call: Call) -> bool:
    """Whether entries are added to what was there."""
    given = [*call.args[3:4], call.kwargs.get("accumulate", False)]
    return "put" in call.short and any(one is True for one in given)


@COMMON.rule(
    "where index_fill scatter index_put index_copy masked_scatter fill_diagonal "
    "_unsafe_index_put put"
)
def filled(call: Call, *args: Any, **kwargs: Any) -> Account:
    """Keep some of the entries, and fill others in."""
    if accumulates(call) or "reduce" in call.kwargs:
        raise UncoveredError("entries that are added up or multiplied")
    numbers = [one for one in (*call.args, *call.kwargs.values()) if isinstance(one, (int, float))]
    along = call.short in ("masked_fill", "where")
    positive = kept_sign(call, indexed=not along) and all(one >= 0 for one in numbers)
    axes = aligned if along else probe
    return Routing(by_gradient(call), axes=axes, nonnegative=positive)


@COMMON.rule("masked_fill")
def masked_fill(call: Call, input: Any, mask: Tensor, value: Any) -> Account:
    """Keep the entries outside a mask; where the result is positive it is what was given."""
    account = filled(call, input, mask, value)
    below = not isinstance(value, (Value, Tensor)) and value <= 0
    if isinstance(input, Value) and below and input.shape == call.output.shape:
        adjoint = at_once(lambda relevance: relevance.masked_fill(mask, 0))
        return Routing(adjoint, axes=account.axes, nonnegative=account.nonnegative, rectifies=True)
    return account


@COMMON.rule("copy fill")
def overwritten(call: Call, input: Any, source: Any, *args: Any) -> Account:
    """Take the source; what is overwritten has no part in the result."""
    if not isinstance(source, Value):
        return constant()
    return passing(source, nonnegative=source.nonnegative)
