"""Scores that cannot mean anything are refused, NaN, or warned of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import abslrp
from gae_metric import GAE, Contrastiveness, LocalConsistency, MosaicPlan, ProbeSet
from gae_metric.companions import ROAD, Focus
from gae_metric.demo import digits, networks
from gae_metric.explainers import gradcam, input_x_gradient, random_map
from gae_metric.functional import content_hashes
from tests.gae_metric.nets import conv_net, gradient_tensor, images, top_classes
from tests.naive import draws, gae


@pytest.fixture(scope="module")
def case():
    net = conv_net()
    x = images(8, (3, 10, 10))
    return net, x, top_classes(net, x)


def told(metric, *args, **kwargs):
    """Scores, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = metric(*args, **kwargs)
    return np.array(scores), [str(each.message) for each in caught]


@pytest.mark.parametrize("metric", [GAE, LocalConsistency, ROAD, Focus])
def test_warnings_name_the_line_of_the_call(case, metric):
    net, x, y = case
    bad = x.copy()
    bad[3] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metric()(net, bad, y, explain_func=random_map, softmax=True)
    assert len(caught) > 1
    assert {each.filename for each in caught} == {__file__}


def made(probe):
    """Names and inputs of all items."""
    ((ids, x, _),) = probe.explain_items(len(probe))
    return ids, x


# One class


@pytest.mark.parametrize("metric", [GAE, Contrastiveness])
def test_one_class_is_refused(case, metric):
    net, x, _ = case
    with pytest.raises(ValueError, match=r"y_batch: .* at least two classes, .* all 8 samples"):
        metric()(net, x, [2] * 8, explain_func=random_map)
    always = conv_net()
    with torch.no_grad():
        always[8].weight.zero_()
        always[8].bias.copy_(torch.arange(5))
    with pytest.raises(ValueError, match=r"targets: .* at least two classes"):
        metric(targets="predicted")(always, x, None, explain_func=random_map)
    bad = x.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match=r"all 7 samples"):
        metric()(net, bad, [2] * 8, explain_func=random_map)


def test_seven_of_eight_alike(case):
    """Each mosaic has the one of another class."""
    net, x, _ = case
    metric = Contrastiveness()
    scores, _ = told(metric, net, x, [2] * 7 + [3], explain_func=random_map)
    assert (metric.mosaic_indices == 7).any(axis=-1).all()
    assert np.isfinite(scores).all()


