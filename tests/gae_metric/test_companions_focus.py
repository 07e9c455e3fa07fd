"""Focus against quantus.Focus on the same mosaics and against a naive share."""

import warnings

import numpy as np
import pytest
import quantus
import torch
from torch import nn

from gae_metric.companions import Focus, FocusPlan
from gae_metric.companions.focus import focus_mosaics, focus_scores
from gae_metric.functional import content_hashes, positive_map
from gae_metric.study.explaining import tensor_explainer


def network(channels=3, classes=3, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(54, classes),
    ).to(dtype)


def gradient(model, inputs, targets, **kwargs):
    """Input times gradient, of the kind that came in."""
    leaf = torch.as_tensor(inputs).clone().requires_grad_()
    model(leaf)[torch.arange(len(leaf)), torch.as_tensor(targets)].sum().backward()
    maps = (leaf * leaf.grad).detach()
    return maps if isinstance(inputs, torch.Tensor) else maps.numpy()


@pytest.fixture
def data():
    x = np.random.default_rng(2).standard_normal((11, 3, 8, 10))
    return network().eval(), x, np.arange(11) % 3


@pytest.mark.parametrize("mosaic_size", ["input", "double"])
@pytest.mark.parametrize("one_channel", [False, True])
def test_equals_quantus_on_the_same_mosaics(data, mosaic_size, one_channel):
    model, x, y = data

    def explain(model, inputs, targets, **kwargs):
        maps = gradient(model, inputs, targets)
        return maps.sum(axis=1, keepdims=True) if one_channel else maps

    focus = Focus(seed=4, mosaic_size=mosaic_size)
    scores = focus(model, x, y, explain_func=explain)
    plan = FocusPlan.draw(content_hashes(x), y, 4)
    mosaics = focus_mosaics(torch.as_tensor(x), plan.indices, mosaic_size).numpy()
    theirs = quantus.Focus(disable_warnings=True)(
        model=model,
        x_batch=mosaics,
        y_batch=y,
        channel_first=True,
        custom_batch=plan.target.astype(int),
        explain_func=explain,
    )
    np.testing.assert_allclose(scores, theirs, rtol=0, atol=1e-8)
    assert np.ptp(scores) > 0.1
    np.testing.assert_array_equal(focus.plan.indices, plan.indices)
    assert focus.components.columns.tolist() == ["focus"]
    assert focus.components["focus"].tolist() == scores


def test_a_plan_of_other_classes_is_refused(data):
    model, x, y = data
    plan = FocusPlan.draw(content_hashes(x), y, 4)
    other = y.copy()
    other[4] = 2
    wrong = np.flatnonzero((plan.target & (plan.indices == 4)).any(axis=1))
    with pytest.raises(ValueError, match=f"mosaics: .* target quadrants of sample {wrong[0]}, got"):
        Focus(mosaics=plan)(model, x, other, explain_func=gradient)


@pytest.mark.parametrize("shape", [(6, 6), (5, 7)])
def test_equals_naive_share(shape):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((9, 2, *shape))
    target = np.array([rng.permutation([True, True, False, False]) for _ in range(9)])
    scores = focus_scores(positive_map(torch.as_tensor(a)), target)
    for i in range(9):
        total = wanted = 0.0
        for channel in range(2):
            for r in range(shape[0]):
                for c in range(shape[1]):
                    value = max(a[i, channel, r, c], 0.0)
                    total += value
                    quadrant = 2 * (r >= (shape[0] + 1) // 2) + (c >= (shape[1] + 1) // 2)
                    wanted += value * target[i, quadrant]
        assert float(scores[i]) == pytest.approx(wanted / total, abs=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (7, 9)])
