"""The naive GAE reference against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.naive import gae as naive
from tests.naive.gae import Array

WEIGHTS = np.array([4.0, 3.0, 2.0, 1.0])


def linear_gradient(x: Array) -> tuple[float, Array]:
    """f(x) = 4 x_0 + 3 x_1 + 2 x_2 + x_3."""
    return float(WEIGHTS @ x), WEIGHTS


def run(order: Any, schedule: Any = "reranked", x: Sequence[float] = (1, 1, 1, 1)) -> Any:
    return naive.trajectory(linear_gradient, np.array(x, dtype=float), order, 4, schedule)


def test_trajectories_by_hand() -> None:
    lerf, morf = run("lerf"), run("morf")
    np.testing.assert_array_equal(lerf.masked_from, [4, 3, 2, 1])
    np.testing.assert_array_equal(morf.masked_from, [1, 2, 2, 3])  # 1, then 2, then 3 features
    np.testing.assert_allclose(lerf.outputs, [10, 9, 7, 4])
    np.testing.assert_allclose(morf.outputs, [10, 6, 1, 0])
    np.testing.assert_allclose(morf.impacts[1], np.array([0, 3, 2, 1]) / 6)
    np.testing.assert_allclose(morf.impacts[3], 0)
    np.testing.assert_allclose(lerf.states[2], [1, 1, 0, 0])
    np.testing.assert_array_equal(run("morf", "uniform").masked_from, [1, 2, 3, 4])
    np.testing.assert_array_equal(run("lerf", "uniform").masked_from, [4, 3, 2, 1])


def test_ties_take_masked_features_then_the_lower_index() -> None:
    # x_0, x_2 and x_3 have impact 0 from the start.
    x = (0, 1, 0, 0)
    np.testing.assert_array_equal(run("lerf", x=x).masked_from, [1, 4, 2, 3])
    # MoRF: x_1; then of four zeros the masked x_1 and x_0; then x_0, x_1 and x_2.
    np.testing.assert_array_equal(run("morf", x=x).masked_from, [2, 1, 3, 4])
    np.testing.assert_array_equal(run("morf", "uniform", x).masked_from, [2, 1, 3, 4])


def test_masked_shares_are_those_of_the_specification() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal(100), rng.standard_normal(100)
    for order, schedule, expected in (
        ("lerf", "reranked", [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        ("morf", "reranked", [0, 10, 30, 60, 100, 100, 100, 100, 100, 100]),
        ("lerf", "uniform", [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        ("morf", "uniform", [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
    ):
        path = naive.trajectory(lambda v: (float(w @ v), w), x, order, 10, schedule)  # type: ignore[arg-type]
        assert [(path.masked_from <= t).sum() for t in range(10)] == expected
        for t in range(10):
            np.testing.assert_array_equal(path.states[t], x * (path.masked_from > t))


def test_impact_is_the_gradient_of_the_absolute_output() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    model = model.double().eval()
    x = np.random.default_rng(1).standard_normal(5)
    for target in range(3):
        output, gradient = naive.torch_output_and_gradient(model, x, target)
        inputs = torch.from_numpy(x[None]).requires_grad_()
        (g,) = torch.autograd.grad(model(inputs)[0, target].abs(), inputs)
        m = np.abs(x * g.numpy()[0])
        got = naive.trajectory(lambda v, o=output, d=gradient: (o, d), x, "morf", 1).impacts[0]  # type: ignore[misc]
        np.testing.assert_allclose(got, m / m.sum(), rtol=1e-12)


def test_impact_is_zero_where_the_output_is() -> None:
    path = naive.trajectory(lambda v: (0.0, WEIGHTS), np.ones(4), "lerf", 3)
    assert (path.impacts == 0).all()


def test_consistency_by_hand() -> None:
    lerf, morf = run("lerf"), run("morf")
    d = naive.output_differences(morf.outputs, lerf.outputs)
    np.testing.assert_allclose(d, [0.3, 0.6, 0.4], rtol=1e-8)
    signs = np.sign(naive.impact_map(morf.impacts, lerf.impacts))
    np.testing.assert_array_equal(signs, [1, -1, -1, -1])
    np.testing.assert_allclose(naive.lc_faithfulness(np.ones(4), signs), -0.5, rtol=1e-8)
    np.testing.assert_allclose(naive.lc_faithfulness(WEIGHTS / 4, signs), -0.2, rtol=1e-8)
    a, b = np.array([1, 0.75, 0.5, 0.25]), np.array([0, 1, 2 / 3, 1 / 3])
    np.testing.assert_allclose(naive.similarity(a, b), 2 / 3, rtol=1e-8)
    got = naive.lc_robustness(np.array([0.3, 0.6]), np.array([0.1, -0.2]))
    np.testing.assert_allclose(got, 1 - 2 * 1.0 / 1.2, rtol=1e-8)
    assert naive.local_consistency(-0.5, 0.25) == 0.0
    assert naive.local_consistency(0.5, 0.25) == 0.375


def test_scaled_map() -> None:
    a = np.array([[-1.0, 2.0], [0.0, 4.0]])
    expected = np.broadcast_to([[0, 0.5], [0, 1]], (3, 2, 2))
    np.testing.assert_array_equal(naive.scaled_map(a, (3, 2, 2)), expected)
    np.testing.assert_allclose(naive.scaled_map(a[None] * 1e-30, (3, 2, 2)), expected, rtol=1e-12)
    assert (naive.scaled_map(-np.abs(a), (2, 2)) == 0).all()
    assert np.isnan(naive.scaled_map(np.array([1.0, np.inf]), (2,))).all()


def test_mosaic_by_hand() -> None:
    images = [10.0 * k + np.arange(9.0).reshape(1, 3, 3) for k in range(4)]
    # Two of three rows (columns) are 0 and 1; one of three is 0.
    expected = np.array([[[0, 1, 10], [3, 4, 13], [20, 21, 30]]])
    np.testing.assert_array_equal(naive.mosaic(images), expected)


@pytest.mark.parametrize("size", [(8, 6), (33, 47), (7, 9)])
def test_halving_is_pytorchs_nearest(size: tuple[int, int]) -> None:
    x = np.random.default_rng(2).standard_normal((2, *size))
    for h, w in zip(naive.halves(size[0]), naive.halves(size[1]), strict=True):
        expected = F.interpolate(torch.from_numpy(x[None]), (h, w), mode="nearest")[0]
        np.testing.assert_array_equal(naive.nearest(x, h, w), expected)


def test_contrastiveness_by_hand() -> None:
    s = np.log([0.4, 0.1, 0.5])
    S = naive.score_map((3, 3), s, (1, 0, 2, 0), 1)
    np.testing.assert_allclose(
        S, np.array([[-0.5, -0.5, 1], [-0.5, -0.5, 1], [1, 1, 1]]), rtol=1e-7
    )
    S = naive.score_map((3, 3), s, (2, 1, 0, 1), 0)  # 2 * .4 / .5 - 1 = 0.6
    expected = np.array([[1, 1, -0.6], [1, 1, -0.6], [0.6, 0.6, -0.6]])
    np.testing.assert_allclose(S, expected, rtol=1e-7)
    a = np.zeros((1, 3, 3))
    a[0, 0, 0], a[0, 2, 2] = 1.0, 0.5
    np.testing.assert_allclose(naive.contrastiveness(a, S), 0.7 / 1.5, rtol=1e-7)
    assert naive.contrastiveness(a, -S) == 0.0
    assert naive.contrastiveness(np.zeros((1, 3, 3)), S) == 0.0


class TwoClasses(torch.nn.Module):
    """f_0 = 4 x_0 + 3 x_1 + 2 x_2 + x_3, f_1 = -f_0 / 20, on images of one channel, 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(np.stack([WEIGHTS, -WEIGHTS / 20])))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), self.weight)


