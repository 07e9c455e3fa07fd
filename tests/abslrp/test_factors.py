"""Factors that join and cancel, and their entries, by hand."""

from __future__ import annotations

import torch

from abslrp.plan.entrywise import multiplied
from abslrp.plan.factors import Line, constant, inverse, joined, magnitude, positive
from abslrp.tape import Value


def value(*entries: float) -> Value:
    return Value(torch.tensor(entries), None)


def test_lines_cancel_if_they_are_multiples() -> None:
    """``|-6 (v - 1)| / |2 (v - 1)|`` is 3."""
    v, shift = value(2.0, -1.0), torch.tensor(1.0)
    lines = [Line(v, shift, torch.tensor(slope)) for slope in (-6.0, 2.0)]
    (one,) = joined([magnitude(lines[0]), inverse(lines[1], 1e-9)], lambda _: None)
    assert one.kind == "constant"
    assert one.constant == torch.tensor(3.0)


def test_lines_of_other_values_or_with_other_shifts_do_not_cancel() -> None:
    """``(v - 1)+ / |v|`` is (1 / 2, 0); ``w+ / |v|`` is (4 / 2, 3 / 1)."""
    v, w, one = value(2.0, -1.0), value(4.0, 3.0), torch.tensor(1.0)
    divisor = inverse(Line(v, None, one), 1e-9)
    for line, wanted in (Line(v, one, one), [0.5, 0.0]), (Line(w, None, one), [2.0, 3.0]):
        left = joined([positive(line), divisor], lambda _: None)
        got = multiplied(torch.ones(1, 2), left, owned=False)
        torch.testing.assert_close(got, torch.tensor([wanted]))


def test_relevance_takes_the_wider_type_of_a_factor() -> None:
    """``1 + 2^-30`` is a number of float64, and none of float32."""
    fine = torch.tensor([1 + 2**-30, 1.0], dtype=torch.float64)
    for owned in (False, True):
        got = multiplied(torch.ones(1, 2), [constant(fine)], owned=owned)
        assert got.dtype == torch.float64
        assert torch.equal(got[0], fine)
