"""``output=`` of the metric and of the explainer: the logits are selected once, by all alike."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import quantus
import torch
from torch import nn

import abslrp
from abslrp.outputs import still
from gae_metric import GAE, tensor_explainer
from gae_metric.companions import ROAD
from gae_metric.explainers import (
    explainer,
    gradcam,
    input_x_gradient,
    integrated_gradients,
    saliency,
)
from gae_metric.study.logits import LogitsModel
from tests.gae_metric.nets import conv_net, images

EXPLAINERS = {
    "absLRP": abslrp.explain,
    "GraphExplainer": abslrp.GraphExplainer(),
    "Saliency": saliency,
    "InputXGradient": input_x_gradient,
    "IntegratedGradients": integrated_gradients,
    "HiResCAM": explainer("HiResCAM")[1],
    "DeepLift": explainer("captum:DeepLift")[1],
}


class Returning(nn.Module):
    """A network of which something is made."""

    def __init__(self, net, made):
        super().__init__()
        self.net, self.made = net, made
        self.eval()

    def forward(self, x):
        return self.made(self.net(x))


def both(logits):
    return torch.cat([-logits, logits], 1)


NETS = {True: conv_net(classes=1, dtype=torch.float32), False: conv_net(dtype=torch.float32)}
#: What is made of a network's logits, what selects them again, and whether it has one output.
MODELS = {
    "mapping": (lambda z: {"scores": z, "other": -z}, "scores", False),
    "hugging face": (lambda z: SimpleNamespace(logits=z), "logits", False),
    "tuple": (lambda z: (-z, z), 1, False),
    "probabilities": (lambda z: z.softmax(1), "log", False),
    "function": (lambda z: {"scores": z}, lambda made: made["scores"].flip(1), False),
    "one": (lambda z: z, "binary", True),
    "one, flat": (lambda z: z[:, 0], "binary", True),
    "one, by a function": (lambda z: z, both, True),
}
X, Y = images(8, (3, 12, 12), np.float32), np.arange(8) % 2


def case(name):
    """A model, its output=, and the model that returns the logits by itself."""
    made, output, single = MODELS[name]
    net = NETS[single]
    model = Returning(net, made)
    plain = Returning(net, lambda logits: LogitsModel(nn.Identity(), output)(made(logits)))
    return model, output, Returning(net, both) if single else plain


def selected(name):
    model, output, _ = case(name)
    taken = LogitsModel(model, output)
    return Returning(taken, lambda logits: logits)


def scores(model, explain_func, kwargs=None, metric=GAE, **options):
    """The parts of GAE, which may be 0 itself, or the score of another metric."""
    given = {"explain_func": explain_func, "explain_func_kwargs": kwargs}
    asked = metric(disable_warnings=True, **options)
    found = asked(model, X, Y, **given)
    return asked.components[list(GAE.columns)].to_numpy() if metric is GAE else found


@pytest.mark.filterwarnings("ignore:captum.DeepLift:RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", EXPLAINERS)
def test_an_output_is_selected_once(method, name):
    """A function was applied twice without a word, and a name not found in the logits."""
    model, output, _ = case(name)
    function = EXPLAINERS[method]
    expected = scores(selected(name), function)
    assert (np.abs(expected[:, [0, 1, 3]]).max(0) > 0.01).all()
    given = {"output": output}
    for explain_func, kwargs in (
        (function, None),
        (function, given),
        (partial(function, **given), None),
        (lambda model, inputs, targets: function(model, inputs, targets, **given), None),
    ):
        found = scores(model, explain_func, kwargs, output=output)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:captum.DeepLift:RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", EXPLAINERS)
def test_evaluate_explains_models_of_any_output(method, name, capsys):
    """It calls the explainer itself, too, with the model that the user has."""
    model, output, _ = case(name)
    function = EXPLAINERS[method]
    metrics = {
        "GAE": GAE(output=output, disable_warnings=True),
        "ROAD": ROAD(percentages=[50], output=output, disable_warnings=True),
    }
    found = quantus.evaluate(
        metrics, {method: function}, model, X, Y, explain_func_kwargs={"output": output}
    )[method]
    assert "Error" not in capsys.readouterr().out
    expected = scores(selected(name), function)
    np.testing.assert_allclose(found["GAE"], expected[:, -1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(metrics["GAE"].components.iloc[:, 2:], expected, rtol=0, atol=1e-4)
    assert found["ROAD"] == scores(selected(name), function, metric=ROAD, percentages=[50])


def test_logits_that_are_found_by_themselves_may_be_named():
    model, _, _ = case("hugging face")
    expected = scores(model, abslrp.explain)
    for function, kwargs in (
        (abslrp.explain, {"output": "logits"}),
        (partial(abslrp.explain, output="logits"), None),
    ):
        np.testing.assert_array_equal(scores(model, function, kwargs), expected)


@pytest.mark.parametrize("other", ["other", lambda made: made["scores"]])
def test_another_output_than_the_metrics_is_refused(other):
    model, output, _ = case("mapping")
    for function in (abslrp.explain, saliency):
        with pytest.raises(ValueError, match="explain_func_kwargs: expected no output, or the met"):
            scores(model, function, {"output": other}, output=output)


def test_an_explainers_own_output_is_its_own_where_the_metric_has_none():
    @tensor_explainer
    def explain(model, inputs, targets, output="png"):
        assert output == "pdf"
        return inputs.abs()

    assert len(scores(NETS[False], explain, {"output": "pdf"})) == len(X)


@pytest.mark.parametrize("function", [saliency, input_x_gradient, integrated_gradients, gradcam])
def test_one_output_has_no_class_1(function):
    """The remedy is named, as absLRP and the metrics name it."""
    with pytest.raises(ValueError, match=r'model: it has one output.* output="binary"'):
        function(NETS[True], X, Y)
    maps = function(NETS[True], X, Y, output="binary")
    np.testing.assert_array_equal(maps, function(Returning(NETS[True], both), X, Y))
    assert np.isfinite(function(NETS[True], X, np.zeros(8, dtype=int))).all()


def test_what_a_wrapper_has_taken_is_not_taken_again():
    net = NETS[False]
    assert still("log", net) == "log"
    assert still(None, net) is None
    assert still("log", LogitsModel(net, "log")) is None
    assert still("other", LogitsModel(net, "log")) == "other"
    assert still("logits", LogitsModel(net)) is None
    assert still("log", LogitsModel(net)) == "log"
    assert still(both, LogitsModel(net)) is both
    assert still(both, LogitsModel(net, both)) is None