def first_pixel(model: torch.nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
    """3 at the first pixel, 1 at the second, less as the image loses pixels; one channel."""
    a = np.zeros((len(inputs), 1, 2, 2))
    a[:, 0, 0] = 3.0, 1.0
    return a * np.asarray(inputs)


def test_gae_by_hand() -> None:
    x = np.ones((4, 1, 2, 2))
    y, plan = np.zeros(4, dtype=np.int64), np.array([[0, 1, 2, 3], [2, 1, 0, 3]] * 2)
    plan[2:] = [[2, 0, 1, 3], [3, 0, 1, 2]]
    y[1] = 1
    scores = naive.gae(TwoClasses(), first_pixel, x, y, plan, np.array([0, 1, 0, 0]), steps=4)
    # The maps: (3, 1, 0, 0) with pixels masked, scaled to (1, 1/3, 0, 0).
    # LeRF states keep pixels 012, 01, 0: maps the same, the same, (1, 0, 0, 0): sims 1, 1, 6/7.
    # MoRF states keep 123, 3, none: (0, 1, 0, 0), 0, 0: sims 1 - (5/3) / (7/3), 0, 0.
    d_o, d_A = np.array([0.3, 0.6, 0.4]), np.array([5 / 7, 1, 6 / 7])
    robustness = 1 - 2 * (d_A - d_o).sum() / (d_A + d_o).sum()
    faithfulness = (1 - 1 / 3) / (4 / 3)
    # In the mosaic of ones, the positive's quadrant has 1 of 4/3. Image 1's class is 1:
    # s_1 / s_0 = exp(-10.5), so its quadrant counts 2 exp(-10.5) - 1; it is quadrant 1.
    contrast = (1 + (2 * np.exp(-10.5) - 1) / 3) / (4 / 3)
    np.testing.assert_allclose(scores["lc_robustness"][0], robustness, rtol=1e-7)
    np.testing.assert_allclose(scores["lc_faithfulness"][0], faithfulness, rtol=1e-7)
    np.testing.assert_allclose(scores["contrastiveness"][0], contrast, rtol=1e-7)
    np.testing.assert_allclose(
        scores["gae"][0], (robustness + faithfulness) / 2 * contrast, rtol=1e-7
    )
    # Sample 1 (class 1) is less probable than the others' class, so min(1, .) makes S all 1.
    np.testing.assert_allclose(scores["contrastiveness"][1], 1.0, rtol=1e-7)
    # Its output is -0.5: d^o_t stays the same under a scaled output, and so do the impacts.
    np.testing.assert_allclose(scores["lc_robustness"][1], robustness, rtol=1e-7)


def test_degenerate_input() -> None:
    x = np.random.default_rng(3).standard_normal((4, 1, 2, 2))
    x[3, 0, 0, 0] = np.nan
    plan = np.array([[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]])
    where = np.arange(4)
    y = np.zeros(4, dtype=np.int64)
    scores = naive.gae(TwoClasses(), first_pixel, x, y, plan, where, steps=3)
    assert np.isfinite(scores["local_consistency"]).tolist() == [True, True, True, False]
    assert np.isnan(scores["contrastiveness"]).all()  # the NaN image is in every mosaic
    x[3] = 1.0
    zero = naive.gae(
        TwoClasses(), lambda *a, **_: -np.ones((1, 2, 2)), x, y, plan, where, steps=3
    )  # fmt: skip
    # sim = 1 in all states, so d^A = 0 and LC_R = 1 - 2; LC_F = 0; C = 0.
    np.testing.assert_allclose(zero["lc_robustness"], -1.0, rtol=1e-6)
    for name in ("lc_faithfulness", "local_consistency", "contrastiveness", "gae"):
        assert (zero[name] == 0.0).all()
