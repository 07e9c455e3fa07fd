"""ROAD against quantus.ROAD where that works, a naive loop, and models whose truth is known."""

import warnings

import numpy as np
import pytest
import quantus
import torch
from quantus.functions.perturb_func import noisy_linear_imputation as quantus_imputation
from quantus.helpers.enums import ScoreDirection
from torch import nn

from gae_metric.companions import ROAD
from gae_metric.companions.imputation import linear_imputation
from gae_metric.companions.road import pixel_ranking

PERCENTAGES = [10, 35.5, 60, 90]


def network(channels=3, classes=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(classes),
    ).eval()


@pytest.fixture
def rgb():
    """Return a network, 11 images, their predictions and distinct attributions."""
    model = network()
    rng = np.random.default_rng(5)
    x = rng.standard_normal((11, 3, 12, 10)).astype(np.float32)
    y = predictions(model, x)
    return model, x, y, rng.standard_normal(x.shape)


def predictions(model, x):
    with torch.no_grad():
        return model(torch.as_tensor(x)).argmax(1).numpy()


def half_model():
    """Class 1 where the mean of the left half exceeds 0.5, whatever stands on the right."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).double().eval()
    left = torch.zeros(3, 8, 8, dtype=torch.double)
    left[:, :, :4] = 1 / (3 * 8 * 4)
    model[1].weight.data = torch.stack([torch.zeros(192, dtype=torch.double), left.flatten()])
    model[1].bias.data = torch.tensor([0.5, 0.0], dtype=torch.double)
    return model


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_quantus_on_one_channel_and_one_batch(seed):
    rng = np.random.default_rng(seed)
    model = network(channels=1, seed=seed)
    x = rng.standard_normal((24, 1, 12, 12)).astype(np.float32)
    y = predictions(model, x)
    a = rng.standard_normal(x.shape)
    theirs = quantus.ROAD(percentages=PERCENTAGES, noise=0.0, disable_warnings=True)
    expected = theirs(model=model, x_batch=x, y_batch=y, a_batch=a, batch_size=24)
    ours = ROAD(percentages=PERCENTAGES, noise=0.0)
    ours(model, x, y, a, batch_size=5)
    assert ours.accuracy == pytest.approx(expected, abs=1e-12)
    assert 0 < min(expected.values()) < max(expected.values()) <= 1


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("map_channels", [1, 3])
def test_equals_naive_loop_on_rgb(rgb, order, map_channels):
    model, x, y, a = rgb
    a = a[:, :map_channels]
    curves = np.zeros((len(x), len(PERCENTAGES)))
    for i in range(len(x)):
        ranked = sorted(
            range(120),
            key=lambda p, i=i: (-1 if order == "morf" else 1) * a[i].reshape(-1, 120)[:, p].sum(),
        )
        for k, percentage in enumerate(PERCENTAGES):
            removed = np.array(ranked[: int(120 * percentage / 100)])
            imputed = quantus_imputation(x[i].astype(float), removed, noise=0.0)
            curves[i, k] = predictions(model, imputed[None].astype(np.float32))[0] == y[i]
    road = ROAD(order, PERCENTAGES, noise=0.0)
    scores = road(model, x, y, a)
    np.testing.assert_array_equal(road.curves, curves)
    np.testing.assert_allclose(scores, curves.mean(axis=1), atol=1e-12)
    assert list(road.accuracy) == PERCENTAGES
    assert list(road.accuracy.values()) == pytest.approx(curves.mean(axis=0).tolist())
    assert np.mean(scores) == pytest.approx(np.mean(list(road.accuracy.values())))
    assert 0 < curves.mean() < 1


def test_components_hold_scores_and_curves(rgb):
    model, x, y, a = rgb
    road = ROAD("lerf", PERCENTAGES)
    scores = road(model, x, y, a)
    columns = ["road_lerf", "correct@10", "correct@35.5", "correct@60", "correct@90"]
    assert road.components.columns.tolist() == columns
    assert road.components["road_lerf"].tolist() == scores
    np.testing.assert_array_equal(road.components[columns[1:]].to_numpy(), road.curves)


def test_batch_size_chunks_and_threads_do_not_matter(rgb):
    model, x, y, _ = rgb
    calls = []

    def gradient(model, inputs, targets, **kwargs):
        calls.append(len(inputs))
        inputs = torch.as_tensor(inputs).requires_grad_()
        model(inputs)[torch.arange(len(inputs)), torch.as_tensor(targets)].sum().backward()
        return inputs.grad

    curves = []
    for batch_size, chunk, n_jobs in [(1, None, 1), (3, 2, 1), (64, 4, 3), (64, None, 1)]:
        calls.clear()
        road = ROAD(
            percentages=PERCENTAGES, noise=0.3, seed=7, explain_batch_size=chunk, n_jobs=n_jobs
        )
        road(model, x, y, explain_func=gradient, batch_size=batch_size)
        assert max(calls) == min(batch_size, chunk or batch_size, len(x))
        assert sum(calls) == len(x)
        curves.append(road.curves)
    for other in curves[1:]:
        np.testing.assert_array_equal(other, curves[0])


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_order_of_samples_does_not_matter(rgb, noise):
    model, x, y, a = rgb
    permutation = np.random.default_rng(0).permutation(len(x))
    road = ROAD(percentages=PERCENTAGES, noise=noise)
    scores = np.array(road(model, x, y, a))
    permuted = road(model, x[permutation], y[permutation], a[permutation])
    np.testing.assert_array_equal(permuted, scores[permutation])


class Recorder(nn.Module):
    """Keeps every image that it classifies."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.extend(x.numpy().copy())
        return torch.zeros(len(x), 2)