@pytest.mark.parametrize("mosaic_size", ["input", "double"])
def test_known_truth(shape, mosaic_size):
    """Images carry their class as their value: maps of the class and of all others are known."""
    y = np.array([1, 2, 3, 1, 2, 3, 3])
    x = np.broadcast_to(y[:, None, None, None], (7, 3, *shape)).astype(np.float32)
    model = network(classes=4).eval()
    options = {"model": model, "x_batch": x, "y_batch": y}

    def right(model, inputs, targets):
        return inputs == targets[:, None, None, None]

    def wrong(model, inputs, targets):
        return inputs != targets[:, None, None, None]

    def constant(model, inputs, targets):
        return np.ones_like(inputs[:, 0])

    focus = Focus(mosaic_size=mosaic_size)
    assert focus(**options, explain_func=right) == [1.0] * 7
    assert focus(**options, explain_func=wrong) == [0.0] * 7
    chance = focus(**options, explain_func=constant)
    assert np.mean(chance) == pytest.approx(0.5, abs=0.15)
    if shape == (8, 8) or mosaic_size == "double":
        assert chance == [0.5] * 7


def test_batches_chunks_and_scale_do_not_matter(data):
    model, x, y = data
    calls = []

    def explain(model, inputs, targets, scale=1.0, **kwargs):
        calls.append(len(inputs))
        return scale * gradient(model, inputs, targets)

    expected = None
    for batch_size, chunk, scale in [(64, None, 1), (1, None, 1), (3, 2, 1), (5, 64, 1e-30)]:
        calls.clear()
        scores = Focus(seed=1, explain_batch_size=chunk)(
            model,
            x,
            y,
            explain_func=explain,
            explain_func_kwargs={"scale": scale},
            batch_size=batch_size,
        )
        assert max(calls) == min(chunk or batch_size, len(x))
        expected = scores if expected is None else expected
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-9)
    other = Focus(seed=2)(model, x, y, explain_func=explain)
    assert np.abs(np.subtract(other, expected)).max() > 1e-3


def test_permuted_samples_with_the_plan_permuted_alike(data):
    model, x, y = data
    plan = FocusPlan.draw(content_hashes(x), y, 0)
    scores = Focus(mosaics=plan)(model, x, y, explain_func=gradient)
    assert scores == Focus()(model, x, y, explain_func=gradient)
    order = np.random.default_rng(0).permutation(len(x))
    moved = Focus(mosaics=plan.permute(order))(model, x[order], y[order], explain_func=gradient)
    np.testing.assert_allclose(moved, np.array(scores)[order], atol=1e-9)


def test_kinds_of_maps_and_input(data):
    model, x, y = data
    expected = Focus()(model, x, y, explain_func=gradient)

    def tensor(model, inputs, targets, **kwargs):
        return torch.as_tensor(gradient(model, inputs, targets))

    assert Focus()(model, x, y, explain_func=tensor) == expected
    assert Focus()(model, x, y, explain_func=tensor_explainer(tensor)) == expected
    assert Focus()(model, torch.tensor(x), torch.tensor(y), explain_func=gradient) == expected
    last = x.transpose(0, 2, 3, 1)
    assert Focus()(model, last, y, channel_first=False, explain_func=gradient) == expected
    assert Focus()(model, x, y, a_batch=np.zeros(x.shape), explain_func=gradient) == expected
    normalised = Focus(normalise=True)(model, x, y, explain_func=gradient)
    np.testing.assert_allclose(normalised, expected, atol=1e-9)
    absolute = Focus(abs=True)(model, x, y, explain_func=gradient)
    assert np.abs(np.subtract(absolute, expected)).max() > 1e-3


def test_class_without_second_member(data):
    model, x, y = data
    y = np.array([0, 0, 0, 0, 1, 1, 1, 2, 1, 1, 0])
    with pytest.warns(RuntimeWarning, match=r"no other.*1 samples \(7\)") as caught:
        scores = Focus()(model, x, y, explain_func=gradient)
    assert len(caught) == 1
    assert np.flatnonzero(np.isnan(scores)).tolist() == [7]


def test_single_class(data):
    model, x, y = data
    with pytest.raises(ValueError, match="at least two classes"):
        Focus()(model, x, y * 0, explain_func=gradient)


def test_an_image_of_two_classes_is_told(data):
    model, x, _ = data
    x = x[[0, 0, 0, 1, 1, 1]]
    with pytest.warns(RuntimeWarning, match=r"and of others: 6 samples \(0, 1, 2, 3, 4, 5\)"):
        Focus()(model, x, np.array([0, 1, 0, 1, 0, 1]), explain_func=gradient)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Focus()(model, x, np.array([0, 0, 0, 1, 1, 1]), explain_func=gradient)


