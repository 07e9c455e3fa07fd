"""Relevance through a tape, from the logits to the inputs, by what the rules say of each call.

Accelerated, factors wait until something needs the relevance itself, so that those that cancel
are never computed, and the totals of samples are restored only where paths meet, part and end:
they are numbers, one for each sample, which commute with all else. Not accelerated, each call is
carried out by itself and its totals are restored at once: that is the definition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Routing, Split
from abslrp.plan.entrywise import by_sign, multiplied
from abslrp.plan.factors import Factor, joined
from abslrp.plan.maps import LinearMap
from abslrp.plan.routes import unbroadcast
from abslrp.tape import Call, Place, Value

Conserve: TypeAlias = 'Literal["operation", "argument"] | None'

DEPTH = 6
"""Calls in a row whose totals may wait; more could leave the range of a float32."""


class RangeError(ArithmeticError):
    """Relevance left the range of its type while totals waited."""


@dataclass
class Arrival:
    """Relevance that came to a value from one call that used it.

    Attributes
    ----------
    relevance
        (S, *shape), to be multiplied by the ``factors``.
    total
        (S, batch): what the sum of each sample should be; None where nothing is conserved.
    settled
        Whether it is.
    owned
        Whether nothing else sees the relevance's memory.
    depth
        Number of calls since the sums were last restored.
    """

    relevance: Tensor
    total: Tensor | None
    factors: list[Factor] = field(default_factory=list)
    settled: bool = True
    owned: bool = True
    depth: int = 0


def ratio(numerator: Tensor | float, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0."""
    # No torch.where: it copies a number to a GPU, and waits for that.
    return (numerator / denominator).masked_fill_(denominator == 0, 0)