def test_noise_depends_on_seed_content_and_percentage_only():
    rng = np.random.default_rng(0)
    pair = rng.random((2, 3, 20, 20))
    a = np.repeat(rng.random((1, 1, 20, 20)), 2, axis=0)

    def noise(percentages, seed=0, order="morf", maps=a, x=pair):
        """Noise of both samples at each percentage, with NaN where there is none."""
        model = Recorder().eval()
        ROAD(order, percentages, noise=0.5, seed=seed)(model, x, [0, 0], maps)
        seen = np.array(model.seen[5:]).reshape(len(percentages), 2, 3, 20, 20)
        result = []
        for images in seen:  # the first calls, of five rows, only look at what the model returns
            removed = (images[0] != x[0]).all(axis=0)
            imputed = [linear_imputation(image, removed) for image in x]
            result.append(np.where(removed, images - imputed, np.nan))
        return np.array(result)

    base = noise([50, 60])
    assert np.isfinite(base).sum(axis=(-1, -2)).tolist() == [[[200] * 3] * 2, [[240] * 3] * 2]
    np.testing.assert_array_equal(noise([50, 60]), base)
    np.testing.assert_array_equal(noise([60, 50])[::-1], base)
    np.testing.assert_array_equal(noise([50.0]), base[:1])
    np.testing.assert_array_equal(noise([50, 60], x=pair[::-1])[:, ::-1], base)
    np.testing.assert_array_equal(noise([50, 60], x=pair[[1, 1]]), base[:, [1, 1]])
    for same in (noise([60], order="lerf"), noise([60], maps=-a)):
        both = np.isfinite(same[0]) & np.isfinite(base[1])
        assert both.any()
        np.testing.assert_allclose(same[0][both], base[1][both], atol=1e-12)
    for first, second in (
        (base[0, 0], base[0, 1]),
        (base[0, 0], base[1, 0]),
        (base[0, 0], noise([50], seed=1)[0, 0]),
    ):
        both = np.isfinite(first) & np.isfinite(second)
        assert abs(np.corrcoef(first[both], second[both])[0, 1]) < 0.2


def test_global_random_state_neither_matters_nor_changes(rgb):
    model, x, y, a = rgb
    road = ROAD(percentages=PERCENTAGES, noise=1.0, seed=3)
    np.random.seed(0)  # noqa: NPY002 - the state that must not matter
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    road(model, x, y, a)
    first = road.curves
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.random.seed(1)  # noqa: NPY002
    road(model, x, y, a)
    np.testing.assert_array_equal(road.curves, first)
    differs = ROAD(percentages=PERCENTAGES, noise=1.0, seed=4)
    differs(model, x, y, a)
    assert (differs.curves != first).any()


