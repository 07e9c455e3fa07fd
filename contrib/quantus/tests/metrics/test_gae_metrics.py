"""Local Consistency, Contrastiveness and GAE."""

import copy
import warnings

import numpy as np
import pytest
import quantus
import torch
from quantus import GAE, Contrastiveness, LocalConsistency
from quantus.functions.gae_func import contrastive_mosaic_creation

METRICS = [LocalConsistency, Contrastiveness, GAE]
#: Scores of the first eight MNIST images by another implementation, gae-metric.
EXPECTED = {
    "LocalConsistency": [
        0.8525396,
        0.8921048,
        0.9533576,
        0.9758077,
        0.9365188,
        0.8725495,
        0.9689165,
        0.7779059,
    ],
    "Contrastiveness": [
        0.32892472,
        0.07041434,
        0.38812179,
        0.34324136,
        0.25797345,
        0.249911,
        0.716698,
        0.010312,
    ],
    "GAE": [
        0.2804213,
        0.062817,
        0.3700189,
        0.3349376,
        0.241597,
        0.2180597,
        0.6944205,
        0.0080218,
    ],
}


def input_x_gradient(model, inputs, targets, **kwargs):
    """Explain by the input times its gradient."""
    x = torch.as_tensor(np.asarray(inputs), dtype=next(model.parameters()).dtype).requires_grad_()
    chosen = model(x).gather(1, torch.as_tensor(np.asarray(targets))[:, None])
    return (x * torch.autograd.grad(chosen.sum(), x)[0]).detach().numpy()


@pytest.fixture
def mnist_model(load_mnist_model):
    """A copy that is less certain, so that quadrants of other classes count in part."""
    model = copy.deepcopy(load_mnist_model).eval()
    with torch.no_grad():
        model.fc_3.weight.div_(40)
        model.fc_3.bias.div_(40)
    return model


@pytest.fixture
def linear():
    """A model that adds its inputs with weights 4, 3, 2 and 1."""
    model = torch.nn.Linear(4, 1, bias=False)
    model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    return model.eval()


@pytest.mark.faithfulness
def test_local_consistency_by_hand(linear):
    """Test against a computation by hand: d^o and d^A are known, the impact map as well."""
    metric = LocalConsistency(steps=4)
    scores = metric(
        linear, np.ones((1, 4), dtype=np.float32), np.array([0]), explain_func=input_x_gradient
    )
    # o_t: 10, 9, 7, 4 and 10, 6, 1, 0; 10 at the start.
    d_o = np.array([0.3, 0.6, 0.4])
    d_a = _similarity_differences()
    robustness = 1 - 2 * np.abs(d_o - d_a).sum() / (d_o.sum() + d_a.sum())
    np.testing.assert_allclose(metric.components["lc_robustness"], [robustness], atol=1e-6)
    np.testing.assert_allclose(metric.components["lc_faithfulness"], [-0.2], atol=1e-6)
    np.testing.assert_allclose(scores, [(robustness - 0.2) / 2], atol=1e-6)


def _similarity_differences():
    """Differences of the maps' similarities along the two orders."""
    a = np.array([4.0, 3.0, 2.0, 1.0]) / 4

    def similarity(kept):
        b = a * kept
        b = b / b.max() if b.any() else b
        return 1 - np.abs(a - b).sum() / (a.sum() + b.sum())

    lerf = [similarity(np.array(k)) for k in ([1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])]
    morf = [similarity(np.array(k)) for k in ([0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0])]
    return np.array(lerf) - np.array(morf)


