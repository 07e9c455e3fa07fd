"""Calls that are noted again, some rows at a time, so that what they make is never kept whole.

Relevance of a sum of rows is the sum of their relevances, and the totals of samples are numbers
that multiply all of it. So they are restored once, at the end.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, Routing
from abslrp.plan.arrivals import Arrival, Arrivals, RangeError
from abslrp.tape import Call, Tape, Value
from abslrp.tape.place import LostPlaceError, Place
from abslrp.tape.recorder import Table
from abslrp.tape.values import replaced

AT_ONCE = 2**22
"""Entries that a stage makes at once."""
Stage: TypeAlias = "tuple[Callable[[Tensor, Any, slice], Tensor], Value | Tensor | None]"
"""A function of what the stage before made, an operand, and rows; and the operand, if it has one.

What a function takes besides is constant."""
Stages: TypeAlias = "tuple[Value | Tensor, Sequence[Stage]]"
"""What the first stage takes rows of, the last axis but one; and the stages. The first makes as
many columns as its operand has rows."""
Noted: TypeAlias = "tuple[Tape, list[Value | None], Value | Tensor]"
"""One stage for some rows: its tape, what it took, and what it made."""
Run: TypeAlias = "Callable[[list[Call], Value, Tensor, list[Value]], list[Tensor | None]]"
"""From calls, what they made and its relevance to that of some values; no total is restored."""


def _by_the_definition() -> Account:
    raise RangeError


def whole(input: Any, stages: Sequence[Any]) -> Tensor:
    """Run the stages for all rows."""
    for function, operand in stages:
        input = function(input, operand, slice(None))
    result: Tensor = input
    return result


def blocks(table: Table, values: Sequence[Value], input: Any, stages: Sequence[Any]) -> Any:
    """Return the account of a call by its stages, None if they make little or take more values."""
    takers = [input, *(operand for _, operand in stages)]
    alike = {(*one.shape[:-3], len(one.shape)) for one in (input, *values)}
    if not all(any(one is taker for taker in takers) for one in values) or len(alike) > 1:
        return None
    if len(input.shape) < 2 or _along_rows(input):
        return None
    *lead, length, _ = input.shape
    rows = AT_ONCE // max(1, math.prod(lead) * stages[0][1].shape[-2])
    return Blocks(input, stages, max(1, rows), table, axes=_leading) if rows < length else None


def _along_rows(input: Any) -> bool:
    """Whether the rows are samples, or it is not known where these are."""
    place, shape = getattr(input, "place", Place(1, 1)), input.shape
    try:
        return place is None or (place.batch > 1 and place.axis(shape)[0] >= len(shape) - 2)
    except LostPlaceError:
        return True


def _leading(call: Call, value: Value) -> list[int | None]:
    """Keep the axes before those of rows and columns, but for heads that are shared."""
    same = [size == own for size, own in zip(value.shape[:-2], call.output.shape, strict=False)]
    return [*[axis if one else None for axis, one in enumerate(same)], None, None]


@dataclass
class Blocks(Account):
    """Stages, each of which is carried out for some rows."""

    input: Value | Tensor
    stages: Sequence[Stage]
    rows: int
    table: Table
    contrary: Callable[[], Account] | None = field(default=_by_the_definition, kw_only=True)

    def sent(self, arrival: Arrival, arrivals: Arrivals, run: Run) -> list[tuple[Value, Arrival]]:
        """Return what arrives at the input and at the operands, of relevance of all rows.

        Raises
        ------
        RangeError
            If a rule takes all entries together, and may do other things with some rows.
        """
        relevance, total = arrivals.applied(arrival), arrival.total
        pieces: list[Tensor] = []
        found: list[Tensor | None] = [None] * len(self.stages)
        sums: list[list[Any]] = [[0.0, 0.0, 0.0] for _ in self.stages]
        for first in range(0, relevance.shape[-2], self.rows):
            rows = slice(first, first + self.rows)
            arrived: Tensor | None = relevance[..., rows, :]
            for stage, noted in reversed([*enumerate(self._noted(rows))]):
                (arrived, own), more = _through(noted, arrived, arrivals, run)
                sums[stage] = [one + other for one, other in zip(sums[stage], more, strict=True)]
                if own is not None:  # of few digits, many blocks would be rounded away
                    own = own.to(torch.promote_types(own.dtype, torch.float32))
                    before = found[stage]
                    found[stage] = own if before is None else before.add_(own)
            if arrived is not None:
                pieces.append(arrived)
        totals = [total] * len(sums)
        for stage, (before, own, every) in reversed([*enumerate(sums)]):
            if total is not None:
                shares = arrivals.shares(total, every + torch.zeros_like(total))
                totals[stage], total = shares * own, shares * before
        found = [torch.cat(pieces, -2) if pieces else None, *found]
        takers = [self.input, *(operand for _, operand in self.stages)]
        return [
            (value, Arrival(one, its, depth=arrival.depth))
            for value, one, its in zip(takers, found, [total, *totals], strict=True)
            if isinstance(value, Value) and one is not None
        ]

    def _noted(self, rows: slice) -> list[Noted]:
        """Run the stages for some rows."""
        made, found = _rows(self.input, rows), []
        for function, operand in self.stages:
            tape = Tape(self.table)
            leaves = [_leaf(tape, one) for one in (made, operand)]
            call = functools.partial(function, replaced(made), replaced(operand), rows)
            result = tape.noting(call)
            made = tape.value(result) or result
            found.append((tape, leaves, made))
        return found


def _through(
    noted: Noted, relevance: Tensor | None, arrivals: Arrivals, run: Run
) -> tuple[list[Tensor | None], list[Any]]:
    """Return what a stage sends to what the one before made, and to its operand.

    And the totals of both, and that of which they are shares.
    """
    tape, leaves, made = noted
    if any(_of_all(call.account) for call in tape.calls):
        raise RangeError
    moves = all(isinstance(call.account, Routing) for call in tape.calls)
    wanted = [one for one in leaves if one is not None]
    sent: dict[Value | None, Tensor | None] = {}
    if relevance is not None and isinstance(made, Value):
        sent = dict(zip(wanted, run(tape.calls, made, relevance, wanted), strict=True))
    for one in wanted:
        one.uses.clear()  # so that no cycle keeps it
    found = [sent.get(one) for one in leaves]
    totals: list[Any] = [
        0.0 if one is None or leaf is None else arrivals.totals(one, leaf)
        for one, leaf in zip(found, leaves, strict=True)
    ]
    # What elements that move leave at constants is lost, and is not restored.
    if moves and isinstance(made, Value) and relevance is not None:
        return found, [*totals, arrivals.totals(relevance, made)]
    return found, [*totals, sum(totals)]


def _of_all(account: Any) -> bool:
    """Whether a rule takes all entries of a call together."""
    factors = [*getattr(account, "factors", ()), *getattr(account, "before", ())]
    factors += getattr(account, "after", ())
    parts = getattr(account, "parts", ())
    computed = any(one.kind == "computed" and one.value is None for one in factors)
    return isinstance(account, Custom) or computed or any(map(_of_all, parts))


def _rows(one: Value | Tensor, rows: slice) -> Value | Tensor:
    part: Tensor = replaced(one)[..., rows, :]
    if not isinstance(one, Value):
        return part
    place = one.place and one.place.moved(one.shape, range(one.ndim), part.shape)
    value = Value(part, place)
    value.nonnegative = one.nonnegative
    return value


def _leaf(tape: Tape, one: Value | Tensor | None) -> Value | None:
    if not isinstance(one, Value):
        return None
    leaf = tape.input(one.tensor, one.place)
    leaf.nonnegative = one.nonnegative
    return leaf
