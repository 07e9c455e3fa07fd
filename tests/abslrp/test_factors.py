"""Factors that join and cancel, and their entries, by hand."""

from __future__ import annotations

import torch

from abslrp.plan.entrywise import multiplied
from abslrp.plan.factors import Factor, Line, above, constant, inverse, joined, magnitude, positive
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


def test_what_a_value_was_made_of_cancels() -> None:
    """``y / |v|`` is [y > 0] where ``y = v+``, and ``|y| / |v|`` is 3 where ``y = -3 v``."""
    v, y, other = value(2.0, -1.0), value(2.0, 0.0), value(1.0, 1.0)
    (mask,) = joined([positive(y), inverse(v, 1e-9)], lambda _: (v, None))
    assert (mask.kind, mask.value) == ("above", y)
    for scale in (-3.0, torch.tensor(-3.0)):
        (one,) = joined([magnitude(y), inverse(v, 1e-9)], lambda _, c=scale: (v, c))
        assert one.constant == 3.0
        found = joined([positive(y), inverse(v, 1e-9)], lambda _, c=scale: (v, c))
        assert [one.kind for one in found] == ["constant", "above"]
    assert len(joined([positive(y), inverse(other, 1e-9)], lambda _: (v, None))) == 2


def test_masks_of_one_value_join() -> None:
    """``[v > 2] [v > 0]`` is ``[v > 2]``, and where -v counts, nothing joins."""
    v = value(-3.0, -1.0, 1.0, 3.0)

    def line(shift: float, slope: float) -> Factor:
        return above(Line(v, torch.tensor(shift), torch.tensor(slope)))

    for masks, wanted, left in (
        ([line(2, 1), above(v)], [0, 0, 0, 1], 1),
        ([above(v), line(-2, 5)], [0, 0, 1, 1], 1),
        ([line(-2, 1), line(-4, 1)], [0, 1, 1, 1], 1),
        ([line(2, 1), line(0, 1)], [0, 0, 0, 1], 1),
        ([line(2, -1), above(v)], [0, 0, 1, 0], 2),
    ):
        found = joined(masks, lambda _: None)
        assert len(found) == left
        assert multiplied(torch.ones(1, 4), found, owned=False).tolist() == [wanted]


def test_relevance_takes_the_wider_type_of_a_factor() -> None:
    """``1 + 2^-30`` is a number of float64, and none of float32."""
    fine = torch.tensor([1 + 2**-30, 1.0], dtype=torch.float64)
    for owned in (False, True):
        got = multiplied(torch.ones(1, 2), [constant(fine)], owned=owned)
        assert got.dtype == torch.float64
        assert torch.equal(got[0], fine)


def test_a_divisor_cancels_once() -> None:
    """``|v| |v| / |v|`` is ``|v|``."""
    v = value(2.0, -1.0)
    (one,) = joined([magnitude(v), magnitude(v), inverse(v, 1e-9)], lambda _: None)
    assert (one.kind, one.value) == ("magnitude", v)


def test_an_epsilon_of_the_rounding_is_not_seen() -> None:
    """A larger one is."""
    v, eps = value(2.0, -1.0), torch.finfo(torch.float32).eps
    assert not joined([magnitude(v), inverse(v, eps)], lambda _: None)
    assert len(joined([magnitude(v), inverse(v, 2 * eps)], lambda _: None)) == 2
