"""Relevance through a tape, from the logits to the inputs, by what the rules say of each call.

Accelerated, factors wait until something needs the relevance itself, so that those that cancel
are never computed, and the totals of samples are restored only where paths meet, part and end:
they are numbers, one for each sample, which commute with all else. Not accelerated, each call is
carried out by itself and its totals are restored at once: that is the definition.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Routing, Split
from abslrp.plan.arrivals import DEPTH, Arrival, Arrivals, Conserve
from abslrp.plan.blocks import Blocks
from abslrp.plan.entrywise import by_sign
from abslrp.plan.factors import Factor
from abslrp.plan.flows import Passage
from abslrp.plan.linear_maps import LinearMap
from abslrp.plan.routes import unbroadcast
from abslrp.tape import Call, Value

Done = Callable[[Call, str, Sequence[Factor]], None]
Parts: TypeAlias = "list[tuple[Value, Arrival]]"


@dataclass(kw_only=True)
class Propagation:
    """One way from the logits to the inputs.

    Parameters
    ----------
    conserve
        What is restored.
    signed
        Whether relevance may be negative; with ``conserve="operation"`` its two signs are then
        conserved each by itself.
    accelerate
        Whether factors and totals may wait.
    keep
        Whether the tape is needed again.
    magnitude
        Whether a value above 0 and its negative do not share relevance, as by eq. 12; where shares
        have signs, both are the same quotient.
    unknown
        Makes of relevance what a call without a rule does, or refuses.
    done
        Told what is computed for each call: ``"times"`` factors, ``"totals"`` restored.
    passages
        Where it is noted what each call received and handed on; of calls that handed all on no
        note is taken where totals wait. Without them, or without ``conserve`` where they do, none.
    """

    conserve: Conserve
    signed: bool
    accelerate: bool
    keep: bool
    magnitude: bool
    unknown: Callable[[Call, Sequence[Tensor | None]], Sequence[Tensor | None]]
    done: Done | None = None
    passages: list[Passage] | None = None

    def __post_init__(self) -> None:
        self.split = self.signed and self.conserve == "operation"
        waits = self.accelerate and not (self.signed and self.conserve is not None)
        self.arrivals = Arrivals(self.conserve, waits, self.magnitude)

    @torch.no_grad()
    def run(
        self, calls: list[Call], logits: Value, start: Tensor, wanted: Sequence[Value]
    ) -> list[Tensor | None]:
        """Return relevance (S, *shape) of each wanted value, None where none arrives.

        The calls are the tape's, which are forgotten one by one.
        """
        if start.dtype == torch.float16:
            start = start.float()
        if self.split:
            start = torch.cat([start.clamp(min=0), start.clamp(max=0).neg()])
        total = None if self.conserve is None else self.arrivals.totals(start, logits)
        self.arrivals.give(logits, Arrival(start, total, owned=False))
        left = list(calls) if self.keep else calls
        found: dict[Value, Tensor] = {}
        while left:
            call = left[-1]  # until it is done: who is interrupted lets go of the rest
            if self.done is not None:
                self.arrivals.done = functools.partial(self.done, call)
            for value in call.outputs:
                if value is not None and value in wanted and value in self.arrivals:
                    found[value] = self.arrivals.seen(value)
            self.arrivals.passage = passage = None if self.passages is None else Passage.of(call)
            self._call(call)
            self.arrivals.passage = None
            # Where totals wait, most go on as they are, and nothing is to be told of them.
            telling = passage and passage.taken and not (self.arrivals.waits and passage.whole)
            if self.passages is not None and passage is not None and telling:
                self.passages.append(passage)
            left.pop()
            if not self.keep:
                forget(call)
        for value in wanted:
            if value in self.arrivals:
                found[value] = self.arrivals.seen(value)
        results = [found.get(value) for value in wanted]
        if self.split:
            half = len(start) // 2
            results = [None if one is None else one[:half] - one[half:] for one in results]
        return results

    def _send(self, value: Value, arrival: Arrival, account: Account) -> None:
        """Hand relevance on to an input of a call that conserves, or does not."""
        if account.conserves and arrival.total is not None:
            arrival.settled = False
            arrival.depth += 1
            if self.conserve == "argument":
                arrival.total = torch.ones_like(arrival.total)
        if not self.arrivals.waits or arrival.depth > DEPTH:
            arrival = self.arrivals.settled(arrival, value)
        self.arrivals.give(value, arrival)

    # One call

    def _call(self, call: Call) -> None:
        account = call.account
        if not any(value in self.arrivals for value in call.outputs):
            return
        if account is None or isinstance(account, Routing):
            self._route(call)
            return
        for arrival in self.arrivals.merged(call.output):
            if arrival.negated and account.contrary is not None:
                self._through(call, account.contrary(), replace(arrival, negated=False))
            else:
                self._through(call, account, self.arrivals.of(arrival, call.output))

    def _through(self, call: Call, account: Account, arrival: Arrival) -> None:
        """Carry a rule out."""
        if account.conserves and self.split:
            arrival = self._resplit(arrival, call.output)
        if isinstance(account, Diagonal):
            self._diagonal(call, account, arrival)
        elif isinstance(account, Product):
            s = self.arrivals.applied(arrival, account.before)
            self._send(account.input, self._product(account, arrival, s), account)
        elif isinstance(account, Split):
            self._divide(account, arrival, self._shared(account, arrival))
        elif isinstance(account, Custom):
            self._divide(account, arrival, self._custom(call, account, arrival))
        elif isinstance(account, Blocks):
            for value, one in account.sent(arrival, self.arrivals, self._raw):
                self._send(value, one, account)

    def _raw(self, *args: Any) -> list[Tensor | None]:
        """Run some calls by themselves, and restore no totals."""
        return replace(self, conserve=None, keep=False, done=None, passages=None).run(*args)

    def _resplit(self, arrival: Arrival, value: Value) -> Arrival:
        """Tell the two signs of relevance apart anew."""
        relevance = self.arrivals.applied(arrival)
        half = len(relevance) // 2
        both = relevance[:half] - relevance[half:]
        signs = torch.cat([both.clamp(min=0), both.clamp(max=0).neg()])
        total = self.arrivals.totals(signs, value)
        if self.arrivals.passage is not None and arrival.total is not None:
            # What two signs cancel is not lost.
            self.arrivals.passage.taken.append(total - arrival.total)
        return Arrival(signs, total)

    def _diagonal(self, call: Call, account: Diagonal, arrival: Arrival) -> None:
        arrival.factors = [*arrival.factors, *account.factors]
        if account.input.shape != call.output.shape:
            arrival.relevance = unbroadcast(self.arrivals.applied(arrival), account.input.shape)
        arrival.negated = account.negates
        self._send(account.input, arrival, account)

    def _product(self, account: Product, arrival: Arrival, s: Tensor) -> Arrival:
        parts = [
            _sent(account.map, s, [term.weight(part) for term in account.terms])
            for part in account.map.parts(account.map.weights)
        ]
        each = zip(*parts, strict=True)  # term
        whole = [one[0] if len(one) == 1 else torch.cat(one, -1) for one in each]
        sent = [unbroadcast(one, account.input.shape) for one in whole]
        relevance = sent[0]
        if any(term.sign for term in account.terms):
            relevance = by_sign(sent, [one.sign for one in account.terms], account.input.tensor)
        after, turns = list(account.after), account.negates
        return replace(arrival, relevance=relevance, factors=after, owned=True, negated=turns)

    def _shared(self, account: Split, arrival: Arrival) -> Parts:
        s = self.arrivals.applied(arrival, account.before)
        parts: Parts = []
        for part in account.parts:
            one = Arrival(s, arrival.total, owned=False, depth=arrival.depth)
            if isinstance(part, Product):
                one = self._product(part, one, self.arrivals.applied(one, part.before))
            else:
                one.factors, one.negated = list(part.factors), part.negates
            one.relevance = unbroadcast(self.arrivals.applied(one), part.input.shape)
            parts.append((part.input, one))
        return parts

    def _custom(self, call: Call, account: Custom, arrival: Arrival) -> Parts:
        sent = account.propagate(self.arrivals.applied(arrival))
        given = replace(arrival, settled=True, owned=False, negated=account.negates)
        return [
            (value, replace(given, relevance=unbroadcast(one, value.shape)))
            for value, one in zip(call.inputs, sent, strict=True)
            if one is not None
        ]

    def _divide(self, account: Account, arrival: Arrival, parts: Parts) -> None:
        """Divide a total among the parts in the proportion of their sums."""
        total = arrival.total if account.conserves and self.conserve == "operation" else None
        if total is not None and parts:
            sums = [self.arrivals.totals(one.relevance, value) for value, one in parts]
            whole = functools.reduce(torch.add, sums)
            own = account.parts if isinstance(account, Split) else ()
            by = [one.after if isinstance(one, Product) else one.factors for one in own]
            factor = self.arrivals.shares(total, whole, by)
            for (_, one), part in zip(parts, sums, strict=True):
                one.total = factor * part
        for value, one in parts:
            self._send(value, one, account)

    def _route(self, call: Call) -> None:
        account = call.account
        lossless = account is not None and account.lossless
        sides: dict[bool, list[Tensor | None]] = {}
        for index, value in enumerate(call.outputs):
            if value is None:
                continue
            for arrival in self.arrivals.merged(value):
                if account is not None and account.window and len(call.inputs[0].uses) > 1:
                    self.arrivals.give_part(call.inputs[0], arrival, value, account.window)
                    continue
                if lossless:
                    self.arrivals.give(call.inputs[0], self._moved(call, arrival))
                    continue
                settled = sides.setdefault(arrival.negated, [None] * len(call.outputs))
                settled[index] = self.arrivals.settled(arrival, value).relevance
        for negated, settled in sides.items():
            sent = self.unknown(call, settled) if account is None else account.adjoint(settled)
            for value, one in zip(call.inputs, sent, strict=True):
                if one is not None and one.numel():
                    # What goes to constants is lost, and is no part of what is restored later.
                    total = None if self.conserve is None else self.arrivals.totals(one, value)
                    self.arrivals.give(value, Arrival(one, total, owned=False, negated=negated))

    def _moved(self, call: Call, arrival: Arrival) -> Arrival:
        """Move relevance; factors that are of the output's entries are of the input's, too."""
        input = call.inputs[0]
        of_output = [
            one for one in arrival.factors if one.value is call.output and one.kind != "computed"
        ]
        arrival.factors = [factor for factor in arrival.factors if factor not in of_output]
        (arrival.relevance,) = call.account.adjoint([self.arrivals.applied(arrival)])
        arrival.factors = [replace(factor, value=input) for factor in of_output]
        return arrival


def _sent(map: LinearMap, s: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the transposed products in the weights' type, float32 in place of float16."""
    first = weights[0]
    if first.numel() and first.dtype != s.dtype:
        dtype = torch.float32 if first.dtype == torch.float16 else first.dtype
        return map.each(s.to(dtype), [one.to(dtype) for one in weights])
    return map.each(s, weights)


def forget(call: Call) -> None:
    """Let go of the values that a call made; no cycle is left."""
    account = call.account
    # Factors that wait are joined by what a rectifier or a scale made their values of, and a batch
    # norm's account is read once more, by that of the map it is merged into.
    made = account is not None and (account.rectifies or account.scale is not None)
    for value in call.outputs:
        if value is not None:
            value.uses.clear()
            if not made:
                value.maker = None
    call.outputs = []
    if account is not None and not made and account.statement is None:
        call.account = None