class Propagation:
    """One way from the logits to the inputs.

    Parameters
    ----------
    calls
        The tape's, which are forgotten one by one.
    conserve
        What is restored (SPEC 1.3).
    signed
        Whether relevance may be negative; with ``conserve="operation"`` its two signs are then
        conserved each by itself.
    accelerate
        Whether factors and totals may wait.
    keep
        Whether the tape is needed again.
    """

    def __init__(
        self,
        conserve: Conserve,
        *,
        signed: bool,
        accelerate: bool,
        keep: bool,
        unknown: Callable[[Call, Sequence[Tensor | None]], Sequence[Tensor | None]],
    ) -> None:
        self.conserve = conserve
        self.split = signed and conserve == "operation"
        self.waits = accelerate and not (signed and conserve is not None)
        self.keep = keep
        self.unknown = unknown
        self._arrived: dict[Value, list[Arrival]] = {}

    @torch.no_grad()
    def run(
        self, calls: list[Call], logits: Value, start: Tensor, wanted: Sequence[Value]
    ) -> list[Tensor | None]:
        """Return relevance (S, *shape) of each wanted value, None where none arrives."""
        self._arrived = {}
        if start.dtype == torch.float16:
            start = start.float()
        if self.split:
            start = torch.cat([start.clamp(min=0), start.clamp(max=0).neg()])
        total = None if self.conserve is None else self._totals(start, logits)
        self._give(logits, Arrival(start, total, owned=False))
        left = list(calls) if self.keep else calls
        found: dict[Value, Tensor] = {}
        while left:
            call = left.pop()
            for value in call.outputs:
                if value is not None and value in wanted and value in self._arrived:
                    found[value] = self._settled(self._merged(value, put=True), value).relevance
            self._call(call)
            if not self.keep:
                forget(call)
        for value in wanted:
            if value in self._arrived:
                found[value] = self._settled(self._merged(value), value).relevance
        results = [found.get(value) for value in wanted]
        if self.split:
            half = len(start) // 2
            results = [None if one is None else one[:half] - one[half:] for one in results]
        return results

    # What arrives, and how much of it

    def _give(self, value: Value, arrival: Arrival) -> None:
        self._arrived.setdefault(value, []).append(arrival)

    def _merged(self, value: Value, *, put: bool = False) -> Arrival:
        """Add up what came to a value."""
        arrivals = self._arrived.pop(value)
        if len(arrivals) == 1:
            (one,) = arrivals
        else:
            settled = [self._settled(arrival, value) for arrival in arrivals]
            settled.sort(key=lambda arrival: not arrival.owned)  # a sum in its memory, if any is
            whole, owned = settled[0].relevance, settled[0].owned
            for arrival in settled[1:]:
                whole = whole.add_(arrival.relevance) if owned else whole + arrival.relevance
                owned = True
            totals = [arrival.total for arrival in settled if arrival.total is not None]
            total = functools.reduce(torch.add, totals) if totals else None
            one = Arrival(whole, total)
        if put:
            one = self._settled(one, value)
            self._arrived[value] = [Arrival(one.relevance, one.total, owned=False)]
        return one

    def _applied(self, arrival: Arrival, more: Sequence[Factor] = ()) -> Tensor:
        """Multiply relevance by what waits, and by more."""
        factors = [*arrival.factors, *more]
        if self.waits:
            factors = joined(factors, _origin)
        arrival.factors = []
        if factors:
            arrival.relevance = multiplied(arrival.relevance, factors, owned=arrival.owned)
            arrival.owned = True
        return arrival.relevance

    def _settled(self, arrival: Arrival, value: Value) -> Arrival:
        """Multiply by what waits, and restore the totals."""
        relevance = self._applied(arrival)
        if arrival.settled or arrival.total is None:
            return arrival
        sums = self._totals(relevance, value)
        factor = ratio(arrival.total, sums)
        lost = (sums == 0) | ~torch.isfinite(sums)
        # A GPU would be waited for; there the number of calls bounds the range.
        if self.waits and sums.device.type == "cpu" and bool((lost & (arrival.total != 0)).any()):
            raise RangeError  # or there is nothing to restore, which the definition tells
        spread = _place(value).spread(factor, value.shape).to(relevance.dtype)
        arrival.relevance = relevance.mul_(spread) if arrival.owned else relevance * spread
        arrival.total = arrival.total.masked_fill(sums == 0, 0)
        arrival.settled = arrival.owned = True
        arrival.depth = 0
        return arrival

    def _totals(self, relevance: Tensor, value: Value) -> Tensor:
        return _place(value).totals(relevance.abs() if self.conserve == "argument" else relevance)

    def _send(self, value: Value, arrival: Arrival, account: Account) -> None:
        """Hand relevance on to an input of a call that conserves, or does not."""
        if account.conserves and arrival.total is not None:
            arrival.settled = False
            arrival.depth += 1
            if self.conserve == "argument":
                arrival.total = torch.ones_like(arrival.total)
        if not self.waits or arrival.depth > DEPTH:
            arrival = self._settled(arrival, value)
        self._give(value, arrival)

    # One call

    def _call(self, call: Call) -> None:
        account = call.account
        values = [value for value in call.outputs if value is not None]
        if not any(value in self._arrived for value in values):
            return
        if account is None or isinstance(account, Routing):
            self._route(call)
            return
        arrival = self._merged(call.output)
        if account.conserves and self.split:
            arrival = self._resplit(arrival, call.output)
        if isinstance(account, Diagonal):
            self._diagonal(call, account, arrival)
        elif isinstance(account, Product):
            s = self._applied(arrival, account.before)
            self._send(account.input, self._product(account, arrival, s), account)
        elif isinstance(account, Split):
            self._shared(call, account, arrival)
        elif isinstance(account, Custom):
            self._custom(call, account, arrival)

    def _resplit(self, arrival: Arrival, value: Value) -> Arrival:
        """Tell the two signs of relevance apart anew."""
        relevance = self._applied(arrival)
        half = len(relevance) // 2
        both = relevance[:half] - relevance[half:]
        signs = torch.cat([both.clamp(min=0), both.clamp(max=0).neg()])
        return Arrival(signs, self._totals(signs, value))

    def _diagonal(self, call: Call, account: Diagonal, arrival: Arrival) -> None:
        arrival.factors = [*arrival.factors, *account.factors]
        if account.input.shape != call.output.shape:
            relevance = self._applied(arrival)
            arrival.relevance = unbroadcast(relevance, account.input.shape)
        self._send(account.input, arrival, account)

    def _product(self, account: Product, arrival: Arrival, s: Tensor) -> Arrival:
        weights = account.map.weights
        sent = [
            unbroadcast(_transposed(account.map, s, term.weight(weights)), account.input.shape)
            for term in account.terms
        ]
        relevance = sent[0]
        if any(term.sign for term in account.terms):
            signs = [term.sign for term in account.terms]
            relevance = by_sign(sent, signs, account.input.tensor)
        return Arrival(
            relevance, arrival.total, list(account.after), arrival.settled, depth=arrival.depth
        )

    def _shared(self, call: Call, account: Split, arrival: Arrival) -> None:
        s = self._applied(arrival, account.before)
        parts: list[tuple[Value, Arrival]] = []
        for part in account.parts() if callable(account.parts) else account.parts:
            one = Arrival(s, arrival.total, owned=False, depth=arrival.depth)
            if isinstance(part, Product):
                own = Arrival(s, arrival.total, list(part.before), owned=False)
                one = self._product(part, one, self._applied(own))
            else:
                one.factors = list(part.factors)
            one.relevance = unbroadcast(self._applied(one), part.input.shape)
            parts.append((part.input, one))
        self._divide(account, arrival, parts)

    def _custom(self, call: Call, account: Custom, arrival: Arrival) -> None:
        sent = account.propagate(self._applied(arrival))
        parts = [
            (value, Arrival(one, arrival.total, owned=False, depth=arrival.depth))
            for value, one in zip(call.inputs, sent, strict=True)
            if one is not None
        ]
        self._divide(account, arrival, parts)

    def _divide(
        self, account: Account, arrival: Arrival, parts: list[tuple[Value, Arrival]]
    ) -> None:
        """Divide a total among the parts in the proportion of their sums."""
        if account.conserves and arrival.total is not None and self.conserve == "operation":
            sums = [self._totals(one.relevance, value) for value, one in parts]
            whole = functools.reduce(torch.add, sums)
            factor = ratio(arrival.total, whole)
            for (_, one), part in zip(parts, sums, strict=True):
                one.total = factor * part
        for value, one in parts:
            self._send(value, one, account)

    def _route(self, call: Call) -> None:
        account = call.account
        lossless = account is not None and account.lossless
        settled: list[Tensor | None] = []
        for value in call.outputs:
            if value is None or value not in self._arrived:
                settled.append(None)
                continue
            arrival = self._merged(value)
            if lossless:
                self._give(call.inputs[0], self._moved(call, arrival))
                return
            settled.append(self._settled(arrival, value).relevance)
        sent = self.unknown(call, settled) if account is None else account.adjoint(settled)
        for value, one in zip(call.inputs, sent, strict=True):
            if one is not None:
                # What goes to constants is lost, and is no part of what is restored later.
                total = None if self.conserve is None else self._totals(one, value)
                self._give(value, Arrival(one, total, owned=False))

    def _moved(self, call: Call, arrival: Arrival) -> Arrival:
        (relevance,) = call.account.adjoint([self._applied(arrival)])
        arrival.relevance = relevance
        return arrival


