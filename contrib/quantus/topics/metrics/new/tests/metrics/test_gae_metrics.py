"""Local Consistency, Contrastiveness and GAE."""

import copy
import warnings

import numpy as np
import pytest
import torch

import quantus
from quantus import GAE, Contrastiveness, LocalConsistency
from quantus.functions.gae_func import contrastive_mosaic_creation

# Scores of the first eight MNIST images by another implementation, gae-metric.
LC = [0.852540, 0.892105, 0.953358, 0.975808, 0.936519, 0.872550, 0.968917, 0.777906]
C = [0.328925, 0.070414, 0.388122, 0.343241, 0.257973, 0.249911, 0.716698, 0.010312]
EXPECTED = {LocalConsistency: LC, Contrastiveness: C, GAE: np.multiply(LC, C)}
each_metric = pytest.mark.parametrize("metric_class", EXPECTED)


def input_x_gradient(model, inputs, targets, **kwargs):
    """Explain by the input times its gradient."""
    x = torch.as_tensor(inputs).to(next(model.parameters())).requires_grad_()
    chosen = model(x).gather(1, torch.as_tensor(targets)[:, None])
    return (x * torch.autograd.grad(chosen.sum(), x)[0]).detach().numpy()


@pytest.fixture
def call(load_mnist_model, load_mnist_images):
    """Arguments: a model that is less certain, so that quadrants of other classes count in part."""
    model = copy.deepcopy(load_mnist_model).eval()
    with torch.no_grad():
        model.fc_3.weight.div_(40)
        model.fc_3.bias.div_(40)
    images = {name: load_mnist_images[name][:8] for name in ("x_batch", "y_batch")}
    return {"model": model, "explain_func": input_x_gradient, **images}


@pytest.mark.faithfulness
def test_local_consistency_by_hand():
    """Test weights 4, 3, 2, 1 and ones: o_t is 10, 9, 7, 4 (LeRF) and 10, 6, 1, 0 (MoRF)."""
    model = torch.nn.Linear(4, 1, bias=False)
    model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    a = np.array([4.0, 3.0, 2.0, 1.0]) / 4

    def similarity(kept):
        b = a * kept / max((a * kept).max(), 1e-9)
        return 1 - np.abs(a - b).sum() / (a.sum() + b.sum())

    lerf = [similarity(np.array(k)) for k in ([1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])]
    morf = [similarity(np.array(k)) for k in ([0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0])]
    d_o, d_a = np.array([0.3, 0.6, 0.4]), np.array(lerf) - np.array(morf)
    robustness = 1 - 2 * np.abs(d_o - d_a).sum() / (d_o.sum() + d_a.sum())
    metric = LocalConsistency(steps=4, disable_warnings=True)
    scores = metric(
        model.eval(), np.ones((1, 4)), np.array([0]), explain_func=input_x_gradient
    )
    np.testing.assert_allclose(
        metric.components["lc_robustness"], [robustness], atol=1e-6
    )
    np.testing.assert_allclose(metric.components["lc_faithfulness"], [-0.2], atol=1e-6)
    np.testing.assert_allclose(scores, [(robustness - 0.2) / 2], atol=1e-6)


@pytest.mark.faithfulness
def test_uniform_schedule_masks_each_feature_once():
    """Test that the states of the uniform schedule are those of the ranking of a linear model."""
    model, seen = torch.nn.Linear(4, 1, bias=False).eval(), []
    model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))

    def explain(model, inputs, targets):
        seen.append(inputs[0].astype(int).tolist())
        return inputs

    metric = LocalConsistency(steps=4, schedule="uniform", disable_warnings=True)
    metric(
        model,
        np.ones((1, 4)),
        np.array([0]),
        np.arange(4.0)[None],
        explain_func=explain,
    )
    lerf, morf = (
        [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]],
        [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]],
    )
    assert seen == lerf + morf


