"""One intercepted call: what a rule sees of it, and how its relevance is conserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.layout import Layout, LayoutError
from abslrp.registry import Backward, Function, name_of

Conserve: TypeAlias = 'Literal["operation", "argument"] | None'

MAX_DEFERRED = 6
"""Operations in a row that may leave normalisation to the one before them (float range)."""


class Record:
    """What the engine knows of one active tensor beside its value.

    Attributes
    ----------
    layout
        Where the samples lie, or None if that is not known.
    nonnegative
        True if no entry can be negative, which halves the cost of eq. 12.
    consumers
        Number of calls that took the tensor as an argument so far.
    operation
        The operation that made the tensor, if a rule did.
    total
        During a backward pass: the per-sample relevance that the tensor should have received,
        when its only consumer left normalisation to the operation that made it.
    """

    __slots__ = ("consumers", "layout", "nonnegative", "operation", "total")

    def __init__(
        self,
        layout: Layout | None,
        nonnegative: bool = False,
        operation: Operation | None = None,
    ) -> None:
        self.layout = layout
        self.nonnegative = nonnegative
        self.operation = operation
        self.consumers = 0
        self.total: tuple[Tensor, int] | None = None

    def can_defer(self) -> bool:
        """Whether the tensor's maker can normalise on behalf of its only consumer."""
        return (
            self.consumers == 1
            and self.operation is not None
            and self.operation.settles
            and self.layout is not None
        )


