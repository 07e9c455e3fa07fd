"""What arrives at a value from several calls: totals and memory, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from abslrp.plan.arrivals import Arrival, Arrivals
from abslrp.plan.factors import constant, positive
from abslrp.plan.flows import Flow
from abslrp.tape import Place, Value

V = [[2.0, -1.0], [3.0, -4.0]]
"""Two samples of two entries."""


def value() -> Value:
    return Value(torch.tensor(V), Place(2, 2))


def arrivals(*, waits: bool = True, magnitude: bool = False) -> Arrivals:
    return Arrivals("operation", waits, magnitude)


def rows(*entries: list[float]) -> Tensor:
    """Relevance of one start."""
    return torch.tensor([entries], dtype=torch.float32)


def waiting(relevance: Tensor, *totals: float, owned: bool = True) -> Arrival:
    """Relevance whose totals are still to be restored."""
    total = torch.tensor([totals], dtype=torch.float32)
    return Arrival(relevance, total, settled=False, owned=owned)


@pytest.mark.parametrize("waits", [True, False])
def test_totals_are_restored_before_paths_are_added(waits: bool) -> None:
    """(1, 1) of 4 is (2, 2), and (1, 3) of 2 is (0.5, 1.5); what has its total is left alone."""
    v, found = value(), arrivals(waits=waits)
    found.give(v, waiting(rows([1, 1], [1, 3]), 4, 2))
    found.give(v, Arrival(rows([1, 0], [0, 1]), torch.tensor([[1.0, 1.0]])))
    (one,) = found.merged(v)
    assert one.relevance.tolist() == [[[3, 2], [0.5, 2.5]]]
    assert one.total is not None
    assert one.total.tolist() == [[5, 3]]
    assert one.settled
    assert v not in found


def test_totals_are_restored_before_a_part_is_added() -> None:
    """The second column gets 1 and 2 on top of (2, 2) and (0.5, 1.5)."""
    v, part, found = value(), Value(torch.tensor(V)[:, 1:], Place(2, 1)), arrivals()
    found.give(v, waiting(rows([1, 1], [1, 3]), 4, 2))
    found.give_part(v, waiting(rows([3], [3]), 1, 2), part, lambda whole: whole[..., 1:])
    (one,) = found.merged(v)
    assert one.relevance.tolist() == [[[2, 3], [0.5, 3.5]]]
    assert one.total is not None
    assert one.total.tolist() == [[5, 4]]


def test_a_part_is_not_added_to_relevance_of_the_negative_or_in_the_memory_of_others() -> None:
    v, part, found = value(), Value(torch.tensor(V)[:, 1:], Place(2, 1)), arrivals()
    others, turned = rows([1, 1], [1, 3]), rows([5, 5], [5, 5])
    found.give(v, Arrival(others, torch.tensor([[2.0, 4.0]]), owned=False))
    found.give(v, Arrival(turned, torch.tensor([[10.0, 10.0]]), negated=True))
    found.give_part(v, waiting(rows([3], [3]), 1, 2), part, lambda whole: whole[..., 1:])
    one, other = found.merged(v)
    assert one.relevance.tolist() == [[[1, 2], [1, 5]]]
    assert other.relevance.tolist() == [[[5, 5], [5, 5]]]
    assert other.negated
    assert others.tolist() == [[[1, 1], [1, 3]]]


def test_nothing_is_written_to_memory_that_others_see() -> None:
    """(1, 1) of 2 and (1, 3) of 4 twice, times 2, and as shares of 4 and 2."""
    v, found = value(), arrivals()
    given = [rows([1, 1], [1, 3]) for _ in range(4)]
    for one in given[:2]:
        found.give(v, Arrival(one, torch.tensor([[2.0, 4.0]]), owned=False))
    found.give(v, Arrival(given[2], torch.tensor([[4.0, 8.0]]), [constant(2.0)], owned=False))
    found.give(v, waiting(given[3], 4, 2, owned=False))
    assert all(one.tolist() == [[[1, 1], [1, 3]]] for one in given)
    (whole,) = found.merged(v)
    assert whole.relevance.tolist() == [[[6, 6], [4.5, 13.5]]]


def test_relevance_of_the_negative_is_added_to_its_own() -> None:
    v, found = value(), arrivals()
    for negated in (True, False, True):
        found.give(v, Arrival(rows([1, 1], [1, 3]), torch.tensor([[2.0, 4.0]]), negated=negated))
    one, other = found.merged(v)
    assert (one.negated, other.negated) == (False, True)
    assert one.relevance.tolist() == [[[1, 1], [1, 3]]]
    assert other.relevance.tolist() == [[[2, 2], [2, 6]]]


def test_what_was_seen_of_a_value_stays_as_it_was() -> None:
    """Relevance of a value in the middle is asked for, and goes on from there."""
    v, found = value(), arrivals()
    given = waiting(rows([1, 1], [1, 3]), 4, 2)
    given.factors = [constant(3.0)]
    found.give(v, given)
    seen = found.seen(v)
    (one,) = found.merged(v)
    found.applied(one, [positive(v)])
    assert seen.tolist() == [[[2, 2], [0.5, 1.5]]]
    assert one.relevance.tolist() == [[[4, 0], [1.5, 0]]]


@pytest.mark.parametrize("magnitude", [False, True])
def test_relevance_of_the_negative_is_seen_where_that_is_positive(magnitude: bool) -> None:
    """By eq. 12 all of 10 goes to the entries below 0; where shares have signs, none is left."""
    v, found = value(), arrivals(magnitude=magnitude)
    turned = Arrival(rows([4, 6], [9, 1]), torch.tensor([[10.0, 10.0]]), negated=True)
    found.give(v, turned)
    found.give(v, Arrival(rows([1, 0], [0, 1]), torch.tensor([[1.0, 1.0]])))
    of_negative = [[0, 10], [0, 10]] if magnitude else [[4, 6], [9, 1]]
    assert found.seen(v).tolist() == (rows(*of_negative) + rows([1, 0], [0, 1])).tolist()
    assert turned.relevance.tolist() == [[[4, 6], [9, 1]]]


def test_a_total_of_nothing_is_lost_and_what_is_not_finite_stays_so() -> None:
    """A sum of 0 has no shares, not even of entries that cancel."""
    v, found = value(), arrivals()
    one = found.settled(waiting(rows([1, -1], [math.nan, 1]), 4, 2), v)
    assert one.relevance[0, 0].tolist() == [0, 0]
    assert one.total is not None
    assert one.total[0, 0] == 0
    assert one.total[0, 1].isnan()
    assert one.relevance[0, 1].isnan().all()


@pytest.mark.parametrize(("conserve", "wanted"), [("operation", -2.0), ("argument", 4.0)])
def test_signs_count_where_totals_of_all_are_restored(conserve: Any, wanted: float) -> None:
    v, found = value(), Arrivals(conserve, waits=True, magnitude=False)
    assert found.totals(rows([1, -3], [3, -1]), v).tolist() == [[wanted, abs(wanted)]]


def test_samples_that_left_the_range_are_told_and_no_others() -> None:
    """Of a sum of 0 no total is made, and 1 / 1e-45 is infinite in float32."""
    for entries, total in (([0.0, 0.0], -1.0), ([1e-45, 0.0], 1.0), ([math.inf, 1.0], 1.0)):
        v, found = value(), arrivals()
        found.settled(waiting(rows([1, 1], entries), 4, total), v)
        assert found.lost.tolist() == [False, True]
        found.settled(waiting(rows([1, 1], [1, 1]), 4, 0), v)
        assert found.lost.tolist() == [False, True]  # still


def test_a_start_of_nothing_has_no_share() -> None:
    flow = Flow(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2), [])
    assert flow.share([torch.tensor([[1.0, 1.0]])]).tolist() == [[0.0, 0.5]]