@pytest.mark.localisation
@pytest.mark.parametrize("inside, expected", [(True, 1.0), (False, 0.0)])
def test_contrastiveness_of_known_maps(inside, expected):
    """Test with maps that lie in the sample's quadrant, and in the others."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4)).eval()
    with torch.no_grad():
        model[1].weight.copy_(50 * torch.eye(4).repeat_interleave(4, dim=1))
        model[1].bias.zero_()
    x_batch = np.zeros((4, 1, 4, 4), dtype=np.float32)
    for i in range(4):
        x_batch[i, 0, i] = i + 1.0  # row i is bright: class i
    _, indices, labels, p_batch, targets = contrastive_mosaic_creation(
        x_batch, np.arange(4), seed=3
    )
    assert (labels == indices).all()
    assert (targets == np.arange(4)).all()

    def explain(model, inputs, targets, **kwargs):
        quadrants = p_batch if inside else 1 - p_batch
        return np.stack([np.kron(quadrants[t].reshape(2, 2), np.ones((2, 2))) for t in targets])

    metric = Contrastiveness(seed=3)
    scores = metric(model, x_batch, np.arange(4), explain_func=explain, channel_first=True)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize(
    "call", [{"batch_size": 64}, {"batch_size": 3}, {"a_batch": True}, {"custom_batch": True}]
)
def test_gae_metrics_mnist(mnist_model, load_mnist_images, metric_class, call):
    """Test scores on MNIST, whatever the batch size and whoever computes maps and mosaics."""
    x_batch, y_batch = load_mnist_images["x_batch"], load_mnist_images["y_batch"]
    call = dict(call)
    if call.pop("a_batch", False):
        call["a_batch"] = input_x_gradient(mnist_model, x_batch, y_batch)
    if call.pop("custom_batch", False) and metric_class is not LocalConsistency:
        call["custom_batch"] = contrastive_mosaic_creation(x_batch, y_batch, seed=0)
    metric = metric_class(disable_warnings=True)
    scores = metric(mnist_model, x_batch, y_batch, explain_func=input_x_gradient, **call)
    assert len(scores) == len(x_batch)
    np.testing.assert_allclose(scores, EXPECTED[metric_class.__name__], atol=2e-6)
    assert all(len(values) == len(x_batch) for values in metric.components.values())
    assert metric.all_evaluation_scores == scores


@pytest.mark.faithfulness
def test_gae_is_the_product(mnist_model, load_mnist_images):
    """Test that GAE and its components are those of the two metrics."""
    arguments = (mnist_model, load_mnist_images["x_batch"], load_mnist_images["y_batch"])
    consistency = LocalConsistency()(*arguments, explain_func=input_x_gradient)
    contrast = Contrastiveness(seed=5)(*arguments, explain_func=input_x_gradient)
    metric = GAE(seed=5)
    scores = metric(*arguments, explain_func=input_x_gradient)
    np.testing.assert_allclose(scores, np.array(consistency) * np.array(contrast), atol=1e-6)
    np.testing.assert_allclose(metric.components["local_consistency"], consistency, atol=1e-6)
    np.testing.assert_allclose(metric.components["contrastiveness"], contrast, atol=1e-6)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
def test_gae_metrics_time_series(
    load_1d_3ch_conv_model, almost_uniform_1d_no_abatch, metric_class, schedule
):
    """Test time series, with Quantus's own explanations."""
    params = {} if metric_class is Contrastiveness else {"schedule": schedule, "steps": 5}
    scores = metric_class(**params)(
        load_1d_3ch_conv_model.eval(),
        almost_uniform_1d_no_abatch["x_batch"],
        almost_uniform_1d_no_abatch["y_batch"],
        explain_func=quantus.explain,
        explain_func_kwargs={"method": "Saliency"},
    )
    assert len(scores) == 10
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.faithfulness
def test_local_consistency_tabular():
    """Test that Local Consistency takes tabular data."""
    model = torch.nn.Sequential(
        torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
    ).eval()
    x_batch = np.random.randn(5, 12).astype(np.float32)
    scores = LocalConsistency()(
        model, x_batch, np.zeros(5, dtype=int), explain_func=input_x_gradient
    )
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
def test_gae_metrics_nan_sample(mnist_model, load_mnist_images, metric_class):
    """Test that a sample that is not finite has no score and leaves the others theirs."""
    x_batch = load_mnist_images["x_batch"].copy()
    x_batch[2, 0, 5, 5] = np.nan
    metric = metric_class()
    with pytest.warns(UserWarning, match="samples 2 are NaN"):
        scores = metric(
            mnist_model, x_batch, load_mnist_images["y_batch"], explain_func=input_x_gradient
        )
    assert list(np.flatnonzero(np.isnan(scores))) == [2]
    if metric_class is LocalConsistency:
        expected = np.delete(EXPECTED["LocalConsistency"], 2)
        np.testing.assert_allclose(np.delete(scores, 2), expected, atol=2e-6)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
def test_gae_metrics_scale_and_sign(mnist_model, load_mnist_images, metric_class):
    """Test that scores do not depend on the maps' scale, with or without normalisation."""

    def scaled(**kwargs):
        return 1000 * input_x_gradient(**kwargs)

    arguments = (mnist_model, load_mnist_images["x_batch"], load_mnist_images["y_batch"])
    scores = metric_class(normalise=True)(*arguments, explain_func=scaled)
    np.testing.assert_allclose(scores, EXPECTED[metric_class.__name__], atol=2e-6)
    other = metric_class(abs=True)(*arguments, explain_func=input_x_gradient)
    assert not np.allclose(other, scores, atol=1e-3)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