def test_bad_samples_stay_alone(data):
    model, x, y = data
    expected = np.array(Focus()(model, x, y, explain_func=gradient))
    plan = FocusPlan.draw(content_hashes(x), y, 0)
    assert (plan.indices == 4).sum() > 1  # others meet sample 4
    x[4, 0, 0, 0] = np.nan
    with pytest.warns(RuntimeWarning, match=r"not finite: 1 samples \(4\)") as caught:
        scores = np.array(Focus()(model, x, y, explain_func=gradient, batch_size=3))
    assert len(caught) == 1
    assert np.flatnonzero(np.isnan(scores)).tolist() == [4]
    untouched = ~(plan.indices == 4).any(axis=1)
    assert untouched.any()
    np.testing.assert_allclose(scores[untouched], expected[untouched], atol=1e-9)


def test_maps_that_are_not_finite(data):
    model, x, y = data
    expected = Focus()(model, x, y, explain_func=gradient)
    spoiled = iter(range(11))

    def explain(model, inputs, targets, **kwargs):
        maps = gradient(model, inputs, targets)
        if next(spoiled) in (2, 9):
            maps[0, 0, 0, 0] = -np.inf
        return maps

    with pytest.warns(RuntimeWarning, match=r"not finite: 2 samples \(2, 9\)") as caught:
        scores = Focus(explain_batch_size=1)(model, x, y, explain_func=explain)
    assert len(caught) == 1
    assert np.flatnonzero(np.isnan(scores)).tolist() == [2, 9]
    good = np.delete(np.arange(11), [2, 9])
    np.testing.assert_allclose(np.array(scores)[good], np.array(expected)[good], atol=1e-9)


def test_nothing_positive(data):
    model, x, y = data

    def negative(model, inputs, targets):
        return -np.ones_like(inputs)

    with pytest.warns(RuntimeWarning, match=r"11 maps have no positive value"):
        assert Focus()(model, x, y, explain_func=negative) == [0.0] * 11
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Focus(disable_warnings=True)(model, x, y, explain_func=negative)


def test_quantus_conventions(data):
    model, x, y = data
    options = {"method": "mine"}
    seen = []

    def explain(model, inputs, targets, **kwargs):
        seen.append(kwargs)
        return gradient(model, inputs, targets)

    focus = Focus(return_aggregate=True)
    mean = focus(
        model, x, y, explain_func=explain, explain_func_kwargs=options, device=torch.device("cpu")
    )
    assert options == {"method": "mine"}
    assert seen == [{"method": "mine", "device": torch.device("cpu")}]
    assert mean == [pytest.approx(focus.components["focus"].mean())]
    assert focus.evaluation_scores == focus.all_evaluation_scores == mean
    with pytest.raises(ValueError, match="Unexpected keyword"):
        focus(model, x, y, explain_func=explain, custom_batch=np.ones((11, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mosaic_size": "half"}, "mosaic_size: expected"),
        ({"mosaics": np.zeros((3, 4))}, "mosaics: expected a FocusPlan"),
        ({"seed": "0"}, "seed: expected"),
    ],
)
def test_refuses_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        Focus(**options)


def test_refuses_arguments(data):
    model, x, y = data
    with pytest.raises(ValueError, match="no explain_func was given"):
        Focus()(model, x, y)
    with pytest.raises(ValueError, match="explain_func: expected maps of shape"):
        Focus()(model, x, y, explain_func=lambda **_: np.zeros((11, 3, 4, 4)))
    with pytest.raises(ValueError, match="for the 11 samples of x_batch, got one for 6"):
        Focus(mosaics=FocusPlan.draw(np.arange(6), y[:6]))(model, x, y, explain_func=gradient)
    with pytest.raises(ValueError, match="x_batch: mosaics need"):
        Focus()(model, x[:, :, :1], y, explain_func=gradient)
    with pytest.raises(ValueError, match=r"quantus\.explain has no method 'Mine'"):
        Focus()(
            model,
            x,
            y,
            a_batch=x,
            explain_func=quantus.explain,
            explain_func_kwargs={"method": "Mine"},
        )
    with pytest.raises(ValueError, match="evaluation mode"):
        Focus()(model.train(), x, y, explain_func=gradient)
