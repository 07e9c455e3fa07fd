"""Equations 13 to 18 on numbers worked out by hand, and their ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gae_metric import functional as F

# Scaled by 1e-20, a smaller number than 1e-250 would leave the normal ones.
VALUES = st.one_of(st.just(0.0), st.floats(1e-250, 1e6), st.floats(-1e6, -1e-250))
MAPS = hnp.arrays(np.float64, (2, 6), elements=VALUES)
CURVES = hnp.arrays(np.float64, (2, 9), elements=VALUES)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 3.7, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positive_map_has_maximum_1_at_any_scale(scale, dtype):
    a = torch.tensor([[[-2.0, 1.0], [4.0, 0.0]]], dtype=torch.float64).mul(scale).to(dtype)
    result = F.positive_map(a)
    assert result.dtype == dtype
    torch.testing.assert_close(
        result, torch.tensor([[[0.0, 0.25], [1.0, 0.0]]], dtype=dtype), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.uint8])
def test_positive_map_of_other_types_is_single_precision(dtype):
    result = F.positive_map(torch.tensor([[1, 2, 4]], dtype=dtype))
    assert result.dtype == torch.float32
    assert result.tolist() == [[0.25, 0.5, 1.0]]


def test_positive_map_of_nothing_positive_is_0():
    assert F.positive_map(torch.tensor([[-1.0, 0.0], [0.0, 0.0]])).abs().max() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_positive_map_that_is_not_finite_is_nan_and_touches_no_other(bad):
    result = F.positive_map(torch.tensor([[1.0, bad], [1.0, 2.0]]))
    assert result[0].isnan().all()
    assert result[1].tolist() == [0.5, 1.0]


def test_similarity_eq_13():
    a, b = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[0.5, 1.0, 0.5]])
    assert F.similarity(a, b).item() == pytest.approx(1 - 1.5 / 3.5, abs=1e-8)


def test_similarity_of_zero_maps_is_1_as_0_by_0_is_0():
    zero, one = torch.zeros(1, 3), torch.ones(1, 3)
    assert F.similarity(zero, zero).item() == 1
    assert F.similarity(zero, one).item() == pytest.approx(0, abs=1e-9)


def test_similarity_broadcasts_one_channel_in_numerator_and_denominator():
    one, three = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    expected = F.similarity(one.expand(2, 3, 4, 4), three)
    torch.testing.assert_close(F.similarity(one, three), expected)
    torch.testing.assert_close(F.similarity(three, one), expected)


def test_output_difference():
    d = F.output_difference(
        torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 2.0]]), torch.tensor([-4.0])
    )
    assert d.tolist() == [[-0.5, 0.25]]


def test_local_robustness_eq_14():
    d_o, d_a = torch.tensor([[0.5, 0.25]]), torch.tensor([[0.25, 0.5]])
    assert F.local_robustness(d_o, d_a).item() == pytest.approx(1 - 2 * 0.5 / 1.5)
    assert F.local_robustness(d_o, d_o).item() == 1
    assert F.local_robustness(d_o, -d_o).item() == pytest.approx(-1)
    assert F.local_robustness(d_o * 0, d_o * 0).item() == 1  # 0/0 is 0


def test_local_robustness_is_not_below_minus_1_by_rounding():
    d_o = torch.tensor([[0.022325754165649414, 0.16885894536972046, 0.2938884496688843]])
    d_a = torch.tensor([[-0.518521785736084, -0.6976675987243652, -0.800011396408081]])
    # 1 - 2 * 2.5012736 / 2.5012734
    assert F.local_robustness(d_o, d_a).item() == -1


def test_denominators_are_widened_so_that_none_is_0():
    """1e-9 is added: what is as small itself counts half, and no output is divided by 0."""
    small = torch.tensor([[1e-9]], dtype=torch.float64)
    plus = torch.ones_like(small)
    assert F.local_robustness(small, small * 0).item() == pytest.approx(0)
    assert F.local_faithfulness(small, plus).item() == pytest.approx(0.5)
    assert F.contrastiveness(small, plus).item() == pytest.approx(0.5)
    assert F.output_difference(small, small * 0, small[0] * 0).item() == pytest.approx(1)


def test_local_faithfulness_eq_15_broadcasts_one_channel():
    a = torch.tensor([[[1.0, 0.5]]])  # one channel
    sign = torch.tensor([[[1, -1], [0, 1]]], dtype=torch.int8)
    assert F.local_faithfulness(a, sign).item() == pytest.approx((1 - 0.5 + 0 + 0.5) / 3)
    assert F.local_faithfulness(a, -sign).item() == pytest.approx(-1 / 3)


def test_maps_of_different_dimensions_are_refused():
    with pytest.raises(ValueError, match="argument 2 is"):
        F.contrastiveness(torch.rand(2, 3, 4), torch.rand(2, 3))


def test_local_consistency_eq_16_and_gae_eq_18():
    lc = F.local_consistency(torch.tensor([0.5, -1.0]), torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(lc, torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(
        F.global_attribution(lc, torch.tensor([0.5, 1.0])), torch.tensor([0.2, 0.0])
    )


def test_contrastiveness_eq_17():
    a = torch.tensor([[[1.0, 0.5], [0.0, 0.5]]])
    s = torch.tensor([[[1.0, 0.0], [0.0, -1.0]]])
    assert F.contrastiveness(a, s).item() == pytest.approx(0.25)
    assert F.contrastiveness(a, -s).item() == 0


@given(MAPS, MAPS)
def test_similarity_lies_in_0_1(a, b):
    value = F.similarity(F.positive_map(torch.tensor(a)), F.positive_map(torch.tensor(b)))
    assert ((value >= 0) & (value <= 1)).all()


@given(CURVES, CURVES)
def test_local_robustness_lies_in_minus_1_1(d_o, d_a):
    value = F.local_robustness(torch.tensor(d_o), torch.tensor(d_a))
    assert ((value >= -1) & (value <= 1)).all()


@given(MAPS, hnp.arrays(np.int8, (2, 6), elements=st.integers(-1, 1)))
def test_faithfulness_and_contrastiveness_lie_in_their_ranges(a, sign):
    maps = F.positive_map(torch.tensor(a))
    faithfulness = F.local_faithfulness(maps, torch.tensor(sign))
    contrast = F.contrastiveness(maps, torch.tensor(sign))
    assert (faithfulness.abs() <= 1).all()
    assert ((contrast >= 0) & (contrast <= 1)).all()


@given(MAPS, st.floats(1e-20, 1e20))
def test_scores_do_not_depend_on_the_scale_of_a_map(a, scale):
    sign = torch.tensor([[1, -1, 0, 1, 1, -1]] * 2)
    one, two = F.positive_map(torch.tensor(a)), F.positive_map(torch.tensor(a * scale))
    torch.testing.assert_close(
        F.local_faithfulness(one, sign), F.local_faithfulness(two, sign), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(
        F.similarity(one, two), torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    ("weights", "schedule", "score"),
    [
        (torch.ones(3072), "reranked", -0.20),
        (torch.arange(1.0, 3073), "reranked", 0.02),
        (torch.ones(3072), "uniform", 0.0),
    ],
)
def test_faithfulness_of_the_exact_map_of_a_linear_model_is_what_the_page_says(
    weights, schedule, score
):
    """Weight times input is all that there is to know about a linear model."""
    model = torch.nn.Linear(len(weights), 1, bias=False)
    model.weight.data = weights[None]
    x, target = torch.ones(1, len(weights)), torch.tensor([0])
    trajectory = F.masking_trajectory(model, x, target, schedule=schedule)
    found = F.local_faithfulness(weights[None] / weights.max(), trajectory.impact_sign)
    assert round(float(found), 2) == score
