"""Kinds of data, maps, models and protocols."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import abslrp
from gae_metric import (
    GAE,
    Contrastiveness,
    LocalConsistency,
    LocalFaithfulness,
    tensor_explainer,
)
from tests.gae_metric.nets import (
    Counting,
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    series_net,
    tabular_net,
    top_classes,
)


def scores(metric, *args, **kwargs):
    metric(*args, **kwargs)
    return metric.components[list(metric.columns)].to_numpy()


def case(shape=(3, 12, 12), n=5, dtype=torch.float64):
    net = conv_net(shape[0], dtype=dtype)
    x = images(n, shape)
    return net, x, top_classes(net, x)


def test_channel_last():
    net, x, y = case()
    expected = scores(GAE(), net, x, y, explain_func=gradient_tensor)
    last = np.moveaxis(x, 1, -1)
    found = scores(GAE(), net, last, y, explain_func=gradient_tensor, channel_first=False)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"looks channel-last; pass channel_first=False"):
        GAE()(net, last, y, explain_func=gradient_tensor)
    maps = input_x_gradient(net, x, y)
    expected = scores(LocalFaithfulness(), net, x, y, a_batch=maps)
    found = scores(
        LocalFaithfulness(), net, last, y, a_batch=np.moveaxis(maps, 1, -1), channel_first=False
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("no", [np.False_, 0])
def test_channel_last_may_be_said_by_numpy(no):
    """As what a comparison of array sizes gives; the model would take either order."""
    x = images(5, (6, 6, 6))
    net, y = nn.Sequential(nn.Flatten(), nn.Linear(216, 5)).double().eval(), np.arange(5)
    expected = scores(GAE(), net, x, y, explain_func=input_x_gradient)
    last = np.moveaxis(x, 1, -1)
    found = scores(GAE(), net, last, y, explain_func=input_x_gradient, channel_first=no)
    np.testing.assert_array_equal(found, expected)


def test_small_axes_are_not_taken_for_channels():
    """Quantus guesses the order by the smallest axis."""
    net = conv_net(8)
    x = images(5, (8, 6, 6))
    assert np.isfinite(
        scores(GAE(), net, x, top_classes(net, x), explain_func=gradient_tensor)
    ).all()


@pytest.mark.parametrize("shape", [(3, 33, 47), (1, 9, 7), (4, 5, 24)])
def test_odd_and_non_square_sizes(shape):
    net, x, y = case(shape)
    found = scores(GAE(), net, x, y, explain_func=gradient_tensor)
    assert np.isfinite(found).all()
    metric = GAE()
    metric(net, x, y, explain_func=abslrp.explain)
    assert metric.components.loc[:, "local_consistency":].to_numpy().min() >= 0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_samples(n):
    net, x, y = case(n=n)
    assert len(LocalConsistency()(net, x, y, explain_func=gradient_tensor)) == n
    for cls in (GAE, Contrastiveness):
        if n == 4:
            assert len(cls()(net, x, y, explain_func=gradient_tensor)) == 4
        else:
            counting = Counting(gradient_tensor)
            with pytest.raises(ValueError, match=f"at least 4 samples.* got {n}"):
                cls()(net, x, y, explain_func=counting)
            assert counting.calls == 0


@pytest.mark.parametrize("form", ["one channel", "no channel", "all channels"])
def test_forms_of_maps(form):
    net, x, y = case()

    def explainer(model, inputs, targets, **kwargs):
        maps = np.abs(input_x_gradient(model, inputs, targets)).sum(1, keepdims=True)
        if form == "no channel":
            return maps[:, 0]
        return np.broadcast_to(maps, inputs.shape) if form == "all channels" else maps

    def broadcast(model, inputs, targets, **kwargs):
        maps = np.abs(input_x_gradient(model, inputs, targets)).sum(1, keepdims=True)
        return np.repeat(maps, 3, axis=1)

    expected = scores(GAE(), net, x, y, explain_func=broadcast)
    found = scores(GAE(), net, x, y, explain_func=explainer)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("convert", [list, tuple, torch.as_tensor, lambda a: a[:, ::-1][:, ::-1]])
def test_kinds_of_maps(convert):
    net, x, y = case()
    expected = scores(LocalConsistency(), net, x, y, explain_func=input_x_gradient)
    found = scores(
        LocalConsistency(),
        net,
        x,
        y,
        explain_func=lambda model, inputs, targets: convert(
            input_x_gradient(model, inputs, targets)
        ),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int32])
def test_precision_of_maps(dtype):
    net, x, y = case()

    def explainer(model, inputs, targets, **kwargs):
        maps = input_x_gradient(model, inputs, targets)
        return (maps * (1e3 if dtype == np.float16 else 1e7)).astype(dtype)

    expected = scores(GAE(), net, x, y, explain_func=input_x_gradient)
    found = scores(GAE(), net, x, y, explain_func=explainer)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("of_model", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("of_input", [np.float16, np.float32, np.float64, np.uint8])
def test_inputs_follow_the_precision_of_the_model(of_model, of_input):
    net, x, y = case(dtype=of_model)
    seen = set()

    @tensor_explainer
    def explainer(model, inputs, targets, **kwargs):
        seen.add(inputs.dtype)
        return inputs

    GAE(disable_warnings=True)(net, (x * 10).astype(of_input), y, explain_func=explainer)
    assert seen == {of_model}


def test_numpy_explainers_get_arrays_and_marked_ones_tensors():
    net, x, y = case(dtype=torch.float32)
    for function, kind in ((input_x_gradient, np.ndarray), (gradient_tensor, torch.Tensor)):
        counting = Counting(function)
        GAE(explain_batch_size=11)(net, x, y, explain_func=counting)
        assert counting.kinds == {kind}
        # All states of the first sample; of the others no two that are masked as a whole.
        assert counting.samples == 20 + 4 * 16
        assert counting.calls == -(-84 // 11)


def test_tensors_in_place_of_arrays():
    net, x, y = case()
    expected = scores(GAE(), net, x, y, explain_func=gradient_tensor)
    x_tensor, y_tensor = torch.tensor(x, requires_grad=True), torch.tensor(y)
    found = scores(GAE(), net, x_tensor, y_tensor, explain_func=gradient_tensor)
    np.testing.assert_array_equal(found, expected)
    read_only = x.copy()
    read_only.flags.writeable = False
    found = scores(GAE(), net, read_only, y.tolist(), explain_func=gradient_tensor)
    np.testing.assert_array_equal(found, expected)


def test_time_series():
    net = series_net()
    x = images(6, (2, 31))
    y = top_classes(net, x)
    metric = GAE()
    metric(net, x, y, explain_func=input_x_gradient)
    assert metric.components.std().min() > 1e-4
    found = scores(
        GAE(),
        net,
        x,
        y,
        explain_func=lambda model, inputs, targets: input_x_gradient(model, inputs, targets).mean(
            1
        ),
    )
    assert np.isfinite(found).all()


def test_tabular():
    net = tabular_net()
    x = images(6, (7,))
    y = top_classes(net, x)
    metric = LocalConsistency(mask_value=x.mean(0))
    metric(net, x, y, explain_func=input_x_gradient)
    assert np.isfinite(metric.components.to_numpy()).all()
    with pytest.raises(
        ValueError, match=r"x_batch: GAE applies to image, time-series data, got tab"
    ):
        GAE()(net, x, y, explain_func=input_x_gradient)


class Wrapped(nn.Module):
    """Returns its logits in another form."""

    def __init__(self, net, form):
        super().__init__()
        self.net, self.form = net, form
        self.eval()

    def forward(self, x):
        logits = self.net(x)
        return {
            "object": SimpleNamespace(logits=logits, hidden=x),
            "mapping": {"logits": logits, "hidden": x},
            "tuple of one": (logits,),
            "tuple": (x, logits),
            "named": {"scores": logits, "hidden": x},
            "attribute": SimpleNamespace(scores=logits),
        }[self.form]


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("object", None),
        ("mapping", None),
        ("tuple of one", None),
        ("tuple", 1),
        ("named", "scores"),
        ("attribute", "scores"),
        ("tuple", lambda result: result[1]),
    ],
)
def test_models_that_return_other_things(form, output):
    net, x, y = case()
    expected = scores(GAE(), net, x, y, explain_func=gradient_tensor)
    model = Wrapped(net, form)
    for _ in range(2):  # the second time from the cache, without a call of the model
        found = scores(GAE(output=output), model, x, y, explain_func=gradient_tensor)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    layers = []

    @tensor_explainer
    def looks_for_a_layer(model, inputs, targets, **kwargs):
        layers.append(model.net[0])
        return gradient_tensor(model, inputs, targets)

    GAE(output=output)(model, x, y, explain_func=looks_for_a_layer)
    assert layers[0] is net[0]


@pytest.mark.parametrize(
    ("form", "output", "message"),
    [
        ("tuple", None, "model: expected it to return a tensor of logits, got tuple; output="),
        ("named", None, "got dict; output= selects"),
        ("named", "logits", "output: the model returned a dict with scores, hidden, .* 'logits'"),
        ("tuple", 5, "output: the model returned a tuple, which has no 5"),
        ("named", "hidden", r"logits of shape \(.*, classes\), got torch.float64"),
    ],
)
def test_outputs_that_are_not_logits(form, output, message):
    net, x, y = case()
    with pytest.raises(ValueError, match=message):
        GAE(output=output)(Wrapped(net, form), x, y, explain_func=gradient_tensor)
