"""Where samples are, and their totals, by hand."""

from __future__ import annotations

import pytest
import torch

from abslrp.plan.axes import but
from abslrp.tape import Call, Place, Value
from abslrp.tape.place import LostPlaceError, SamplesMixedError
from abslrp.tape.place_by_numbers import place_of, probed


def test_a_complex_total_is_that_of_both_parts() -> None:
    """Relevance of a real part and of an imaginary one belongs to the same sample."""
    relevance = torch.tensor([[[1 + 2j, 3 - 1j], [0 + 4j, 5 + 0j]]])
    assert Place(2, 2).totals(relevance).tolist() == [[5.0, 9.0]]


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        (Place(1, 1), [160_000.0]),
        (Place(2, 40_000), [80_000.0, 80_000.0]),  # along the first axis
        (Place(2, 1), [80_000.0, 80_000.0]),  # every other entry
    ],
)
def test_totals_leave_the_range_of_float16(place: Place, wanted: list[float]) -> None:
    totals = place.totals(torch.full((1, 2, 40_000), 2.0, dtype=torch.float16))
    assert totals.dtype == torch.float32
    assert totals.tolist() == [wanted]


@pytest.mark.parametrize(
    ("place", "shape"),
    [
        (Place(4, 1), (2, 2)),  # two samples in each row
        (Place(2, 3), (6, 2)),  # a sample ends in the middle of a row
        (Place(2, 1), (1, 1)),  # no axis has two entries
    ],
)
def test_samples_that_no_axis_holds_are_lost(place: Place, shape: tuple[int, ...]) -> None:
    with pytest.raises(LostPlaceError):
        place.axis(shape)


def test_samples_are_followed_through_moved_axes() -> None:
    place = Place(2, 12)  # of (2, 3, 4)
    assert place.moved((2, 3, 4), [1, 0, 2], (3, 2, 4)) == Place(2, 4)
    assert place.moved((2, 3, 4), [2, 1, None], (1, 3, 2)) == Place(2, 1)
    assert Place(2, 8).moved((4, 2, 4), [1, 0, 2], (2, 4, 4)) == Place(2, 4)  # two rows in turn
    assert Place(2, 16).moved((4, 2, 4), [1, 0, 2], (2, 4, 4)) == Place(2, 8)  # two in a row


@pytest.mark.parametrize(
    ("axes", "to"),
    [([None, 0], (3,)), ([1, 0], (3,)), ([0, 1], (1, 3))],
    ids=["mixed", "left out", "of one entry"],
)
def test_samples_whose_axis_is_gone_are_mixed(axes: list[int | None], to: tuple[int, ...]) -> None:
    with pytest.raises(SamplesMixedError):
        Place(2, 3).moved((2, 3), axes, to)


def test_samples_are_along_the_first_axis() -> None:
    assert Place.of(torch.empty(2, 3, 4)) == Place(2, 12)
    assert Place.of(torch.empty(1, 3)) == Place(1, 3)
    assert Place.of(torch.empty(2)) == Place.of(torch.empty(2, 0)) == Place(2, 1)


def test_of_one_sample_all_is_its_own() -> None:
    assert Place(1, 6).moved((2, 3), [None, None], (5,)) == Place(1, 1)
    assert Place(1, 6).totals(torch.ones(1, 4)).tolist() == [[4.0]]


def test_totals_of_samples_along_an_axis_in_the_middle() -> None:
    """Three times 1 + 2, and three times 3 + 4."""
    relevance = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]] * 3])
    assert Place(2, 2).totals(relevance).tolist() == [[9.0, 21.0]]


def test_the_total_of_one_number_is_that_number() -> None:
    assert Place(2, 1).totals(torch.tensor([[3.0, 4.0]])).tolist() == [[3.0, 4.0]]


def test_factors_of_samples_lie_where_these_are() -> None:
    factors = torch.tensor([[2.0, 5.0], [3.0, 7.0]])  # of two starts
    assert Place(2, 3).spread(factors, (2, 3)).tolist() == [[[2], [5]], [[3], [7]]]
    assert Place(2, 1).spread(factors, (3, 2)).tolist() == [[[2, 5]], [[3, 7]]]
    wanted = [[2, 2, 5, 5, 2, 2, 5, 5], [3, 3, 7, 7, 3, 3, 7, 7]]
    assert Place(2, 2).spread(factors, (8,)).tolist() == wanted
    assert Place(1, 1).spread(factors[:, :1], (2, 3)).tolist() == [[[2]], [[3]]]
    empty = torch.empty(2, 2, 0)
    assert (empty * Place(2, 1).spread(factors, (2, 0))).shape == empty.shape


@pytest.mark.parametrize(
    ("row", "inner"),
    [
        ([0, 0, 1, 1], 2),
        ([0, 1, 0, 1], 1),
        ([-1, 0, -1, 1], 2),  # constants fit anywhere
        ([0, -1, 1, -1], 2),
        ([0, 0], 2),
        ([0, -1, -1, -1, 1, *[-1] * 7], 3),  # 4 and 5 would end in the middle of a sample
    ],
)
def test_numbers_of_samples_follow_a_place(row: list[int], inner: int) -> None:
    assert place_of(torch.tensor(row), 2) == Place(2, inner)


@pytest.mark.parametrize(
    ("row", "error"), [([0, 1, 1, 0], SamplesMixedError), ([-1, -1], LostPlaceError)]
)
def test_numbers_of_samples_that_follow_no_place(row: list[int], error: type[Exception]) -> None:
    with pytest.raises(error):
        place_of(torch.tensor(row), 2)


def test_two_samples_that_are_added_are_mixed() -> None:
    """Of the numbers 0 and 1, half of one is the mean of two."""
    value, output = Value(torch.ones(2, 2), Place(2, 2)), Value(torch.ones(2), None)
    call = Call(torch.ops.aten.sum.dim_IntList, (value, [0]), {}, [value], [output])
    with pytest.raises(SamplesMixedError):
        probed(call, output)


def test_axes_beside_one_that_is_mixed_stay() -> None:
    value = Value(torch.ones(2, 3, 4), Place(2, 12))
    assert but(1)(Call(torch.relu, (), {}, [value]), value) == [0, None, 2]