@pytest.mark.localisation
@pytest.mark.parametrize("inside, expected", [(True, 1.0), (False, 0.0)])
def test_contrastiveness_of_known_maps(inside, expected):
    """Test maps that lie in the sample's quadrant, and in the others."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4)).eval()
    model[1].weight.data.copy_(50 * torch.eye(4).repeat_interleave(4, dim=1))
    y_batch = np.arange(4)
    x_batch = np.eye(4)[:, None, :, None].repeat(4, axis=3)  # class i: row i is bright
    made = contrastive_mosaic_creation(x_batch, y_batch, seed=3)
    mosaics, indices, labels, places = made
    assert (labels == indices).all()
    assert ((indices * places).sum(axis=1) == y_batch).all()

    def explain(model, inputs, targets):
        np.testing.assert_array_equal(inputs, mosaics)
        quadrants = places if inside else 1 - places
        return quadrants.reshape(4, 2, 2).repeat(2, axis=1).repeat(2, axis=2)

    metric = Contrastiveness(seed=3, disable_warnings=True)
    scores = metric(model, x_batch, y_batch, channel_first=True, explain_func=explain)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.localisation
def test_mosaics_do_not_depend_on_order():
    """Test series of several classes and a copy of one, in two orders; all show another class."""
    x_batch, y_batch = np.random.rand(9, 2, 11), np.arange(9) % 3
    x_batch[8] = x_batch[0]
    mosaics, indices, labels, _ = contrastive_mosaic_creation(x_batch, y_batch, seed=1)
    assert (mosaics[0, :, :3] == x_batch[indices[0, 0]][:, [0, 3, 7]]).all()
    assert (labels != labels[:, :1]).any(axis=1).all()
    assert all(len(set(row) - {0, 8}) >= 2 for row in indices.tolist())
    order = np.random.permutation(9)
    again = contrastive_mosaic_creation(x_batch[order], y_batch[order], seed=1)[0]
    np.testing.assert_array_equal(again, mosaics[order])


@pytest.mark.faithfulness
@each_metric
@pytest.mark.parametrize(
    "change", ["none", "batch", "a_batch", "scale", "softmax", "in_model"]
)
def test_scores_on_mnist(call, metric_class, change):
    """Test that scores are those expected, also where something changes that must not matter."""
    metric = metric_class(normalise=change == "scale")
    model, explain = call["model"], call["explain_func"]
    call["batch_size"] = 3 if change == "batch" else 64
    call["softmax"] = change == "softmax"
    if change == "a_batch":
        call["a_batch"] = explain(model, call["x_batch"], call["y_batch"])
    if change == "scale":
        call["explain_func"] = lambda **kwargs: 1000 * explain(**kwargs)
    if change == "in_model":
        call["model"] = torch.nn.Sequential(model, torch.nn.Softmax(dim=-1)).eval()
        call["explain_func"] = lambda model, **kwargs: explain(model[0], **kwargs)
    before = copy.deepcopy(model.state_dict())
    random = np.random.get_state()[1].copy(), torch.get_rng_state()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scores = metric(**call)
    found = any("has no effect" in str(each.message) for each in told)
    assert found == (change == "softmax")
    np.testing.assert_allclose(scores, EXPECTED[metric_class], atol=2e-6)
    assert list(metric.components)[-1] == metric_class.columns[-1]
    assert all(len(values) == 8 for values in metric.components.values())
    # No trace is left.
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(v, model.state_dict()[name]) for name, v in before.items())
    assert (np.random.get_state()[1] == random[0]).all()
    assert torch.equal(torch.get_rng_state(), random[1])


@pytest.mark.faithfulness
@each_metric
def test_series_with_quantus_explanations(
    load_1d_3ch_conv_model, almost_uniform_1d_no_abatch, metric_class
):
    """Test time series with several channels, and maps that are replaced by their absolute values."""
    call = {**almost_uniform_1d_no_abatch, "explain_func": quantus.explain}
    call["explain_func_kwargs"] = {"method": "InputXGradient", "reduce_axes": ()}
    metric = metric_class(disable_warnings=True)
    scores = metric(load_1d_3ch_conv_model.eval(), **call)
    metric.abs = True
    assert len(scores) == 10 and all(0 <= score <= 1 for score in scores)
    assert not np.allclose(scores, metric(load_1d_3ch_conv_model, **call), atol=1e-3)


@pytest.mark.faithfulness
@each_metric
def test_sample_that_is_not_finite(call, metric_class):
    """Test that it has no score, is named, and leaves the others of the batch theirs."""
    call["x_batch"] = call["x_batch"].copy()
    call["x_batch"][2, 0, 5, 5] = np.nan
    with pytest.warns(UserWarning, match="samples 2 are NaN"):
        scores = metric_class()(**call)
    assert list(np.flatnonzero(np.isnan(scores))) == [2]
    if metric_class is LocalConsistency:
        np.testing.assert_allclose(np.delete(scores, 2), np.delete(LC, 2), atol=2e-6)


@pytest.mark.faithfulness
@each_metric
def test_what_cannot_be_scored_is_refused(call, metric_class):
    """Test errors."""
    metric = metric_class(disable_warnings=True)
    training = copy.deepcopy(call["model"]).train()
    few = {"x_batch": call["x_batch"][:3], "y_batch": call["y_batch"][:3]}
    for wrong, error, match in (
        ({"explain_func": None, "a_batch": call["x_batch"]}, AssertionError, ""),
        ({"model": None, "a_batch": call["x_batch"]}, ValueError, "gradients"),
        ({"model": training}, AttributeError, "evaluation mode"),
        ({"y_batch": call["y_batch"] + 10}, ValueError, "classes from 0 to 9"),
        ({"y_batch": call["y_batch"] - 5}, ValueError, "classes from 0 to 9"),
        (few, ValueError, "at least 4 samples"),
    ):
        if wrong is not few or metric_class is not LocalConsistency:
            with pytest.raises(error, match=match):
                metric(**{**call, **wrong})
    if metric_class is not Contrastiveness:
        for attribute, value in (("steps", 1), ("schedule", "other")):
            metric = metric_class(disable_warnings=True, **{attribute: value})
            with pytest.raises(ValueError, match="at least 2 steps and the schedule"):
                metric(**call)


@pytest.mark.evaluate_func
def test_quantus_evaluate(call):
    """Test that quantus.evaluate and the table of metrics know the metrics."""
    known = [each for k in quantus.AVAILABLE_METRICS.values() for each in k.items()]
    assert {(each.name, each) for each in EXPECTED} <= set(known)
    call["xai_methods"] = {"InputXGradient": call.pop("explain_func")}
    metrics = {each.name: each(return_aggregate=True) for each in EXPECTED}
    results = quantus.evaluate(metrics=metrics, explain_func_kwargs={}, **call)
    for each, expected in EXPECTED.items():
        (score,) = results["InputXGradient"][each.name]
        assert score == pytest.approx(np.mean(expected), abs=1e-5)
