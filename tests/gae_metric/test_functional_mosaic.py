"""Mosaic plans, mosaics and score maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gae_metric import MosaicPlan
from gae_metric.functional import mosaics, quadrant_scores, score_map
from gae_metric.functional.mosaic import quadrants
from gae_metric.functional.mosaic_plan import substitute


@given(n=st.integers(4, 30), seed=st.integers(0, 50), repeat=st.integers(0, 3))
def test_plans_hold_the_sample_and_three_different_others(n, seed, repeat):
    plan = MosaicPlan.draw(np.arange(n), seed=seed, repeat=repeat)
    assert plan.indices.shape == (n, 4)
    assert plan.indices.dtype == plan.positive.dtype == np.int64
    assert (plan.indices[np.arange(n), plan.positive] == np.arange(n)).all()
    assert all(len(set(row)) == 4 for row in plan.indices.tolist())


def test_draws_are_uniform():
    n, draws = 6, 3000
    others = np.zeros((n, n))
    quadrant = np.zeros((4, 4))
    for seed in range(draws // n):
        plan = MosaicPlan.draw(np.arange(n), seed=seed)
        for i in range(n):
            others[i, plan.indices[i]] += 1
            quadrant[plan.positive[i]] += 1
    share = others[~np.eye(n, dtype=bool)] / (draws / n)
    assert np.abs(share - 3 / 5).max() < 0.09  # four standard deviations
    assert np.abs(quadrant[:, 0] / draws - 1 / 4).max() < 0.035


def test_draws_depend_on_seed_and_repeat_only():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = MosaicPlan.draw(np.arange(50), seed=3), MosaicPlan.draw(np.arange(50), seed=3)
    assert (one.indices == two.indices).all()
    assert (one.positive == two.positive).all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    for seed, repeat in ((4, 0), (3, 1)):
        other = MosaicPlan.draw(np.arange(50), None, seed, repeat)
        assert (one.indices != other.indices).any()


def test_plans_are_frozen():
    plan = MosaicPlan.draw(np.arange(4))
    with pytest.raises(AttributeError):
        plan.positive = np.zeros(4, dtype=int)  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        plan.indices[0, 0] = 3


def test_permuted_plan_gives_the_same_mosaics():
    plan, order = MosaicPlan.draw(np.arange(9), seed=2), np.random.default_rng(0).permutation(9)
    x = torch.rand(9, 2, 4, 4)
    expected = mosaics(x, plan.indices)[torch.tensor(order)]
    permuted = plan.permute(order)
    assert mosaics(x[torch.tensor(order)], permuted.indices).equal(expected)
    with pytest.raises(ValueError, match="order: expected a permutation of 9"):
        plan.permute([0] * 9)


ROWS = [[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 1, 3], [3, 0, 1, 2]]


@pytest.mark.parametrize(
    ("indices", "positive", "message"),
    [
        ([[0, 1, 2]], [0], r"indices: expected shape \(N, 4\), got \(1, 3\)"),
        (ROWS, [0, 0, 0], r"positive: expected shape \(4,\), got \(3,\)"),
        (ROWS, [0, 0, 0, 4], "positive: expected quadrants from 0 to 3"),
        (ROWS, [0, 0, 0, 1], r"indices\[i, positive\[i\]\] == i.* in row 3"),
        ([*ROWS[:3], [3, 0, 0, 2]], [0] * 4, "four different samples.* in row 3"),
        ([*ROWS[:3], [3, 0, 1, 9]], [0] * 4, "indices: expected values from 0 to 3"),
        (np.array(ROWS) * 1.0, [0] * 4, "indices: expected integers, got float64"),
    ],
)
def test_wrong_plans_are_refused(indices, positive, message):
    with pytest.raises(ValueError, match=message):
        MosaicPlan(np.array(indices), np.array(positive))


def test_plan_needs_four_samples():
    with pytest.raises(ValueError, match=r"at least 4 samples .* got 3"):
        MosaicPlan.draw(np.arange(3))
    with pytest.raises(ValueError, match="non-negative"):
        MosaicPlan.draw(np.arange(4), seed=-1)


def test_samples_that_cannot_be_used_are_replaced():
    usable = np.array([True, False, True, True, True, False])
    rows = np.array([[0, 1, 2, 3], [4, 5, 0, 2], [0, 2, 3, 4]])
    assert substitute(rows, usable).tolist() == [[0, 4, 2, 3], [4, 3, 0, 2], [0, 2, 3, 4]]
    few = np.array([True, False, False, True])
    own = np.array([0])
    assert substitute(np.array([[0, 1, 2, 3]]), few, own).tolist() == [[0, 3, 3, 3]]
    alone = np.array([True, False, False, False])
    assert substitute(np.array([[0, 1, 2, 3]]), alone, own).tolist() == [[0, -1, -1, -1]]


@pytest.mark.parametrize("shape", [(16, 16), (33, 47), (8, 5), (2, 3)])
def test_mosaics_are_nearest_samples_row_by_row(shape):
    height, width = shape
    top, left = -(-height // 2), -(-width // 2)
    x = torch.rand(5, 3, *shape)
    rows = [[3, 0, 4, 1], [0, 1, 2, 3]]
    result = mosaics(x, rows)
    assert result.shape == (2, 3, *shape)
    for m, (a, b, c, d) in enumerate(rows):
        for i in range(height):
            for j in range(width):
                first, second = (a, c) if j < left else (b, d)
                source = first if i < top else second
                h, w = (top if i < top else height - top), (left if j < left else width - left)
                y = (i if i < top else i - top) * height // h
                z = (j if j < left else j - left) * width // w
                assert (result[m, :, i, j] == x[source, :, y, z]).all()


@pytest.mark.parametrize("length", [16, 17, 18, 19])
def test_mosaics_of_time_series_are_four_segments_in_a_row(length):
    x = torch.arange(4.0)[:, None, None].expand(4, 2, length)
    result = mosaics(x, [[2, 0, 3, 1]])[0, 0]
    assert result.unique_consecutive().tolist() == [2, 0, 3, 1]
    sizes = [part[0].stop - part[0].start for part in quadrants((length,))]
    assert sum(sizes) == length
    assert sorted(sizes, reverse=True) == sizes
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "area"])
def test_interpolations_keep_constant_images(interpolation):
    x = torch.arange(4.0)[:, None, None, None].expand(4, 3, 9, 6)
    result = mosaics(x, [[0, 1, 2, 3]], interpolation)[0]
    torch.testing.assert_close(result[:, :5, :3], torch.zeros(3, 5, 3))
    torch.testing.assert_close(result[:, 5:, 3:], torch.full((3, 4, 3), 3.0))


def test_bilinear_halves_are_means_of_four_pixels():
    x = torch.rand(4, 1, 8, 8)
    top_left = mosaics(x, [[0, 1, 2, 3]], "bilinear")[:, :, :4, :4]
    torch.testing.assert_close(top_left, torch.nn.functional.avg_pool2d(x[:1], 2))


def test_what_mosaics_refuse():
    with pytest.raises(ValueError, match=r"interpolation: expected one of nearest.* got 'lanczos'"):
        mosaics(torch.rand(4, 1, 8, 8), [[0, 1, 2, 3]], "lanczos")
    with pytest.raises(ValueError, match="bicubic for images only"):
        mosaics(torch.rand(4, 1, 8), [[0, 1, 2, 3]], "bicubic")
    with pytest.raises(ValueError, match=r"x_batch: mosaics need images.* got samples with no pos"):
        mosaics(torch.rand(4), [[0, 1, 2, 3]])
    for shape in ((4, 1, 3), (4, 1, 1, 8), (4, 1, 8, 1)):
        with pytest.raises(ValueError, match=r"H, W >= 2 or time series \(N, C, L\) with L >= 4"):
            mosaics(torch.rand(shape), [[0, 1, 2, 3]])
    for shape in ((4, 1, 4), (4, 4), (4, 1, 2, 2)):
        assert mosaics(torch.rand(shape), [[0, 1, 2, 3]]).shape == (1, *shape[1:])


def test_quadrant_scores_eq_of_s():
    logits = torch.tensor([[2.0, 1.0, 0.0, 3.0]])
    s = logits.softmax(1)[0].double()
    scores = quadrant_scores(logits, [[1, 0, 2, 1]], [1])
    expected = [2 * s[1] / s[0] - 1, 1.0, 2 * s[2] / s[0] - 1, 2 * s[1] / s[0] - 1]
    torch.testing.assert_close(scores[0], torch.tensor(expected), rtol=0, atol=1e-6)
    # The positive need not be the top class: min(1, .).
    assert quadrant_scores(logits, [[3, 0, 2, 1]], [1])[0, 0] == 1
    assert quadrant_scores(torch.tensor([[900.0, 0.0]]), [[0, 1, 1, 1]], [0])[0, 1] == -1
    # Also where it has no probability: 1e-9 is added to it.
    assert quadrant_scores(torch.tensor([[0.0, 900.0]]), [[0, 1, 1, 1]], [0])[0, 1] == 1


def test_score_map_of_odd_sizes_and_the_centre_block():
    scores = torch.tensor([[1.0, 0.2, 0.3, 0.4]])
    assert score_map(scores.expand(3, 4), (5, 4)).shape == (3, 1, 5, 4)
    s = score_map(scores, (5, 4))[0, 0]
    assert s[:3, :2].unique().tolist() == [1]
    assert s[:3, 2:].unique().tolist() == pytest.approx([0.2])
    assert s[3:, :2].unique().tolist() == pytest.approx([0.3])
    assert s[3:, 2:].unique().tolist() == pytest.approx([0.4])
    block = score_map(scores, (6, 6), centre_block=True)[0, 0]
    assert block[2:4, 2:4].unique().tolist() == [1]
    assert (block != score_map(scores, (6, 6))[0, 0]).sum() == 3


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ((5, 7), [[2, 4], [3, 3], [3, 4]]),
        ((2, 3), [[0, 2], [1, 1], [1, 2]]),
        ((4, 2), [[1, 1], [2, 0], [2, 1]]),
    ],
)
def test_the_centre_block_lies_across_the_quadrants(shape, changed):
    scores = torch.tensor([[1.0, 0.2, 0.3, 0.4]])
    plain, block = (score_map(scores, shape, centre_block=centre)[0, 0] for centre in (False, True))
    assert (block != plain).nonzero().tolist() == changed
    assert (block[block != plain] == 1).all()


def test_samples_that_keep_their_size_lie_side_by_side():
    images, series = torch.rand(5, 3, 4, 5), torch.rand(5, 2, 3)
    found = mosaics(images, [[3, 0, 4, 1]], "none")
    rows = [torch.cat([images[3], images[0]], 2), torch.cat([images[4], images[1]], 2)]
    assert found.equal(torch.cat(rows, 1)[None])
    found = mosaics(series, [[3, 0, 4, 1]], "none")
    assert found.equal(torch.cat([series[i] for i in (3, 0, 4, 1)], 1)[None])
    assert mosaics(series[:, 0], [[3, 0, 4, 1]], "none").shape == (1, 12)


def test_mosaics_are_where_samples_are_whatever_the_default_device():
    x = torch.arange(16.0).reshape(4, 1, 2, 2)
    with torch.device("meta"):
        found = mosaics(x, [[0, 1, 2, 3]])
    assert found.tolist() == [[[[0, 4], [8, 12]]]]


@pytest.mark.parametrize(
    "indices", [[[0, 1, 2, -1]], [[0, 1, 2, 5]], [[0, 1, 2]], [0, 1, 2, 3], [[0.0, 1, 2, 3]]]
)
def test_indices_of_no_sample_are_refused(indices):
    x = torch.rand(5, 1, 4, 4)
    for form in (indices, np.array(indices), torch.tensor(indices)):
        with pytest.raises(ValueError, match=r"indices: expected integers \(M, 4\) from 0 to 4"):
            mosaics(x, form)
    assert len(mosaics(x, np.zeros((0, 4), int))) == 0
    with pytest.raises(TypeError, match="float64"):
        quadrant_scores(torch.zeros(1, 3), [[0, 0.7, 1, 2]], [0])
