"""Linear imputation against a dense solve written apart from it and against Quantus's function."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantus.functions.perturb_func import noisy_linear_imputation as quantus_imputation

from gae_metric.companions import linear_imputation
from gae_metric.companions.imputation import noisy_linear_imputation


def dense_imputation(image, removed):
    """Write down every pixel's own equation and solve them all with numpy."""
    channels, height, width = image.shape
    matrix = np.eye(height * width)
    right = image.reshape(channels, -1).astype(float).copy()
    for r, c in zip(*np.nonzero(removed), strict=True):
        row = r * width + c
        right[:, row] = 0.0
        weights = {}
        for dr in (-1, 0, 1):
            for dc in (-1, 0, 1):
                if (dr, dc) != (0, 0) and 0 <= r + dr < height and 0 <= c + dc < width:
                    weights[(r + dr) * width + c + dc] = 1 / 6 if 0 in (dr, dc) else 1 / 12
        for neighbour, weight in weights.items():
            matrix[row, neighbour] -= weight / sum(weights.values())
    return np.linalg.solve(matrix, right.T).T.reshape(image.shape)


def random_mask(rng, shape, share):
    size = shape[0] * shape[1]
    removed = np.zeros(size, dtype=bool)
    removed[rng.permutation(size)[: int(share * size)]] = True
    return removed.reshape(shape)


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 4),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 2**31),
)
def test_equals_dense_solve(channels, height, width, share, seed):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((channels, height, width))
    removed = random_mask(rng, (height, width), share)
    expected = dense_imputation(image, removed)
    np.testing.assert_allclose(linear_imputation(image, removed), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", [(1, 9, 14), (3, 16, 16), (3, 23, 7), (3, 64, 64)])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_equals_quantus(shape, share):
    rng = np.random.default_rng(3)
    image = rng.standard_normal(shape)
    removed = random_mask(rng, shape[1:], share)
    expected = quantus_imputation(image, np.flatnonzero(removed), noise=0.0)
    np.testing.assert_allclose(linear_imputation(image, removed), expected, rtol=0, atol=1e-8)


def test_restores_a_linear_ramp():
    """A linear function is the weighted mean of its neighbours wherever all eight exist."""
    rows, columns = np.mgrid[:20, :30]
    ramp = np.stack([2.0 * rows - columns, columns + 5.0])
    removed = np.zeros((20, 30), dtype=bool)
    removed[3:17, 4:28] = True
    np.testing.assert_allclose(linear_imputation(ramp, removed), ramp, atol=1e-10)


def test_a_large_smooth_hole_stays_between_its_neighbours():
    rng = np.random.default_rng(0)
    image = rng.random((3, 160, 120))
    removed = np.zeros((160, 120), dtype=bool)
    removed[5:155, 3:119] = True
    imputed = linear_imputation(image, removed)
    assert imputed.min() >= image.min() - 1e-9
    assert imputed.max() <= image.max() + 1e-9
    assert np.ptp(imputed[:, 60:100, 40:80]) < 0.1 * np.ptp(image)


def test_keeps_what_stays_and_its_argument():
    rng = np.random.default_rng(1)
    image = rng.random((3, 8, 8)).astype(np.float32)
    before = image.copy()
    removed = random_mask(rng, (8, 8), 0.4)
    imputed = linear_imputation(image, removed)
    assert imputed.dtype == np.float64
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(imputed[:, ~removed], image[:, ~removed])
    np.testing.assert_array_equal(linear_imputation(image, np.zeros((8, 8), dtype=bool)), image)


def test_noise_of_a_pixel_does_not_depend_on_the_others():
    image = np.random.default_rng(0).random((3, 20, 20))
    noises = []
    for seed in (1, 2):
        removed = random_mask(np.random.default_rng(seed), (20, 20), 0.6)
        noisy = noisy_linear_imputation(image, removed, 0.5, np.random.default_rng(9))
        noise = noisy - linear_imputation(image, removed)
        assert (noise[:, ~removed] == 0).all()
        assert noise[:, removed].std() == pytest.approx(0.5, rel=0.1)
        noises.append(np.where(removed, noise, np.nan))
    both = np.isfinite(noises[0]) & np.isfinite(noises[1])
    assert both.sum() > 100
    np.testing.assert_allclose(noises[0][both], noises[1][both], atol=1e-12)
    assert np.abs(noises[0][0] - noises[0][1])[both[0]].max() > 0.5


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (np.ones((8, 8), dtype=bool), "expected a pixel that stays"),
        (np.ones((8, 7), dtype=bool), r"boolean mask \(H, W\)"),
        (np.zeros((8, 8)), "boolean mask"),
    ],
)
def test_refuses(removed, message):
    with pytest.raises(ValueError, match=message):
        linear_imputation(np.ones((3, 8, 8)), removed)


def test_an_image_may_lie_in_any_order_of_memory():
    image = np.random.default_rng(0).random((3, 6, 7))
    removed = np.zeros((6, 7), dtype=bool)
    removed[2, 2:5] = True
    expected = linear_imputation(image, removed)
    assert np.abs(expected - image).max() > 0.1
    for other in (np.asfortranarray(image), image.transpose(0, 2, 1).copy().transpose(0, 2, 1)):
        np.testing.assert_allclose(linear_imputation(other, removed), expected, atol=1e-12)
