"""The metrics within quantus.evaluate: callables, Quantus's own methods, and arrays."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import quantus
import torch

from gae_metric import (
    GAE,
    Contrastiveness,
    LocalConsistency,
    LocalFaithfulness,
    LocalRobustness,
)
from gae_metric.companions import AOPC, ROAD
from gae_metric.explainers import integrated_gradients
from tests.gae_metric.nets import conv_net, gradient_tensor, images, input_x_gradient, top_classes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ALL = {
    "GAE": GAE,
    "C": Contrastiveness,
    "LC": LocalConsistency,
    "LC_F": LocalFaithfulness,
    "LC_R": LocalRobustness,
}


@pytest.fixture(scope="module")
def case():
    net = conv_net(dtype=torch.float32)
    x = images(5, (3, 12, 12), dtype=np.float32)
    return net, x, top_classes(net, x)


def metrics():
    return {name: cls(disable_warnings=True) for name, cls in ALL.items()}


def explained(net, x, y):
    def numpy_gradient(model, inputs, targets, **kwargs):
        maps = gradient_tensor(model, torch.as_tensor(inputs), torch.as_tensor(targets))
        return maps.numpy()

    return numpy_gradient(net, x, y), numpy_gradient


def test_functions_fill_every_cell(case):
    net, x, y = case
    _, numpy_gradient = explained(*case)
    methods = {"IxG": input_x_gradient, "Gradient": numpy_gradient}
    results = quantus.evaluate(metrics(), methods, net, x, y, explain_func_kwargs={})
    for method, function in methods.items():
        for name, cls in ALL.items():
            scores = results[method][name]
            assert len(scores) == 5
            alone = cls(disable_warnings=True)(net, x, y, explain_func=function)
            np.testing.assert_allclose(scores, alone, atol=1e-6)


def test_quantus_own_methods(case):
    net, x, y = case
    methods = {
        name: {"method": name, "xai_lib": "captum"} for name in ("Saliency", "InputXGradient")
    }
    results = quantus.evaluate(metrics(), methods, net, x, y)
    assert set(results) == set(methods)
    expected = GAE(disable_warnings=True)(
        net,
        x,
        y,
        explain_func=quantus.explain,
        explain_func_kwargs={"method": "InputXGradient"},
    )
    np.testing.assert_allclose(results["InputXGradient"]["GAE"], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["Saliency", "IntegratedGradients"])
def test_quantus_explain_in_the_precision_of_the_model(dtype, method):
    net = conv_net(dtype=dtype)
    x = images(4, (3, 12, 12), np.float64)
    options = {"method": method}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = GAE()(
            net,
            x,
            top_classes(net, x),
            explain_func=quantus.explain,
            explain_func_kwargs=options,
        )
    assert np.isfinite(scores).all()
    assert options == {"method": method}


def test_a_random_method_of_quantus_is_taken_for_what_it_is(case):
    net, x, y = case
    methods = {"Control Var. Random Uniform": {"method": "Control Var. Random Uniform"}}
    results = quantus.evaluate(metrics(), methods, net, x, y)
    assert len(results["Control Var. Random Uniform"]["GAE"]) == 5


def test_dictionary_without_method_is_explained_with_the_method_of_its_name(case):
    """Quantus 0.6.0 computes plain gradients for it, and passes the name to metrics."""
    net, x, y = case
    with pytest.warns(RuntimeWarning, match="explains x_batch again with method 'Saliency'"):
        results = quantus.evaluate(
            {"GAE": GAE(), "LC_F": LocalFaithfulness()}, {"Saliency": {}}, net, x, y
        )
    for name, cls in (("GAE", GAE), ("LC_F", LocalFaithfulness)):
        expected = cls(disable_warnings=True)(
            net, x, y, explain_func=quantus.explain, explain_func_kwargs={"method": "Saliency"}
        )
        np.testing.assert_allclose(results["Saliency"][name], expected, atol=1e-6)


@pytest.mark.parametrize("method", ["LIME", "Saliency"])
def test_arrays_are_enough_for_local_faithfulness(case, method):
    net, x, y = case
    maps = np.random.default_rng(0).normal(size=(5, 1, 12, 12))
    results = quantus.evaluate({"LC_F": LocalFaithfulness()}, {method: maps}, net, x, y)
    expected = LocalFaithfulness()(net, x, y, a_batch=maps)
    assert results[method]["LC_F"] == expected


@pytest.mark.parametrize("method", ["LIME", "Saliency"])
@pytest.mark.parametrize("name", ["GAE", "C", "LC", "LC_R"])
def test_arrays_are_refused_by_the_others_before_any_work(case, capsys, method, name):
    net, x, y = case
    maps = np.random.default_rng(0).normal(size=(5, 1, 12, 12))
    calls = {"one": {}, "two": {}}  # with two, evaluate gets over a metric's error
    results = quantus.evaluate({name: ALL[name]()}, {method: maps}, net, x, y, call_kwargs=calls)
    assert results[method][name] == {}
    message = capsys.readouterr().out
    assert "a_batch: " in message
    assert "gae_metric.ProbeSet" in message
    assert "gae-metric probe" in message


def test_arrays_after_a_dictionary_whose_arguments_carry_over(case, capsys):
    """evaluate passes arguments of the method before on; the arrays' name decides."""
    net, x, y = case
    maps = np.random.default_rng(0).normal(size=(5, 1, 12, 12))
    methods = {"InputXGradient": {"method": "InputXGradient"}, "Mine": maps}
    results = quantus.evaluate(
        {"GAE": GAE(disable_warnings=True)}, methods, net, x, y, call_kwargs={"a": {}, "b": {}}
    )
    assert len(results["InputXGradient"]["GAE"]["a"]) == 5
    assert results["Mine"]["GAE"] == {}
    assert "quantus.explain has no method 'Mine'" in capsys.readouterr().out