def test_mosaics_of_a_plan_that_show_one_class_have_no_score(case):
    net, x, _ = case
    indices = [[i, *[(4 * (i // 4) + (i + k) % 4) for k in (1, 2, 3)]] for i in range(8)]
    plan = MosaicPlan(np.array(indices), np.zeros(8, dtype=int))
    classes = [1, 1, 1, 1, 0, 1, 2, 3]  # the first four are in one another's mosaics
    metric = GAE(mosaics=plan, steps=3)
    scores, messages = told(metric, net, x, classes, explain_func=gradient_tensor)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [0, 1, 2, 3]
    assert np.isfinite(metric.components["local_consistency"]).all()
    nan = [m for m in messages if "NaN" in m]
    assert nan == [
        "GAE: 4 scores are NaN. no sample of another class is in the mosaic: samples 0, 1, 2, 3"
    ]


def test_a_probe_set_keeps_the_reason(case, tmp_path):
    net, x, _ = case
    indices = [[i, *[(4 * (i // 4) + (i + k) % 4) for k in (1, 2, 3)]] for i in range(8)]
    plan = MosaicPlan(np.array(indices), np.zeros(8, dtype=int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probe = ProbeSet.build(
            net, x, [1] * 4 + [0, 1, 2, 3], metric="Contrastiveness", mosaics=plan
        )
    probe.save(tmp_path / "probe.npz")
    for one in (probe, ProbeSet.load(tmp_path / "probe.npz")):
        maps = {ids[k]: m for ids, xs, _ in one.explain_items() for k, m in enumerate(np.abs(xs))}
        with pytest.warns(RuntimeWarning, match=r"no sample of another class .* 0, 1, 2, 3"):
            assert np.isnan(one.score(maps)["contrastiveness"]).sum() == 4


def test_identical_images_in_one_mosaic_are_told(case):
    net, x, y = case
    double = np.concatenate([x[:2], x[:2], x[:2]])
    classes = [0, 1, 0, 1, 0, 1]
    _, messages = told(Contrastiveness(), net, double, classes, explain_func=gradient_tensor)
    assert any("6 samples have a mosaic that shows the same image twice" in m for m in messages)
    _, messages = told(Contrastiveness(), net, x, y, explain_func=gradient_tensor)
    assert not any("twice" in m for m in messages)


# Probabilities, and one output


def test_probabilities_are_told_and_mended():
    net, (x, y) = networks.load("resnet"), digits.load("test", n=8)
    soft = nn.Sequential(net, nn.Softmax(1)).eval()
    _, messages = told(Contrastiveness(), net, x, y, explain_func=gradcam)
    assert not any("softmax" in m for m in messages)
    for metric in (GAE(steps=3), Contrastiveness(), LocalConsistency(steps=3)):
        _, messages = told(metric, soft, x, y, explain_func=input_x_gradient)
        assert sum("as after a softmax" in m and 'output="log"' in m for m in messages) == 1
    sigmoid = nn.Sequential(net, nn.Sigmoid()).eval()
    _, messages = told(Contrastiveness(), sigmoid, x, y, explain_func=input_x_gradient)
    assert sum("as after a sigmoid" in m and "output=torch.logit" in m for m in messages) == 1
    found, messages = told(Contrastiveness(output="log"), soft, x, y, explain_func=constant)
    logits, _ = told(Contrastiveness(), net, x, y, explain_func=constant)
    np.testing.assert_allclose(found, logits, atol=1e-4)
    assert not any("softmax" in m for m in messages)
    lc, _ = told(LocalConsistency(), net, x, y, explain_func=input_x_gradient)
    log, _ = told(LocalConsistency(output="log"), soft, x, y, explain_func=input_x_gradient)
    assert abs(lc.mean() - log.mean()) < 0.15  # the plain logarithm gives 0
    assert log.min() > 0.2


def test_log_probabilities_are_told_and_mended():
    net, (x, y) = networks.load("resnet"), digits.load("test", n=8)
    soft, log = (nn.Sequential(net, last).eval() for last in (nn.Softmax(1), nn.LogSoftmax(1)))
    for metric in (GAE(steps=3), Contrastiveness(), LocalConsistency(steps=3)):
        _, messages = told(metric, log, x, y, explain_func=input_x_gradient)
        assert (
            sum("a log_softmax; scores" in m and 'output="log_softmax"' in m for m in messages) == 1
        )
    expected, _ = told(GAE(output="log"), soft, x, y, explain_func=input_x_gradient)
    found, messages = told(GAE(output="log_softmax"), log, x, y, explain_func=input_x_gradient)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert expected.max() > 0.02
    assert not messages


def test_one_probability_in_place_of_a_logit_is_told():
    net, (x, y) = networks.load("resnet"), digits.load("test", n=8)
    for last, told_of in ((nn.Sigmoid(), 1), (nn.Identity(), 0)):
        model = nn.Sequential(net, nn.Linear(10, 1), last).eval()
        metric = Contrastiveness(output="binary")
        _, messages = told(metric, model, x, y % 2, explain_func=input_x_gradient)
        assert sum("after a sigmoid" in m and "logit(p)]" in m for m in messages) == told_of


def constant(model, inputs, targets, **kwargs):
    return inputs[:, :1] * 0 + 1


@pytest.mark.parametrize("classes", [[0] * 6, [0, 1] * 3])
def test_one_output_has_one_message(classes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 1)).eval()
    x = images(6, (3, 16, 16), np.float32)
    for metric in (GAE(), Contrastiveness(), Focus(), ROAD()):
        with pytest.raises(ValueError, match=r'model: it has one output.*output="binary"'):
            metric(net, x, classes, explain_func=random_map)
    if 1 in classes:
        with pytest.raises(ValueError, match=r'model: it has one output.*output="binary"'):
            LocalConsistency()(net, x, classes, explain_func=random_map)
        function = GAE(output=lambda z: torch.cat([-z, z], 1), steps=3, disable_warnings=True)
        expected = function(net, x, classes, explain_func=abslrp.explain)
        binary = GAE(output="binary", steps=3, disable_warnings=True)
        assert binary(net, x, classes, explain_func=abslrp.explain) == expected
    else:  # a regression has a trajectory
        scores = LocalConsistency()(net, x, classes, explain_func=random_map)
        assert np.isfinite(scores).all()
        probe = ProbeSet.build(net, x, classes, metric="LocalConsistency")
        given = {i: random_map(net, z[None], 0)[0] for i, z in zip(*made(probe), strict=True)}
        found = probe.score(given, disable_warnings=True)["local_consistency"]
        np.testing.assert_allclose(found, scores, rtol=1e-6)


def test_unlikely_classes_are_scored_by_the_ratio():
    """Classes of a probability below 1e-9, which used to be added to each."""
    from gae_metric.functional import quadrant_scores

    logits = torch.tensor([[0.0, -40.0, -40.5, 30.0]])
    found = quadrant_scores(logits, [[1, 2, 2, 0]], [0])[0]
    assert found.tolist() == pytest.approx([1, 2 * np.exp(-0.5) - 1, 2 * np.exp(-0.5) - 1, 1])
    masked = torch.tensor([[0.0, -torch.inf, 1.0]])
    assert quadrant_scores(masked, [[0, 1, 2, 0]], [0])[0].tolist() == [1, -1, 1, 1]
    assert quadrant_scores(masked, [[1, 0, 2, 0]], [0])[0].isnan().all()


# A score per image that lasts


@pytest.mark.parametrize("metric", [Contrastiveness, Focus])
def test_scores_of_an_image_last(metric):
    net, (x, y) = networks.load("resnet"), digits.load("test", n=21)
    call = {"explain_func": gradcam}
    scores, _ = told(metric(), net, x[:20], y[:20], **call)
    order = np.random.default_rng(1).permutation(20)
    moved, _ = told(metric(), net, x[:20][order], y[:20][order], **call)
    np.testing.assert_allclose(moved, scores[order], atol=1e-5)
    more, _ = told(metric(), net, x, y, **call)
    changed = np.abs(more[:20] - scores) > 1e-5
    assert changed.sum() <= 9  # 3 of 20 in expectation
    double, _ = told(metric(), net.double(), x[:20].astype(np.float64), y[:20], **call)
    np.testing.assert_allclose(double, scores, atol=1e-3)


def test_the_draw_of_a_metric_is_that_of_plain_python(case):
    net, x, y = case
    metric = Contrastiveness(seed=7, n_mosaics=2, disable_warnings=True)
    scores = metric(net, x, y, explain_func=input_x_gradient)
    contents = [draws.content(np.float32(one).ravel().tolist()) for one in x]
    expected = []
    for i in range(8):
        each = []
        for repeat in range(2):
            row, place = draws.mosaic(i, contents, y.tolist(), 7, repeat)
            assert metric.mosaic_indices[i, repeat].tolist() == row
            assert metric.mosaic_positive[i, repeat] == place
            four = [x[j] for j in row]
            classes = [int(y[j]) for j in row]
            each.append(gae.contrastiveness_of(net, input_x_gradient, four, classes, place))
        expected.append(np.mean(each))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert content_hashes(x).tolist() == contents


# Maps of what the model does not predict


def test_samples_that_are_not_predicted_are_told_and_marked(case):
    net, x, y = case
    wrong = np.where(np.arange(8) < 3, (y + 1) % 5, y)
    for metric in (GAE(steps=3), Contrastiveness(), LocalConsistency(steps=3)):
        _, messages = told(metric, net, x, wrong, explain_func=gradient_tensor)
        said = [m for m in messages if "not predicted" in m]
        if isinstance(metric, LocalConsistency):
            assert said == []
        else:
            assert said == [
                f"{metric.name}: 3 of 8 samples are not predicted as the class that is explained; "
                "C is unreliable there. They are marked in components. To have predictions "
                'explained, give targets="predicted", or no --labels (command line)'
            ]
        assert metric.components["predicted"].tolist() == y.tolist()
        with torch.no_grad():
            chances = net(torch.tensor(x)).softmax(1)[torch.arange(8), torch.tensor(wrong)]
        np.testing.assert_allclose(metric.components["probability"], chances, atol=1e-9)
    _, messages = told(GAE(targets="predicted"), net, x, wrong, explain_func=gradient_tensor)
    assert not any("not predicted" in m for m in messages)


def test_blank_images_are_told(case):
    net, x, y = case
    blank = x.copy()
    blank[[1, 4]] = np.array([0.3, -1.0, 2.0])[:, None, None]
    for metric in (GAE(steps=3), LocalConsistency(steps=3)):
        _, messages = told(metric, net, blank, y, explain_func=gradient_tensor)
        assert (
            sum("2 of 8 samples are blank" in m and m.endswith("samples 1, 4") for m in messages)
            == 1
        )
        _, messages = told(metric, net, x, y, explain_func=gradient_tensor)
        assert not any("blank" in m for m in messages)


def test_rounding_decides_no_score_where_masking_changes_nothing(case):
    net, x, y = case

    def rounded(model, inputs, targets):
        maps = np.ones_like(inputs)
        maps[..., 1:] -= np.float32(6e-8) * (np.arange(len(inputs)) % 2)[:, None, None, None]
        return maps

    x = x.astype(np.float32)
    x[3] = 0
    for size in (1, 3, 64):
        metric = LocalConsistency(steps=4, explain_batch_size=size, disable_warnings=True)
        metric(net.float(), x, y, explain_func=rounded)
        assert metric.components["lc_robustness"][3] == 1


def test_messages_that_help(case):
    net, x, _ = case
    with pytest.raises(ValueError, match=r"n_mosaic: no such parameter; did you mean n_mosaics\?"):
        GAE(n_mosaic=2)
    with pytest.raises(ValueError, match=r'y_batch: .* got None; .* targets="predicted"'):
        GAE()(net, x, None, explain_func=gradient_tensor)
