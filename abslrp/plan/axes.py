"""Where each axis of an input is in a call's output: rules say it to follow the samples."""

from collections.abc import Sequence
from typing import Literal

from abslrp.tape import Axes, Call, Value


def aligned(call: Call, value: Value) -> list[int | None]:
    """Broadcast from the right, as elementwise calls do."""
    return list(range(call.output.ndim - value.ndim, call.output.ndim))


def in_order(call: Call, value: Value) -> None:
    """Keep the order of the entries."""


def probe(call: Call, value: Value) -> Literal["probe"]:
    """Run the call on the samples' numbers."""
    return "probe"


def only(*kept: int) -> Axes:
    """Keep the named ones where they are, and mix the others."""

    def axes(call: Call, value: Value) -> list[int | None]:
        places = [axis % value.ndim for axis in kept]
        return [axis if axis in places else None for axis in range(value.ndim)]

    return axes


def but(*mixed: int) -> Axes:
    """Mix the named ones, and keep the others where they are."""

    def axes(call: Call, value: Value) -> list[int | None]:
        return without(value, mixed, keep=True)

    return axes


def reduced(dims: Sequence[int] | int | None) -> Axes:
    """Mix some, or all, which are left out of the output unless it has as many axes."""

    def axes(call: Call, value: Value) -> list[int | None]:
        gone = [dims] if isinstance(dims, int) else dims or range(value.ndim)
        return without(value, gone, keep=call.output.ndim == value.ndim)

    return axes


def without(value: Value, gone: Sequence[int], *, keep: bool) -> list[int | None]:
    """Return the axes of a call that mixes some, which stay with one entry or are left out."""
    mixed = {axis % value.ndim for axis in gone} if value.ndim else set()
    return [
        None if axis in mixed else axis - (0 if keep else sum(one < axis for one in mixed))
        for axis in range(value.ndim)
    ]