def test_precomputed_maps_save_one_explanation_and_count(case):
    net, x, y = case
    maps, function = explained(*case)
    calls = []

    def counting(model, inputs, targets, **kwargs):
        calls.append(len(inputs))
        return function(model, inputs, targets)

    without = GAE(disable_warnings=True)(net, x, y, explain_func=counting)
    # All states in the first 64; of the others no two that are masked as a whole.
    assert sum(calls) == 64 + 28
    calls.clear()
    given = GAE(disable_warnings=True)(net, x, y, a_batch=maps, explain_func=counting)
    assert sum(calls) == 64 + 28 - 5 + 2  # two are made again, to see that they are the same
    np.testing.assert_allclose(given, without, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda maps: np.roll(maps, 3, axis=-1),
        lambda maps: maps[::-1].copy(),  # another order
        lambda maps: np.concatenate([maps[:-1], maps[:1]]),
        np.sqrt,  # another method's
        lambda maps: maps.repeat(3, axis=1),
    ],
)
@pytest.mark.parametrize("cls", [GAE, LocalConsistency])
def test_maps_of_another_method_or_order_are_refused(case, cls, wrong):
    maps, function = explained(*case)
    with pytest.raises(ValueError, match="they are not the maps that explain_func gives"):
        cls(disable_warnings=True)(*case, a_batch=wrong(maps), explain_func=function)


@pytest.mark.parametrize(
    "metric",
    [LocalFaithfulness(), ROAD(percentages=[40]), AOPC(regions=4, size=3)],
    ids=lambda m: m.name,
)
def test_maps_that_are_enough_are_scored_and_told_of_if_they_are_anothers(case, metric):
    maps, function = explained(*case)
    alone = metric(*case, a_batch=maps[::-1].copy())
    with pytest.warns(RuntimeWarning, match="scores these maps, which are not those that explain_"):
        assert metric(*case, a_batch=maps[::-1].copy(), explain_func=function) == alone
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "a_batch")
        assert metric(*case, a_batch=maps, explain_func=function) != alone


def test_given_maps_may_be_scaled_and_random(case):
    net, x, y = case
    maps, function = explained(*case)
    metric = LocalConsistency(disable_warnings=True)
    expected = metric(net, x, y, explain_func=function)
    scaled = maps / np.abs(maps).max(axis=(1, 2, 3), keepdims=True)
    for form in (scaled, scaled.astype(np.float32), torch.tensor(maps), maps.astype(">f8")):
        found = metric(net, x, y, a_batch=form, explain_func=function)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    rng = np.random.default_rng(0)

    def noise(model, inputs, targets, **kwargs):
        return rng.normal(size=inputs.shape)

    metric(net, x, y, a_batch=noise(net, x, y), explain_func=noise)