def test_gae_metrics_exceptions(mnist_model, load_mnist_images, metric_class):
    """Test that what cannot be scored is refused."""
    x_batch, y_batch = load_mnist_images["x_batch"], load_mnist_images["y_batch"]
    arguments = {
        "model": mnist_model,
        "x_batch": x_batch,
        "y_batch": y_batch,
        "explain_func": input_x_gradient,
    }
    with pytest.raises(AssertionError):
        metric_class()(**{**arguments, "explain_func": None})
    with pytest.raises(AttributeError):
        metric_class()(**{**arguments, "model": mnist_model.train()})
    mnist_model.eval()
    with pytest.raises(ValueError):
        metric_class()(**{**arguments, "model": None, "a_batch": np.random.rand(*x_batch.shape)})
    with pytest.raises(ValueError, match="classes from 0 to 9"):
        metric_class()(
            **{
                **arguments,
                "y_batch": y_batch + 10,
                "explain_func": lambda inputs, **kwargs: inputs,
            }
        )
    if metric_class is not LocalConsistency:
        few = {"x_batch": x_batch[:3], "y_batch": y_batch[:3]}
        with pytest.raises(ValueError, match="at least 4 samples"):
            metric_class()(**{**arguments, **few})
        with pytest.raises(ValueError, match="custom_batch"):
            metric_class()(custom_batch=np.zeros(8), **arguments)
        with pytest.raises(ValueError, match="custom_batch"):
            made = contrastive_mosaic_creation(x_batch[:5], y_batch[:5])
            metric_class()(custom_batch=made, **arguments)
        with pytest.raises(ValueError, match="custom_batch"):
            made = contrastive_mosaic_creation(x_batch, y_batch[::-1])
            metric_class()(custom_batch=made, **arguments)
    if metric_class is not Contrastiveness:
        with pytest.raises(ValueError, match="steps"):
            metric_class(steps=1)(**arguments)
        with pytest.raises(ValueError, match="schedule"):
            metric_class(schedule="other")(**arguments)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
def test_gae_metrics_leave_the_model(mnist_model, load_mnist_images, metric_class):
    """Test that no gradient and no other trace is left, and that random state is not touched."""
    before = copy.deepcopy(mnist_model.state_dict())
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    metric_class()(
        mnist_model,
        load_mnist_images["x_batch"],
        load_mnist_images["y_batch"],
        explain_func=input_x_gradient,
    )
    assert all(parameter.grad is None for parameter in mnist_model.parameters())
    assert all(torch.equal(before[name], value) for name, value in mnist_model.state_dict().items())
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.faithfulness
@pytest.mark.parametrize("metric_class", METRICS)
def test_gae_metrics_softmax(mnist_model, load_mnist_images, metric_class):
    """Test that logits are scored, also of a model that ends in a softmax."""
    arguments = (load_mnist_images["x_batch"], load_mnist_images["y_batch"])
    with pytest.warns(UserWarning, match="softmax"):
        scores = metric_class()(
            mnist_model, *arguments, softmax=True, explain_func=input_x_gradient
        )
    np.testing.assert_allclose(scores, EXPECTED[metric_class.__name__], atol=2e-6)
    model = torch.nn.Sequential(mnist_model, torch.nn.Softmax(dim=-1)).eval()

    def explain(model, **kwargs):
        return input_x_gradient(model[0], **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = metric_class()(model, *arguments, explain_func=explain)
    np.testing.assert_allclose(scores, EXPECTED[metric_class.__name__], atol=2e-6)


@pytest.mark.evaluate_func
def test_gae_metrics_in_evaluate(mnist_model, load_mnist_images):
    """Test that quantus.evaluate and the table of metrics know them."""
    found = {
        name: each for group in quantus.AVAILABLE_METRICS.values() for name, each in group.items()
    }
    for each in METRICS:
        assert found[each.name] is each
        assert each.__doc__
    metrics = {each.name: each(return_aggregate=True) for each in METRICS}
    results = quantus.evaluate(
        metrics=metrics,
        xai_methods={"InputXGradient": input_x_gradient},
        model=mnist_model,
        explain_func_kwargs={},
        **load_mnist_images,
    )["InputXGradient"]
    for each in METRICS:
        np.testing.assert_allclose(
            results[each.name], [np.mean(EXPECTED[each.__name__])], atol=1e-5
        )
