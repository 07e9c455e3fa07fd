"""ROAD's arguments: kinds of input and model, Quantus's conventions, and what is refused."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gae_metric.companions import ROAD
from tests.gae_metric.test_companions_road import PERCENTAGES, network, predictions


@pytest.fixture
def rgb():
    """Return a network, 11 images, their predictions and distinct attributions."""
    model = network()
    rng = np.random.default_rng(5)
    x = rng.standard_normal((11, 3, 12, 10)).astype(np.float32)
    return model, x, predictions(model, x), rng.standard_normal(x.shape)


def test_kinds_of_input(rgb):
    model, x, y, a = rgb
    road = ROAD(percentages=PERCENTAGES)
    expected = road(model, x, y, a)
    assert road(model, torch.tensor(x), torch.tensor(y), torch.tensor(a)) == expected
    last, maps = x.transpose(0, 2, 3, 1), a.transpose(0, 2, 3, 1)
    assert road(model, last, y, maps, channel_first=False) == expected
    assert road(model.double(), x, y, a) == expected
    assert road(model, x, y, a, device="cpu") == expected


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.float16])
def test_percentages_may_be_numbers_of_numpy(rgb, kind):
    model, x, y, a = rgb
    road, expected = ROAD(percentages=np.array([10, 50], kind)), ROAD(percentages=[10, 50])
    assert road(model, x, y, a) == expected(model, x, y, a)
    assert json.loads(json.dumps(road.percentages)) == [10, 50]


def test_fractions_in_place_of_percentages_are_told(rgb):
    model, x, y, a = rgb
    with pytest.warns(RuntimeWarning, match="percentages: only 0.5 % of pixels are removed"):
        ROAD(percentages=[0.1, 0.5])(model, x, y, a)
    for percentages in ([0], [0.5, 1]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ROAD(percentages=percentages)(model, x, y, a)


def test_quantus_conventions(rgb):
    model, x, y, a = rgb
    options = {"scale": 2.0}
    seen = []

    def explain(model, inputs, targets, scale, **kwargs):
        seen.append(kwargs)
        return scale * np.abs(inputs)

    road = ROAD(percentages=PERCENTAGES, return_aggregate=True)
    first = road(
        model, x, y, explain_func=explain, explain_func_kwargs=options, device=torch.device("cpu")
    )
    assert options == {"scale": 2.0}
    assert seen[0] == {"device": torch.device("cpu")}
    assert first == [pytest.approx(np.mean(list(road.accuracy.values())))]
    assert road.evaluation_scores == first
    road(model, x, y, a)
    assert len(road.all_evaluation_scores) == 2
    assert road.get_params["percentages"] == PERCENTAGES
    assert not {"curves", "accuracy", "components"} & set(road.get_params)
    assert ROAD().percentages == list(range(1, 100, 2))
    absolute = ROAD(percentages=PERCENTAGES, abs=True, normalise=True)(model, x, y, a)
    assert absolute == ROAD(percentages=PERCENTAGES)(model, x, y, np.abs(a))
    with pytest.raises(ValueError, match="Unexpected keyword"):
        road(model, x, y, a, custom=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "most"}, "order: expected"),
        ({"percentages": []}, "percentages: expected"),
        ({"percentages": [10, 100]}, "percentages: expected"),
        ({"percentages": [10, 10]}, "percentages: expected"),
        ({"percentages": ["a"]}, "percentages: expected"),
        ({"percentages": 50}, "percentages: expected .*, got 50$"),
        ({"percentages": 50}, "percentages: expected"),
        ({"noise": -1.0}, "noise: expected"),
        ({"noise": "much"}, "noise: expected"),
        ({"noise": np.nan}, "noise: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"seed": 0.5}, "seed: expected"),
        ({"n_jobs": 0}, "n_jobs: expected"),
        ({"explain_batch_size": 0}, "explain_batch_size: expected"),
        ({"unknown": 0}, "Unexpected keyword"),
    ],
)
def test_refuses_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        ROAD(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "resnet"}, "model: expected a torch.nn.Module, got str"),
        ({"x_batch": np.zeros((11, 12))}, r"x_batch: expected images .*, got \(11, 12\)"),
        ({"x_batch": np.zeros((11, 12, 10, 3))}, "channel_first"),
        ({"y_batch": np.zeros(10, dtype=int)}, r"y_batch: expected .*\(11,\)"),
        ({"y_batch": np.full(11, 0.5)}, "y_batch: expected integer"),
        ({"y_batch": np.full(11, 4)}, "y_batch: expected classes from 0 to 3"),
        ({"a_batch": np.zeros((11, 2, 12, 10))}, "a_batch: expected maps of shape"),
        ({"a_batch": None}, "explain_func: .*no explain_func was given"),
        ({"a_batch": None, "explain_func": 3}, "explain_func: expected a callable, got int"),
        ({"a_batch": None, "explain_func": lambda **_: np.zeros(3)}, "explain_func: expected maps"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"model": nn.Identity().eval()}, "model: expected floating-point logits"),
    ],
)
def test_refuses_arguments(rgb, change, message):
    model, x, y, a = rgb
    arguments = {"model": model, "x_batch": x, "y_batch": y, "a_batch": a}
    with pytest.raises(ValueError, match=message):
        ROAD(percentages=[50])(**(arguments | change))


def test_models_that_return_more_than_logits(rgb):
    model, x, y, a = rgb

    class Mapping(nn.Module):
        def forward(self, x, scale):
            return {"features": x, "scores": scale * model(x)}

    options = {"model_predict_kwargs": {"scale": 2.0}}
    scores = ROAD(percentages=PERCENTAGES, output="scores")(Mapping().eval(), x, y, a, **options)
    assert scores == ROAD(percentages=PERCENTAGES)(model, x, y, a)

    def explain(model, inputs, targets, **kwargs):
        """Take the model for one that returns logits, as most explainers do."""
        leaf = torch.as_tensor(inputs).requires_grad_()
        logits = model(leaf)[torch.arange(len(leaf)), torch.as_tensor(targets)]
        return torch.autograd.grad(logits.sum(), leaf)[0].numpy()

    road = ROAD(percentages=PERCENTAGES, output="scores")
    scores = road(Mapping().eval(), x, y, explain_func=explain, **options)
    assert scores == ROAD(percentages=PERCENTAGES)(model, x, y, explain_func=explain)


def test_out_of_memory_halves_the_batch(rgb):
    model, x, y, a = rgb

    class Small(nn.Module):
        def forward(self, x):
            if len(x) > 3:
                raise torch.OutOfMemoryError("no room")
            return model(x)

    expected = ROAD(percentages=PERCENTAGES)(model, x, y, a)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        assert ROAD(percentages=PERCENTAGES)(Small().eval(), x, y, a) == expected


def test_refuses_training_mode(rgb):
    model, x, y, a = rgb
    with pytest.raises(ValueError, match="evaluation mode"):
        ROAD(percentages=[50])(model.train(), x, y, a)


def test_a_class_that_the_model_rules_out(rgb):
    """A logit of minus infinity is no prediction, and no reason for a sample to have no score."""
    model, x, y, a = rgb
    road = ROAD(percentages=PERCENTAGES)
    expected = road(model, x, y, a)

    def masked(logits):
        return torch.cat([logits, torch.full_like(logits[:, :1], -torch.inf)], 1)

    assert ROAD(percentages=PERCENTAGES, output=masked)(model, x, y, a) == expected