def test_given_maps_may_differ_by_what_depends_on_the_batch(case):
    """A seed for each call, and the rounding of a small difference of large maps."""
    net, x, y = case
    function = explained(*case)[1]

    def seeded(model, inputs, targets, **kwargs):
        noise = np.random.default_rng(0).normal(size=inputs.shape)
        return input_x_gradient(model, inputs, targets) + noise

    def rounded(model, inputs, targets, **kwargs):
        maps = function(model, inputs, targets)
        maps[:, :, 0, 0] += 0.02 * (len(inputs) - 1) / len(inputs) * np.abs(maps).max()
        return maps

    for explainer in (seeded, rounded):
        maps = explainer(net, x, y)
        assert len(GAE(disable_warnings=True)(net, x, y, a_batch=maps, explain_func=explainer)) == 5
        with pytest.raises(ValueError, match="they are not the maps that explain_func gives"):
            GAE()(net, x, y, a_batch=maps, explain_func=function)


def test_given_maps_are_checked_though_explain_func_overwrites_its_inputs(case):
    net, x, y = case

    def untidy(model, inputs, targets):
        maps = input_x_gradient(model, inputs.copy(), targets)
        inputs += 1
        return maps

    noise = np.random.default_rng(0).normal(size=x.shape)
    metric = LocalConsistency(disable_warnings=True)
    with pytest.raises(ValueError, match="they are not the maps that explain_func gives"):
        metric(net, x, y, a_batch=noise, explain_func=untidy)


def test_arguments_of_the_caller_are_left_alone(case):
    net, x, y = case
    options = {"method": "anything"}
    seen = []

    def explainer(model, inputs, targets, **kwargs):
        seen.append(kwargs)
        return inputs

    GAE(disable_warnings=True)(
        net, x, y, explain_func=explainer, explain_func_kwargs=options, device="cpu"
    )
    assert options == {"method": "anything"}
    assert all(kwargs == {"method": "anything", "device": "cpu"} for kwargs in seen)


def test_no_warning_without_reason(case):
    net, x, y = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cls in ALL.values():
            cls()(net, x, y, explain_func=gradient_tensor)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": 0}, "explain_func_kwargs: .* without model, inputs and targets.* got targets"),
        ([1], "explain_func_kwargs: expected a mapping .*, got list"),
        ({1: 2}, "explain_func_kwargs: expected a mapping from names, .*, got 1"),
        ({"n_step": 3}, r"n_step: no such parameter; did you mean n_steps\?"),
    ],
)
@pytest.mark.parametrize("metric", [GAE(), ROAD()], ids=lambda m: m.name)
def test_keywords_of_an_explainer_that_would_be_ignored_or_replace_ours(
    case, metric, options, message
):
    with pytest.raises(ValueError, match=message):
        metric(*case, explain_func=integrated_gradients, explain_func_kwargs=options)


def test_keywords_of_other_explainers_are_left_to_the_function(case):
    """As quantus.evaluate hands the same ones to all."""
    metric = LocalConsistency(disable_warnings=True)
    expected = metric(*case, explain_func=integrated_gradients, explain_func_kwargs={"n_steps": 3})
    options = {"n_steps": 3, "method": "IG", "xai_lib": "captum"}
    call = {"explain_func": integrated_gradients, "explain_func_kwargs": options}
    assert metric(*case, **call) == expected


@pytest.mark.parametrize("result", [lambda a: a.mean(1), lambda a: None])
def test_a_normalise_func_that_returns_another_shape_is_named(case, result):
    metric = LocalConsistency(normalise=True, normalise_func=result)
    with pytest.raises(ValueError, match=r"normalise_func: expected a map of shape \(1, "):
        metric(*case, explain_func=input_x_gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_quantus_explain_of_models_of_other_types(case, dtype):
    """Quantus sums input x gradient over the channels."""
    net, x, y = case
    net = copy.deepcopy(net).to(dtype)

    def summed(model, inputs, targets, **kwargs):
        maps = input_x_gradient(model, inputs, targets)
        return maps.astype(np.float32).sum(1, keepdims=True)

    expected = LocalConsistency(disable_warnings=True)(net, x, y, explain_func=summed)
    found = LocalConsistency(disable_warnings=True)(
        net, x, y, explain_func=quantus.explain, explain_func_kwargs={"method": "InputXGradient"}
    )
    assert max(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("default", [torch.float16, torch.float64])
def test_quantus_explain_whatever_the_default_type(case, default):
    """Quantus makes tensors of that type, which models of another one refuse."""
    net, x, y = case
    given = {"explain_func": quantus.explain, "explain_func_kwargs": {"method": "Saliency"}}
    expected = LocalConsistency(disable_warnings=True)(net, x, y, **given)
    torch.set_default_dtype(default)
    try:
        found = LocalConsistency(disable_warnings=True)(net, x, y, **given)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
