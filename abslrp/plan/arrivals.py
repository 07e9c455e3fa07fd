"""What arrives at a value, from each call that used it, and how much of it there should be."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.plan.entrywise import laid, multiplied
from abslrp.plan.factors import Factor, above, joined, turned
from abslrp.plan.flows import Passage
from abslrp.tape import Call, Place, Value

Conserve: TypeAlias = 'Literal["operation", "argument"] | None'

DEPTH = 6
"""Calls in a row whose totals may wait; more could leave the range of a float32."""


def _none() -> Tensor:
    """Say that no sample is meant."""
    return torch.zeros(1, dtype=torch.bool, device="cpu")


class RangeError(ArithmeticError):
    """What is carried out by blocks can only be carried out by the definition."""


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
    negated
        Whether it is relevance of the value's negative.
    """

    relevance: Tensor
    total: Tensor | None
    factors: list[Factor] = field(default_factory=list)
    settled: bool = True
    owned: bool = True
    depth: int = 0
    negated: bool = False


def ratio(numerator: Tensor | float, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0."""
    # No torch.where: it copies a number to a GPU, and waits for that.
    return (numerator / denominator).masked_fill_(denominator == 0, 0)


@dataclass
class Arrivals:
    """Relevance that waits at values for the calls that made them.

    Parameters
    ----------
    conserve
        What is restored.
    waits
        Whether factors and totals may wait.
    magnitude
        Whether relevance of a value's negative is that of the value only where it is below 0.
    """

    conserve: Conserve
    waits: bool
    magnitude: bool
    done: Callable[[str, Sequence[Factor]], None] | None = None
    """Told what is computed: ``"times"`` factors, ``"totals"`` restored."""
    passage: Passage | None = None
    """Where totals are noted."""
    lost: Tensor = field(default_factory=_none)
    """Samples (batch,) whose relevance left the range of its type while totals waited."""
    _arrived: dict[Value, list[Arrival]] = field(default_factory=dict)

    def __contains__(self, value: object) -> bool:
        return value in self._arrived

    def give(self, value: Value, arrival: Arrival) -> None:
        """Let relevance wait at a value, added to what waits: of many slices one sum is kept."""
        if self.passage is not None:
            self.passage.given.append(self.counted(arrival, value))
        waiting = self._arrived.setdefault(value, [])
        for index, one in enumerate(waiting):
            if one.negated is arrival.negated:
                waiting[index] = self._sum([one, arrival], value)
                return
        waiting.append(arrival)

    def give_part(
        self, value: Value, arrival: Arrival, part: Value, window: Callable[[Tensor], Tensor]
    ) -> None:
        """Let relevance of a part of a value wait at it, in the memory of what waits, if any."""
        arrival = self.settled(arrival, part)
        for one in self._arrived.get(value, ()):
            if one.owned and one.negated is arrival.negated:
                if self.passage is not None:
                    self.passage.given.append(self.counted(arrival, part))
                window(self.settled(one, value).relevance).add_(arrival.relevance)
                if one.total is not None and arrival.total is not None:
                    one.total = one.total + arrival.total
                return
        whole = laid((len(arrival.relevance), *value.shape), value.tensor, arrival.relevance.dtype)
        window(whole.zero_()).copy_(arrival.relevance)
        self.give(value, replace(arrival, relevance=whole, owned=True))

    def seen(self, value: Value) -> Tensor:
        """Return what came to a value, which may go on from there."""
        arrivals = [self.settled(one, value) for one in self.merged(value)]
        self._arrived[value] = [replace(one, owned=False) for one in arrivals]
        return functools.reduce(torch.add, [self.of(one, value).relevance for one in arrivals])

    def merged(self, value: Value) -> list[Arrival]:
        """Return what came to a value, and apart from that what came to its negative."""
        arrivals = self._arrived.pop(value, [])
        if self.passage is not None:
            self.passage.taken += [self.counted(one, value) for one in arrivals]
        return sorted(arrivals, key=lambda one: one.negated)

    def _sum(self, arrivals: list[Arrival], value: Value) -> Arrival:
        settled = [self.settled(arrival, value) for arrival in arrivals]
        one, other = sorted(settled, key=lambda arrival: not arrival.owned)
        # In the memory of one, if any is its own.
        whole = torch.add(one.relevance, other.relevance, out=one.relevance if one.owned else None)
        total = None if one.total is None or other.total is None else one.total + other.total
        return Arrival(whole, total, negated=one.negated)

    def of(self, arrival: Arrival, value: Value) -> Arrival:
        """Relevance of a value, of that of its negative."""
        if not arrival.negated:
            return arrival
        if not self.magnitude:
            return replace(arrival, negated=False)
        factors = [*arrival.factors, above(turned(value))]
        masked = replace(arrival, factors=factors, owned=False, settled=False, negated=False)
        return self.settled(masked, value)

    def applied(self, arrival: Arrival, more: Sequence[Factor] = ()) -> Tensor:
        """Multiply relevance by what waits, and by more."""
        factors = [*arrival.factors, *more]
        if self.waits:
            factors = joined(factors, _origin)
        arrival.factors = []
        if factors:
            arrival.relevance = multiplied(arrival.relevance, factors, owned=arrival.owned)
            arrival.owned = True
            if self.done is not None:
                self.done("times", factors)
        return arrival.relevance

    def settled(self, arrival: Arrival, value: Value) -> Arrival:
        """Multiply by what waits, and restore the totals."""
        factors = arrival.factors
        relevance = self.applied(arrival)
        if arrival.settled or arrival.total is None:
            return arrival
        sums = self.totals(relevance, value)
        factor = self.shares(arrival.total, sums, [factors])
        spread = placed(value).spread(factor, value.shape).to(relevance.dtype)
        arrival.relevance = relevance.mul_(spread) if arrival.owned else relevance * spread
        # Not a number, from sums that are not finite, stays.
        arrival.total = arrival.total.masked_fill(sums == 0, 0).add_(sums - sums)
        arrival.settled = arrival.owned = True
        arrival.depth = 0
        if self.done is not None:
            self.done("totals", ())
        return arrival

    def shares(
        self, total: Tensor, sums: Tensor, factors: Sequence[Sequence[Factor]] = ()
    ) -> Tensor:
        """Return what each sample's relevance is multiplied by, so that its sum is the total.

        The factors are those by which each part of the relevance was multiplied.
        """
        factor = ratio(total, sums)
        # A GPU would be waited for; there the number of calls bounds the range.
        if self.waits and sums.device.type == "cpu":
            # Or there is nothing to restore, which the definition tells.
            out = ((sums == 0) | ~(sums + factor).isfinite()) & (total != 0)
            if factors and out.any():
                read = [joined(one, _origin) for one in factors]  # others may be let go of
                parts = [
                    functools.reduce(torch.logical_or, map(_zero, one), _none()) for one in read
                ]
                out &= (sums != 0) | ~functools.reduce(torch.logical_and, parts)
            self.lost = self.lost | out.any(0)
        return factor

    def counted(self, arrival: Arrival, value: Value) -> Tensor:
        """Return the totals of what came, of any sign and whether or not they are conserved."""
        if self.conserve == "operation" and arrival.total is not None:
            return arrival.total
        return placed(value).totals(arrival.relevance)

    def totals(self, relevance: Tensor, value: Value) -> Tensor:
        """Return what each sample has of relevance, as ``conserve`` counts it."""
        return placed(value).totals(relevance.abs() if self.conserve == "argument" else relevance)


def _zero(factor: Factor) -> Tensor:
    """Return the samples of which all entries are 0, as of a black image."""
    value, known = factor.value, factor.kind in ("positive", "magnitude", "above")
    if not known or not isinstance(value, Value) or value.place is None:
        return _none()
    v = value.tensor.abs() if factor.kind == "magnitude" else value.tensor.clamp(min=0)
    return value.place.totals(v[None])[0] == 0


def _origin(value: Value) -> tuple[Value, Tensor | float | None] | None:
    maker = value.maker
    account = None if maker is None else maker.account
    if maker is None or account is None or not (account.rectifies or account.scale is not None):
        return None
    return maker.inputs[0], account.scale


def placed(value: Value) -> Place:
    """Return where the samples are in a value; LostSamplesError if that is not known."""
    if value.place is None:
        raise LostSamplesError(value)
    return value.place


class LostSamplesError(Exception):
    """Totals of samples are wanted of a value whose samples are not known.

    ``call`` is the first through which they were lost.
    """

    def __init__(self, value: Value) -> None:
        self.call = call = _lost_at(value)
        where = "" if call is None else f" ({call.name}, called at {call.site})"
        super().__init__(
            f"model: it cannot be told which sample each entry is of{where}; expected samples that "
            "do not depend on one another, one at a time, or samples='whole'"
        )


def _lost_at(value: Value) -> Call | None:
    """Return the first call on the way to a value through which the samples were lost."""
    waiting, found = [value.maker], None
    seen: set[Call | None] = {None}  # there are 2^n ways through n residual connections
    while waiting:
        call = waiting.pop()
        if call is None or call in seen:
            continue
        seen.add(call)
        if call.trouble is not None:
            found = call
        waiting.extend(one.maker for one in call.inputs if one.place is None)
    return found