def test_known_truth():
    """Only the left half counts: the map of it is best, the map of the right half worst."""
    model = half_model()
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 0.2, (6, 3, 8, 8))
    x[:, :, 1:7, :3] = 1.0  # bright left, surrounded by dark
    y = predictions(model, x)
    assert (y == 1).all()
    good = x * (np.arange(8) < 4)
    scores = {
        (name, order): np.mean(ROAD(order, [20, 30, 40, 50], noise=0.0)(model, x, y, a))
        for name, a in (("good", good), ("bad", -good))
        for order in ("morf", "lerf")
    }
    assert scores["good", "morf"] < 0.3
    assert scores["good", "lerf"] == 1.0
    assert scores["bad", "morf"] == scores["good", "lerf"]
    assert scores["bad", "lerf"] < 0.3
    assert ROAD("morf").score_direction == ScoreDirection.LOWER
    assert ROAD("lerf").score_direction == ScoreDirection.HIGHER


def test_zero_percent_is_the_plain_accuracy(rgb):
    model, x, y, a = rgb
    wrong = y.copy()
    wrong[:3] = (wrong[:3] + 1) % 4
    road = ROAD(percentages=[0])
    road(model, x, wrong, a)
    assert road.accuracy == {0: pytest.approx(8 / 11)}


def test_ties_go_to_the_lower_index_in_both_orders():
    a = np.array([[[[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]]])
    assert pixel_ranking(a, "morf").tolist() == [[4, 0, 2, 1, 3, 5]]
    assert pixel_ranking(a, "lerf").tolist() == [[1, 3, 5, 0, 2, 4]]
    per_channel = np.array([[[[1.0, 3.0]], [[4.0, 1.0]]]])
    assert pixel_ranking(per_channel, "morf").tolist() == [[0, 1]]
    many = np.zeros((1, 1, 30, 30))
    many[0, 0, ::7] = 1.0
    high = np.flatnonzero(many.ravel())
    low = np.flatnonzero(many.ravel() == 0)
    np.testing.assert_array_equal(pixel_ranking(many, "morf")[0], [*high, *low])
    np.testing.assert_array_equal(pixel_ranking(many, "lerf")[0], [*low, *high])


def test_constant_maps_are_legal(rgb):
    model, x, y, _ = rgb
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = ROAD(percentages=PERCENTAGES)(model, x, y, np.ones((11, 12, 10)))
    assert np.isfinite(scores).all()


def test_bad_samples_stay_alone(rgb):
    model, x, y, a = rgb
    y[::2] = (y[::2] + 1) % 4  # both right and wrong predictions
    clean = ROAD(percentages=PERCENTAGES)
    expected = np.array(clean(model, x, y, a))
    bad_x, bad_a = x.copy(), a.copy()
    bad_x[1, 0, 0, 0] = np.nan
    bad_a[4, 1, 3, 3] = np.inf
    road = ROAD(percentages=PERCENTAGES)
    with pytest.warns(RuntimeWarning, match=r"2 samples \(1, 4\)") as caught:
        scores = road(model, bad_x, y, bad_a, batch_size=3)
    assert len(caught) == 1
    good = np.delete(np.arange(11), [1, 4])
    assert np.isnan(scores)[[1, 4]].all()
    np.testing.assert_array_equal(np.array(scores)[good], expected[good])
    np.testing.assert_allclose(list(road.accuracy.values()), road.curves[good].mean(axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ROAD(percentages=PERCENTAGES, disable_warnings=True)(model, bad_x, y, bad_a)


def test_output_that_is_not_finite(rgb):
    _, x, y, a = rgb

    class Fragile(nn.Module):
        def forward(self, x):
            # Overflows for the one sample that holds a value above 100.
            total = torch.where(x.amax((1, 2, 3)) > 100, torch.inf, 0.0)
            return torch.stack([total, torch.ones(len(x))], dim=1)

    # Removed at 50 %, after which the output is finite: the sample's curve is NaN all the same.
    x[4, 0, 0, 0] = 101.0
    a[4, :, 0, 0] = np.sort(a[4].sum(0).ravel())[-30] / 3
    road = ROAD(percentages=[50, 10], noise=0.0)
    with pytest.warns(RuntimeWarning, match=r"1 samples \(4\)"):
        scores = road(Fragile().eval(), x, y * 0 + 1, a)
    assert np.isnan(road.curves[4]).all()
    assert road.accuracy == {50: 1.0, 10: 1.0}
    assert np.isnan(scores[4])
    assert scores[:4] + scores[5:] == [1.0] * 10


def test_all_samples_bad(rgb):
    model, x, y, a = rgb
    road = ROAD(percentages=[10])
    with pytest.warns(RuntimeWarning):
        assert np.isnan(road(model, x, y, a * np.nan)).all()
    assert np.isnan(road.accuracy[10])
