"""Totals of samples by hand."""

from __future__ import annotations

import pytest
import torch

from abslrp.tape import Place


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