class Operation:
    """A call of a torch function on the path from the input to the logits.

    Rules get it as their first argument.

    Attributes
    ----------
    function, args, kwargs
        The intercepted call; constants (parameters) come detached.
    active
        The tensors among the arguments that relevance flows to, in order.
    output
        The call's result, once :meth:`forward` has run.
    inplace
        Whether the call overwrites its first argument: then a rule takes what it needs of that
        argument's values before it calls :meth:`forward`.
    """

    def __init__(
        self,
        function: Function,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        active: list[Tensor],
        records: list[Record],
        options: Options,
        *,
        inplace: bool,
    ) -> None:
        self.function = function
        self.args = tuple(args)
        self.kwargs = kwargs
        self.active = active
        self.records = records
        self.options = options
        self.inplace = inplace
        self.name = name_of(function)
        self.output: Tensor | None = None
        self.backward: Backward | None = None
        self.passes = False
        self.settles = options.defers
        self.output_nonnegative = False
        self.record: Record | None = None

    # -- for rules ---------------------------------------------------------------------------
    def forward(self) -> Tensor:
        """Run the call as it stands, once, and return its result."""
        if self.output is None:
            self.output = self.function(*self.args, **self.kwargs)
        return self.output

    def is_active(self, value: Any) -> bool:
        """Whether relevance flows to this argument."""
        return any(value is tensor for tensor in self.active)

    def is_nonnegative(self, tensor: Tensor) -> bool:
        """Whether the tensor is known, without looking, to have no negative entry."""
        return any(
            tensor is one and record.nonnegative
            for one, record in zip(self.active, self.records, strict=True)
        )

    def keeps_sign(self) -> None:
        """Declare that the output has no negative entry if no active input has one."""
        self.output_nonnegative = all(record.nonnegative for record in self.records)

    # -- for the engine ----------------------------------------------------------------------
    def propagate(self, relevance: Tensor) -> tuple[Tensor | None, ...]:
        """Relevance of each active input from that of the output, conserved as asked."""
        assert self.backward is not None
        if self.passes:
            return self._pass_on(relevance)
        if self.options.conserve is None:
            return self.backward(relevance)
        if self.options.conserve == "argument":
            return tuple(
                None if raw is None else self._scaled_to_one(raw, record)
                for raw, record in zip(self.backward(relevance), self.records, strict=True)
            )
        if self.options.signed:
            positive = self._conserved(relevance.clamp(min=0))
            negative = self._conserved(relevance.clamp(max=0).neg())
            return tuple(
                None if plus is None or minus is None else plus - minus
                for plus, minus in zip(positive, negative, strict=True)
            )
        return self._conserved(relevance)

    def release(self) -> None:
        """Drop the call's tensors; what the rule needs, its backward function holds."""
        self.args = ()
        self.kwargs = {}
        self.active = []
        self.output = None

    def _pass_on(self, relevance: Tensor) -> tuple[Tensor | None, ...]:
        received, source = self.record, self.records[0]
        if received is not None and received.total is not None:
            if source.can_defer():
                source.total, received.total = received.total, None
            else:
                relevance = self._settle(relevance)
        return (relevance, *(None for _ in self.records[1:]))

    def _settle(self, relevance: Tensor) -> Tensor:
        """Normalise relevance whose consumer deferred that."""
        assert self.record is not None
        assert self.record.total is not None
        (total, _), self.record.total = self.record.total, None
        layout = _known(self.record.layout, self.name)
        factor = ratio(total, layout.totals(relevance))
        return relevance * layout.spread(factor, relevance)

    def _conserved(self, relevance: Tensor) -> tuple[Tensor | None, ...]:
        assert self.backward is not None
        assert self.record is not None
        depth = 0
        if self.record.total is not None:
            (total, depth), self.record.total = self.record.total, None
        else:
            total = _known(self.record.layout, self.name).totals(relevance)
        raw = self.backward(relevance)
        pairs = [
            (one, record)
            for one, record in zip(raw, self.records, strict=True)
            if one is not None
        ]
        if len(pairs) == 1 and pairs[0][1].can_defer() and depth < MAX_DEFERRED:
            pairs[0][1].total = (total, depth + 1)
            return raw
        sums = [_known(record.layout, self.name).totals(one) for one, record in pairs]
        whole = sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)
        factor = ratio(total, whole)
        shares = iter(sums)
        return tuple(
            None if one is None else self._shared(one, record, factor, next(shares), depth)
            for one, record in zip(raw, self.records, strict=True)
        )

    def _shared(
        self, raw: Tensor, record: Record, factor: Tensor, share: Tensor, depth: int
    ) -> Tensor:
        defer = record.can_defer()
        if defer:
            record.total = (factor * share, depth + 1)
            if depth < MAX_DEFERRED:
                return raw
            record.total = (factor * share, 0)
        layout = _known(record.layout, self.name)
        return raw * layout.spread(factor, raw)

    def _scaled_to_one(self, raw: Tensor, record: Record) -> Tensor:
        layout = _known(record.layout, self.name)
        sums = layout.totals(raw.abs())
        return raw * layout.spread(ratio(torch.ones_like(sums), sums), raw)


class Options:
    """What one propagation was asked for."""

    def __init__(self, conserve: Conserve, *, signed: bool) -> None:
        self.conserve = conserve
        self.signed = signed

    @property
    def defers(self) -> bool:
        """Whether operations may leave normalisation to the ones before them."""
        return self.conserve == "operation" and not self.signed


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0."""
    empty = denominator == 0
    return torch.where(empty, 0, numerator / torch.where(empty, 1, denominator))


def _known(layout: Layout | None, name: str) -> Layout:
    if layout is None:
        raise LayoutError(
            f"conserve: the axis that holds the samples could not be followed into {name}; "
            "explain one sample at a time (batch_size=1) or use conserve=None"
        )
    return layout


def passes(operation: Operation) -> Callable[[Tensor], tuple[Tensor | None, ...]]:
    """Declare that an operation hands its relevance on unchanged; the rule of eq. 2.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.registry import COMMON
    >>> @abslrp.rule(torch.special.sinc)
    ... def sinc(operation, input):
    ...     return abslrp.passes(operation)
    >>> COMMON.remove(torch.special.sinc)
    """
    operation.passes = True
    return lambda relevance: (relevance,)
