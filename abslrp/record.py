"""What the engine notes of a tensor beside its value, and what a propagation was asked for."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from abslrp.layout import Layout

if TYPE_CHECKING:
    from abslrp.operation import Operation

Conserve: TypeAlias = 'Literal["operation", "argument"] | None'


class Options:
    """What one propagation was asked for.

    ``closed`` says that every call on the path is seen, or refused.
    """

    def __init__(self, conserve: Conserve, *, signed: bool, closed: bool = True) -> None:
        self.conserve = conserve
        self.signed = signed
        self.closed = closed
        self.epoch = 0
        """Rises when memory that several tensors share is overwritten: signs are then unknown."""
        self._scratch: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}
        self._held: list[weakref.ref[Tensor]] = []

    def hold(self, values: Iterable[Tensor]) -> None:
        """Note tensors that rules were given and may keep."""
        self._held.extend(map(weakref.ref, values))

    def part_from(self, target: Tensor) -> None:
        """Give kept tensors memory of their own, if it is the target's, before that is overwritten.

        The tensor object that a rule keeps stays the same, and so does the model's memory with
        all its views.
        """
        alive = [(one, value) for one in self._held if (value := one()) is not None]
        for _, value in alive:
            if share_memory(value, target):
                value.data = value.data.clone()
        self._held = [one for one, _ in alive]

    def scratch(self, like: Tensor, slot: int) -> Tensor:
        """Return reusable memory shaped like a tensor."""
        key = slot, like.dtype, like.device
        memory = self._scratch.get(key)
        if memory is None or memory.numel() < like.numel():
            memory = self._scratch[key] = like.new_empty(like.numel())
        return memory[: like.numel()].view(like.shape)

    @property
    def fuses(self) -> bool:
        """Whether an operation may take a factor of the one before it into its own."""
        return self.closed and not self.signed and self.conserve != "argument"

    @property
    def defers(self) -> bool:
        """Whether operations may leave normalisation to the ones before them."""
        return self.closed and self.conserve == "operation" and not self.signed


def share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether writing to a tensor may change another, as they are views of one memory."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class Deferred(NamedTuple):
    """What an operation that left normalisation to the one before it hands on beside relevance."""

    total: Tensor
    """Relevance per sample that there should be."""
    depth: int
    """Number of operations in a row that deferred."""
    owned: bool
    """Whether nothing else can see the relevance tensor, so that it may be overwritten."""


class Postponed:
    """``1 / (|h| + epsilon)`` of a product, until its first consumer is known.

    A norm, a softmax or a further product that is the only consumer takes it into its own gain,
    so that relevance is multiplied once for both and one tensor is kept instead of two. For any
    other consumer the factor is computed at once, since the consumer may overwrite ``h``.

    Parameters
    ----------
    output
        ``h``.
    compute
        ``compute(h)``: the factor.
    again
        Computes ``h`` once more. With it, activation functions hand the factor on to their own
        consumer; without, only a direct consumer of ``h`` may claim it.
    """

    def __init__(
        self,
        output: Tensor,
        compute: Callable[[Tensor], Tensor],
        again: Callable[[], Tensor] | None = None,
    ) -> None:
        self._output: Tensor | None = output.detach()
        self._compute = compute
        self._again = again
        self._factor: Tensor | None = None
        self._undo: Callable[[Tensor], object] | None = None
        self.run = 0
        """Number of factors in a row that were taken over before this one."""

    @property
    def pending(self) -> bool:
        """Whether the factor is neither computed nor claimed."""
        return self._output is not None

    def factor(self) -> Tensor | None:
        """Return the factor; None if the consumer has taken it over."""
        if self._output is not None:
            self._factor, self._output, self._again = self._compute(self._output), None, None
        return self._factor

    def before_overwriting(self, *, rectifies: bool) -> None:
        """Compute the factor before a call overwrites ``h``."""
        self.factor()

    def travel(self, operation: Operation) -> bool:
        """Return whether an activation function may hand the factor on."""
        return operation.passes and not operation.inplace and self._again is not None

    def joined(self, x: Tensor) -> Tensor | None:
        """Return what a product is to multiply by in place of its input ``x``, if anything."""
        return None

    def claim(self, undo: Callable[[Tensor], None]) -> Tensor | None:
        """Hand ``h`` to a consumer, unless the factor is computed already."""
        output, self._output = self._output, None
        if output is not None:
            self._undo = undo
        return output

    def consumed_again(self, tensor: Tensor) -> None:
        """Take the factor back: relevance will come from a second consumer, too.

        ``tensor`` is what was consumed: ``h``, unless the factor has travelled.
        """
        if self._undo is not None:
            output = tensor.detach() if self._again is None else self._again()
            self._undo(output)
            self._undo, self._output = None, output
        self.factor()


class Record:
    """What the engine knows of one active tensor beside its value.

    Attributes
    ----------
    options
        Those of the propagation that the tensor belongs to.
    layout
        Where the samples lie, or None if that is not known.
    consumers
        Number of calls that took the tensor as an argument so far.
    total
        During a backward pass: the per-sample relevance that the tensor should have received,
        when its only consumer left normalisation to the operation that made it.
    delivered
        During a backward pass: number of consumers that have sent relevance in newly made memory.
    """

    __slots__ = (
        "_epoch",
        "_nonnegative",
        "_operation",
        "consumers",
        "delivered",
        "layout",
        "options",
        "total",
    )

    def __init__(
        self,
        options: Options,
        layout: Layout | None,
        nonnegative: bool = False,
        operation: Operation | None = None,
    ) -> None:
        self.options = options
        self.layout = layout
        self._nonnegative = nonnegative
        self._epoch = options.epoch
        # Weak: the graph keeps the operation, and a cycle would keep its tensors for long.
        self._operation = None if operation is None else weakref.ref(operation)
        self.consumers = 0
        self.total: Deferred | None = None
        self.delivered = 0

    def collect(self) -> bool:
        """Return whether nothing else can see the relevance that the tensor has received.

        Autograd adds up what several consumers send, in memory of one of them or in new memory.
        """
        owned = self.delivered == self.consumers > 0
        self.delivered = 0
        return owned

    @property
    def nonnegative(self) -> bool:
        """Whether no entry can be negative, which halves the cost of eq. 12."""
        return self._nonnegative and self._epoch == self.options.epoch

    @property
    def operation(self) -> Operation | None:
        """The operation that made the tensor, if a rule did and its graph is alive."""
        return None if self._operation is None else self._operation()

    def can_defer(self) -> bool:
        """Whether the tensor's maker can normalise on behalf of its only consumer."""
        return (
            self.consumers == 1
            and (maker := self.operation) is not None
            and maker.settles
            and self.layout is not None
        )
