"""How the relevance of one intercepted call is conserved, at once or by the operation before it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from abslrp.layout import Layout, LayoutError
from abslrp.record import Deferred, Record
from abslrp.registry import Backward

if TYPE_CHECKING:
    from abslrp.operation import Operation

__all__ = ["MAX_DEFERRED", "propagate", "ratio"]

MAX_DEFERRED = 6
"""Operations in a row that may leave normalisation to the one before them (float range)."""


def propagate(
    operation: Operation, backward: Backward, relevance: Tensor
) -> tuple[Tensor | None, ...]:
    """Relevance of each active input from that of the output, conserved as asked."""
    if operation.passes:
        return _pass_on(operation, relevance)
    if operation.options.conserve is None:
        return backward(relevance)
    if operation.options.conserve == "argument":
        return tuple(
            None if raw is None else _scaled_to_one(operation, raw, record)
            for raw, record in zip(backward(relevance), operation.records, strict=True)
        )
    if operation.options.signed:
        positive = _conserved(operation, backward, relevance.clamp(min=0))
        negative = _conserved(operation, backward, relevance.clamp(max=0).neg())
        return tuple(
            None if plus is None or minus is None else plus - minus
            for plus, minus in zip(positive, negative, strict=True)
        )
    return _conserved(operation, backward, relevance)


def _pass_on(operation: Operation, relevance: Tensor) -> tuple[Tensor | None, ...]:
    received, source = operation.record, operation.records[0]
    if received is not None:
        owned = received.collect()
        if received.total is not None and source.can_defer():
            source.total, received.total = received.total, None
        elif received.total is not None:
            relevance, owned = _settle(operation, relevance), True
        source.delivered += owned
    return (relevance, *(None for _ in operation.records[1:]))


def _settle(operation: Operation, relevance: Tensor) -> Tensor:
    """Normalise relevance whose consumer deferred that."""
    assert operation.record is not None
    assert operation.record.total is not None
    total, operation.record.total = operation.record.total.total, None
    layout = _known(operation.record.layout, operation)
    factor = ratio(total, layout.totals(relevance))
    return relevance * layout.spread(factor, relevance)


def _conserved(
    operation: Operation, backward: Backward, relevance: Tensor
) -> tuple[Tensor | None, ...]:
    assert operation.record is not None
    received, operation.record.total = operation.record.total, None
    owned = operation.record.collect() and not operation.options.signed
    if received is None:
        total = _known(operation.record.layout, operation).totals(relevance)
        received = Deferred(total, 0, owned=owned)
    total, depth, operation.owns_relevance = received
    raw = backward(relevance)
    operation.owns_relevance = False
    pairs = [
        (one, record) for one, record in zip(raw, operation.records, strict=True) if one is not None
    ]
    if len(pairs) == 1 and pairs[0][1].can_defer() and (depth < MAX_DEFERRED or operation.claimed):
        pairs[0][1].total = Deferred(total, depth + 1, operation.fresh)
        return raw
    sums = [_known(record.layout, operation).totals(one) for one, record in pairs]
    whole = functools.reduce(torch.add, sums)
    factor = ratio(total, whole)
    shares = iter(sums)
    return tuple(
        None if one is None else _shared(operation, one, record, factor, next(shares), depth)
        for one, record in zip(raw, operation.records, strict=True)
    )


def _shared(
    operation: Operation, raw: Tensor, record: Record, factor: Tensor, share: Tensor, depth: int
) -> Tensor:
    if record.can_defer():
        deep = depth >= MAX_DEFERRED
        record.total = Deferred(factor * share, 0 if deep else depth + 1, operation.fresh or deep)
        if not deep:
            return raw
    record.delivered += 1
    spread = _known(record.layout, operation).spread(factor, raw)
    return raw.mul_(spread) if operation.fresh else raw * spread


def _scaled_to_one(operation: Operation, raw: Tensor, record: Record) -> Tensor:
    layout = _known(record.layout, operation)
    sums = layout.totals(raw.abs())
    return raw * layout.spread(ratio(torch.ones_like(sums), sums), raw)


def ratio(numerator: Tensor | float, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0."""
    # No torch.where: it copies a number to a GPU, and waits for that.
    return (numerator / denominator).masked_fill_(denominator == 0, 0)


def _known(layout: Layout | None, operation: Operation) -> Layout:
    if layout is None:
        raise LayoutError(
            "conserve: the axis that holds the samples could not be followed into "
            f"{operation.name}; explain one sample at a time (batch_size=1) or use conserve=None"
        )
    return layout
