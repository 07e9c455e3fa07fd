"""SPEC 1.1, figure 1: three numbers, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import abslrp
from tests.naive.golden import FIGURE_1, figure_1
from tests.naive.network import to_torch


@pytest.mark.parametrize(("second", "expected"), FIGURE_1)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
def test_figure_1(
    second: tuple[float, float], expected: tuple[float, float], conserve: str
) -> None:
    model = to_torch(figure_1(second))
    R = abslrp.relevance(model, np.ones((1, 2)), np.ones((1, 1)), conserve=conserve)
    np.testing.assert_allclose((R / R.sum())[0], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("second", "expected"), FIGURE_1)
def test_figure_1_as_modules_in_float32(second: tuple[float, float], expected: object) -> None:
    hidden, output = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    hidden.weight.data = torch.tensor([[2.0, -1.0], second])
    output.weight.data = torch.ones(1, 2)
    model = nn.Sequential(hidden, nn.ReLU(inplace=True), output).eval()
    R = abslrp.explain(model, torch.ones(1, 2), 0, contrast=None)
    # Two decimals of the paper are exact numbers here; float32 keeps seven digits of them.
    np.testing.assert_allclose(R[0].numpy(), expected, rtol=1e-6)
    assert R.sum().item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("second", "total"), [((-1, 2), 2.0), ((-5, 6), 4.0), ((-17, 18), 10.0)])
def test_what_the_page_on_figure_1_says_besides(second: tuple[float, float], total: float) -> None:
    """Sums of relevance without conservation, and LRP-alpha1beta0."""
    model, x, one = to_torch(figure_1(second)), np.ones((1, 2)), np.ones((1, 1))
    R = abslrp.relevance(model, x, one, conserve=None)
    assert R.sum() == pytest.approx(total, abs=1e-7)
    same = abslrp.relevance(model, x, one, rules="alpha1beta0")
    np.testing.assert_allclose(same[0], [0.5, 0.5], rtol=0, atol=1e-5)