def _transposed(map: LinearMap, s: Tensor, weight: Tensor) -> Tensor:
    """Return the transposed product in the weights' type, float32 in place of float16."""
    if weight.numel() and weight.dtype != s.dtype:
        dtype = torch.float32 if weight.dtype == torch.float16 else weight.dtype
        return map.transposed(s.to(dtype), weight.to(dtype))
    return map.transposed(s, weight)


def _origin(value: Value) -> tuple[Value, Tensor | float | None] | None:
    maker = value.maker
    account = None if maker is None else maker.account
    if maker is None or account is None or not (account.rectifies or account.scale is not None):
        return None
    return maker.inputs[0], account.scale


def _place(value: Value) -> Place:
    if value.place is None:
        raise LostSamplesError(value)
    return value.place


class LostSamplesError(Exception):
    """Totals of samples are wanted of a value whose samples are not known.

    ``call`` is the first through which they were lost.
    """

    def __init__(self, value: Value) -> None:
        super().__init__()
        self.call = _lost_at(value)


def _lost_at(value: Value) -> Call | None:
    """Return the first call on the way to a value through which the samples were lost."""
    waiting, found = [value.maker], None
    while waiting:
        call = waiting.pop()
        if call is None:
            continue
        if call.trouble is not None:
            found = call
        waiting.extend(one.maker for one in call.inputs if one.place is None)
    return found


def forget(call: Call) -> None:
    """Let go of the values that a call made; no cycle is left."""
    for value in call.outputs:
        if value is not None:
            value.uses.clear()
            value.maker = None
    call.outputs = []
    # A batch norm's account is read once more, by that of the map it is merged into.
    if call.account is not None and call.account.statement is None:
        call.account = None


__all__ = ["Conserve", "LostSamplesError", "Propagation", "RangeError", "forget", "ratio"]
