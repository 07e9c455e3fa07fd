"""Targets, several mosaics, masking options and the repository protocol."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import quantus
import torch

from gae_metric import GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, MosaicPlan
from gae_metric.companions import ABPC, AOPC, ROAD, Focus
from gae_metric.functional import content_hashes, positive_map
from tests.gae_metric.nets import (
    Counting,
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    top_classes,
)


def scores(metric, *args, **kwargs):
    metric(*args, **kwargs)
    return metric.components[list(metric.columns)].to_numpy()


def case(shape=(3, 12, 12), n=5):
    net = conv_net(shape[0])
    x = images(n, shape)
    return net, x, top_classes(net, x)


def test_predicted_targets():
    net, x, y = case(n=6)
    expected = scores(GAE(), net, x, y, explain_func=gradient_tensor)
    for labels in ((y + 1) % 5, None):
        found = scores(GAE(targets="predicted"), net, x, labels, explain_func=gradient_tensor)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "metric",
    [
        lambda: GAE(targets="predicted"),
        lambda: LocalFaithfulness(targets="predicted"),
        lambda: GAE(protocol="repository"),
    ],
)
def test_maps_of_other_classes_are_not_taken_for_those_of_the_predicted(metric):
    """quantus.evaluate passes maps of y_batch, whatever the metric explains."""
    net, x, y = case(n=8)
    labels = (y + np.arange(8) % 2) % 5
    expected = metric()(net, x, labels, explain_func=input_x_gradient)
    methods = {"IxG": input_x_gradient}
    found = quantus.evaluate({"metric": metric()}, methods, net, x, labels, explain_func_kwargs={})[
        "IxG"
    ]["metric"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_maps_alone_are_taken_for_those_of_the_predicted_classes():
    net, x, y = case(n=6)
    maps, labels = input_x_gradient(net, x, y), np.where(np.arange(6) < 2, (y + 1) % 5, y)
    metric = LocalFaithfulness(targets="predicted")
    expected = metric(net, x, None, a_batch=maps)
    with pytest.warns(RuntimeWarning, match="predicted classes, .* for 2 samples"):
        assert metric(net, x, labels, a_batch=maps) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metric(net, x, y, a_batch=maps) == expected


def test_several_mosaics_are_averaged():
    net, x, y = case(n=6)
    plans = [MosaicPlan.draw(content_hashes(x), y, repeat=repeat) for repeat in range(3)]
    each = [
        scores(Contrastiveness(mosaics=p), net, x, y, explain_func=gradient_tensor) for p in plans
    ]
    expected = np.mean(each, axis=0)
    counting = Counting(gradient_tensor)
    metric = Contrastiveness(n_mosaics=3)
    found = scores(metric, net, x, y, explain_func=counting)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert counting.samples == 18
    assert metric.mosaic_indices.shape == (6, 3, 4)
    found = scores(Contrastiveness(mosaics=plans), net, x, y, explain_func=gradient_tensor)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "option",
    [
        {"mask_value": "mean"},
        {"mask_value": "blur"},
        {"mask_value": 1.5},
        {"schedule": "uniform"},
        {"steps": 4},
        {"interpolation": "bilinear"},
    ],
)
def test_options_change_scores(option):
    net, x, y = case(n=6)
    expected = scores(GAE(), net, x, y, explain_func=gradient_tensor)
    found = scores(GAE(**option), net, x, y, explain_func=gradient_tensor)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() > 1e-3


def test_repository_protocol():
    net, x, _ = case(n=11)
    labels = np.random.default_rng(0).integers(0, 5, 11)
    predicted = top_classes(net, x)
    metric = GAE(protocol="repository")
    counting = Counting(gradient_tensor)
    found = scores(metric, net, x, labels, explain_func=counting)
    assert counting.samples == 2 * 20
    positives = metric.components.index.to_numpy()  # one of each four; three samples are left out
    assert positives.tolist() == [pytest.approx(1.5, abs=1.5), pytest.approx(5.5, abs=1.5)]
    assert metric.mosaic_indices[:, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    # By hand: predictions are explained, labels score the quadrants, the centre counts as positive.
    for row, positive in enumerate(positives):
        four = metric.mosaic_indices[row, 0]
        mosaic = np.block(
            [[x[four[0], :, ::2, ::2], x[four[1], :, ::2, ::2]],
             [x[four[2], :, ::2, ::2], x[four[3], :, ::2, ::2]]]
        )  # fmt: skip
        target = torch.tensor(predicted[[positive]])
        a = positive_map(gradient_tensor(net, torch.tensor(mosaic)[None], target))[0, 0].numpy()
        s = net(torch.tensor(x[[positive]])).softmax(1)[0].detach().numpy()
        share = np.minimum(1, 2 * s[labels[four]] / s[labels[positive]] - 1)
        share[four == positive] = 1
        score_map = np.kron(share.reshape(2, 2), np.ones((6, 6)))
        score_map[5:7, 5:7] = 1
        expected = max(0, (a * score_map).sum() / a.sum())
        assert found[row, 3] == pytest.approx(expected, abs=1e-6)
    lc = scores(LocalConsistency(targets="predicted"), net, x, None, explain_func=gradient_tensor)
    np.testing.assert_allclose(found[:, 2], lc[positives, 2], rtol=0, atol=1e-9)


def test_repository_positives_follow_the_softmax_of_the_mosaic():
    net, x, y = case(n=4)
    many, repeats = np.tile(x, (300, 1, 1, 1)), 300  # the same four samples in each group
    metric = Contrastiveness(protocol="repository")
    metric(net, many, np.tile(y, repeats), explain_func=gradient_tensor)
    drawn = np.bincount(metric.mosaic_positive[:, 0], minlength=4) / repeats
    small = x[:, :, ::2, ::2]
    mosaic = np.block([[small[0], small[1]], [small[2], small[3]]])
    logits = net(torch.tensor(mosaic)[None])[0, torch.tensor(y)]
    chance = logits.softmax(0).detach().numpy()
    assert np.abs(drawn - chance).max() < 0.11  # four standard deviations
    assert chance.max() - chance.min() > 0.15


def test_repository_at_another_batch_size_is_the_same():
    net, x, y = case(n=12)
    results = [
        scores(GAE(protocol="repository"), net, x, y, explain_func=gradient_tensor, batch_size=size)
        for size in (1, 3, 64)
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=0, atol=1e-6)


def test_features_are_entries_or_positions(monkeypatch):
    net = conv_net()
    x = images(5)
    y = top_classes(net, x)
    with pytest.raises(ValueError, match='features: expected "entries" or'):
        GAE(features="x")
    found = {}
    for features in ("entries", "positions", "entries"):  # no trajectory stands for another
        metric = GAE(features=features, interpolation="none", steps=4)
        metric(net, x, y, explain_func=gradient_tensor)
        expected = found.setdefault(features, metric.components)
        pd.testing.assert_frame_equal(metric.components, expected)
    difference = found["entries"].lc_faithfulness - found["positions"].lc_faithfulness
    assert difference.abs().max() > 0.05
    assert found["entries"].contrastiveness.equals(found["positions"].contrastiveness)


def test_full_size_mosaics_are_scored_by_their_own_quadrants():
    """A map that is 1 on the positive alone, wherever its quadrant is."""
    net = conv_net()
    x = images(5, (3, 7, 9))
    seen = []

    def on_the_positive(model, inputs, targets, **kwargs):
        seen.append(inputs.shape[1:])
        maps = np.zeros((len(inputs), 1, *inputs.shape[2:]))
        for one, made in zip(maps, inputs, strict=True):
            for i in range(2):
                for j in range(2):
                    part = (slice(7 * i, 7 * i + 7), slice(9 * j, 9 * j + 9))
                    of = next(k for k in range(5) if np.array_equal(x[k], made[(..., *part)]))
                    one[(0, *part)] = y[of] == targets[len(seen_rows)]
            seen_rows.append(0)
        seen_rows.clear()
        return maps

    seen_rows = []
    y = np.arange(5)
    metric = Contrastiveness(interpolation="none", explain_batch_size=5)
    assert metric(net, x, y, explain_func=on_the_positive) == pytest.approx([1] * 5)
    assert seen == [(3, 14, 18)]


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (GAE, "targets", "prediction"),
        (GAE, "explain_batch_size", 0),
        (LocalConsistency, "output", 3.5),
        (LocalFaithfulness, "steps", 1),
        (Contrastiveness, "explain_batch_size", -3),
        (ROAD, "order", "LERF"),
        (ROAD, "percentages", [150]),
        (ROAD, "noise", -1),
        (ROAD, "n_jobs", 0),
        (ROAD, "seed", -1),
        (AOPC, "regions", 0),
        (ABPC, "size", 1.5),
        (Focus, "mosaic_size", "large"),
        (Focus, "mosaics", 3),
    ],
)
def test_options_that_are_set_later_are_refused_as_those_of_the_constructor(kind, name, value):
    net, x, y = case()
    metric = kind()
    setattr(metric, name, value)
    for made in (lambda: kind(**{name: value}), lambda: metric(net, x, y, explain_func=None)):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            made()


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16])
def test_small_integers_of_numpy_are_integers(kind):
    net, x, y = case()
    numbers = {"steps": 5, "seed": 1, "n_mosaics": 2, "explain_batch_size": 100}
    made, later = GAE(**{name: kind(value) for name, value in numbers.items()}), GAE(**numbers)
    later.steps = kind(5)
    expected = scores(GAE(**numbers), net, x, y, explain_func=input_x_gradient)
    for metric in (made, later):
        found = scores(metric, net, x, y, explain_func=input_x_gradient)
        np.testing.assert_array_equal(found, expected)


def test_an_order_that_is_set_later_is_read_its_own_way():
    net, x, y = case()
    metric = ROAD(percentages=[30])
    assert metric.score_direction.value == "lower"
    metric.order = "lerf"
    scores = metric(net, x, y, explain_func=gradient_tensor)
    assert metric.score_direction.value == "higher"
    assert scores == ROAD("lerf", [30])(net, x, y, explain_func=gradient_tensor)


@pytest.mark.parametrize(
    "metric",
    [GAE(steps=3), ROAD(percentages=[30]), ABPC(2, 3), Focus()],
    ids=lambda metric: metric.name,
)
def test_a_call_that_fails_leaves_no_results_of_the_one_before(metric):
    def failing(**given):
        raise RuntimeError("of no use")

    net, x, _ = case()
    held = ("components", "evaluation_scores", *metric.results)
    metric(net, x, np.arange(5) % 2, explain_func=gradient_tensor)
    assert all(np.size(getattr(metric, name)) for name in held)
    with pytest.raises(RuntimeError, match="of no use"):
        metric(net, x, np.arange(5) % 2, explain_func=failing)
    assert all(not np.size(getattr(metric, name)) or not getattr(metric, name) for name in held)


@pytest.mark.parametrize(
    ("metric", "option"),
    [
        (GAE(interpolation="none"), 'interpolation "none"'),
        (Contrastiveness(interpolation="none"), 'interpolation "none"'),
        (Focus(mosaic_size="double"), 'mosaic_size "double"'),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_mosaics_that_a_model_does_not_take_are_refused_before_the_work(metric, option):
    def never(**given):
        raise AssertionError("explained")

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    x = images(5, (3, 4, 4), np.float32)
    with pytest.raises(ValueError, match=f"^{option}: the model takes samples, but no larger"):
        metric(model, x, [0, 1, 2, 0, 1], explain_func=never)
    # Of a model that takes no sample either, the samples are what is wrong.
    with pytest.raises(ValueError, match="model: expected one that takes samples of x_batch"):
        metric(model, images(5, (3, 5, 5), np.float32), [0, 1, 2, 0, 1], explain_func=never)
