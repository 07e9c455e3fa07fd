"""GAE and its parts behave like Quantus metrics."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import warnings
import weakref

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import quantus
import torch

import gae_metric
from gae_metric import (
    GAE,
    Contrastiveness,
    LocalConsistency,
    LocalFaithfulness,
    LocalRobustness,
)
from gae_metric.companions import ROAD, Focus
from tests.gae_metric.nets import (
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    top_classes,
)

ALL = (GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, LocalRobustness)


@pytest.fixture(scope="module")
def case():
    net = conv_net(dtype=torch.float32)
    x = images(5, dtype=np.float32)
    return net, x, top_classes(net, x)


@pytest.mark.parametrize("cls", ALL)
def test_class_attributes_are_quantus_own(cls):
    assert issubclass(cls, quantus.metrics.base.Metric)
    assert isinstance(cls.name, str)
    data = quantus.helpers.enums.DataType
    assert data.IMAGE in cls.data_applicability
    assert (data.TABULAR in cls.data_applicability) == cls.__name__.startswith("Local")
    assert cls.model_applicability == {quantus.helpers.enums.ModelType.TORCH}
    assert cls.score_direction == quantus.helpers.enums.ScoreDirection.HIGHER
    assert isinstance(cls.evaluation_category, quantus.helpers.enums.EvaluationCategory)


@pytest.mark.parametrize("cls", ALL)
def test_constructor_and_call_have_quantus_order(cls):
    theirs = list(inspect.signature(quantus.ROAD.__call__).parameters)
    assert list(inspect.signature(cls.__call__).parameters) == theirs
    common = [
        name
        for name in inspect.signature(quantus.ROAD.__init__).parameters
        if name not in ("percentages", "noise", "perturb_func", "perturb_func_kwargs")
    ]
    ours = list(inspect.signature(cls.__init__).parameters)
    assert [name for name in ours if name in common] == common
    assert ours[-len(common) + 1 :] == common[1:]  # its own parameters come first


@pytest.mark.parametrize("cls", ALL)
def test_options_of_quantus_are_off_by_default(cls):
    signature, metric = inspect.signature(cls).parameters, cls()
    for name in ("abs", "normalise", "return_aggregate", "disable_warnings", "display_progressbar"):
        assert signature[name].default is False
    for name in ("abs", "normalise", "return_aggregate", "display_progressbar"):
        assert getattr(metric, name) is False
    assert cls(abs=True).abs is True


def test_own_parameters_come_in_the_documented_order():
    own = list(inspect.signature(GAE.__init__).parameters)[1:6]
    assert own == ["steps", "schedule", "seed", "mosaics", "explain_batch_size"]


@pytest.mark.parametrize("cls", ALL)
def test_parameters_are_attributes_and_get_params_lists_them(cls, case):
    net, x, y = case
    metric = cls(explain_batch_size=7, disable_warnings=True)
    metric(net, x, y, explain_func=gradient_tensor)
    params = metric.get_params
    own = list(inspect.signature(cls.__init__).parameters)[1:]
    for name in own[: own.index("abs")]:
        assert name in params
        assert getattr(metric, name) is params[name]
    assert not {"components", "curves", "evaluation_scores"} & set(params)


def test_parameters_set_later_count(case):
    net, x, y = case
    metric = LocalConsistency(steps=3, disable_warnings=True)
    metric.steps = 5
    metric(net, x, y, explain_func=gradient_tensor)
    assert metric.curves["output_lerf"].shape == (5, 5)
    metric.steps = 1
    with pytest.raises(ValueError, match="steps"):
        metric(net, x, y, explain_func=gradient_tensor)


def test_results_are_floats_kept_as_in_quantus(case):
    net, x, y = case
    metric = GAE(disable_warnings=True)
    first = metric(net, x, y, explain_func=gradient_tensor)
    second = metric(net, x[:4], y[:4], explain_func=gradient_tensor)
    assert [type(score) for score in first] == [float] * 5
    assert metric.evaluation_scores == second
    assert metric.all_evaluation_scores == first + second
    assert isinstance(metric.components, pd.DataFrame)
    assert metric.components.index.tolist() == [0, 1, 2, 3]


def test_aggregate(case):
    net, x, y = case
    each = GAE(disable_warnings=True)(net, x, y, explain_func=gradient_tensor)
    metric = GAE(return_aggregate=True, disable_warnings=True)
    assert metric(net, x, y, explain_func=gradient_tensor) == [pytest.approx(np.mean(each))]
    metric = GAE(return_aggregate=True, aggregate_func=np.max, disable_warnings=True)
    assert metric(net, x, y, explain_func=gradient_tensor) == [max(each)]
    assert len(metric.components) == 5


def test_curves_are_those_that_scores_are_made_of(case):
    net, x, y = case
    metric = LocalConsistency(disable_warnings=True)
    metric(net, x, y, explain_func=gradient_tensor)
    c = metric.curves
    assert {curve.shape for curve in c.values()} == {(5, 10)}
    np.testing.assert_array_equal(c["output_lerf"][:, 0], c["output_morf"][:, 0])
    np.testing.assert_array_equal(c["similarity_lerf"][:, 0], np.ones(5))
    np.testing.assert_array_equal(c["output_difference"][:, 0], np.zeros(5))
    with torch.no_grad():
        logits = net(torch.tensor(x))[range(5), y].numpy()
    np.testing.assert_allclose(c["output_lerf"][:, 0], logits, rtol=1e-5)
    d_o, d_a = c["output_difference"], c["similarity_difference"]
    distance = np.abs(d_o - d_a).sum(1) / (np.abs(d_o).sum(1) + np.abs(d_a).sum(1))
    np.testing.assert_allclose(metric.components["lc_robustness"], 1 - 2 * distance, atol=1e-6)


def test_abs_and_normalise_are_quantus_on_each_map(case):
    net, x, y = case

    def negative(model, inputs, targets, **kwargs):
        return -np.abs(input_x_gradient(model, inputs, targets))

    def positive(model, inputs, targets, **kwargs):
        return -negative(model, inputs, targets)

    expected = GAE(disable_warnings=True)(net, x, y, explain_func=positive)
    found = GAE(abs=True, disable_warnings=True)(net, x, y, explain_func=negative)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    found = GAE(normalise=True, disable_warnings=True)(net, x, y, explain_func=positive)
    np.testing.assert_allclose(found, expected, atol=1e-4)

    sizes = set()

    def log(a, power):
        sizes.add(len(a))
        return a**power

    metric = GAE(
        normalise=True,
        normalise_func=log,
        normalise_func_kwargs={"power": 2},
        disable_warnings=True,
    )
    squared = GAE(disable_warnings=True)(
        net, x, y, explain_func=lambda model, inputs, targets: positive(model, inputs, targets) ** 2
    )
    np.testing.assert_allclose(metric(net, x, y, explain_func=positive), squared, atol=1e-4)
    assert sizes == {1}


@pytest.mark.parametrize("cls", ALL)
def test_unknown_arguments_are_refused_as_in_quantus(cls, case):
    with pytest.raises(ValueError, match="Unexpected keyword arguments"):
        cls(perturb_baseline="black")
    net, x, y = case
    with pytest.raises(ValueError, match="Unexpected keyword arguments"):
        cls()(net, x, y, explain_func=gradient_tensor, perturb_baseline="black")


def test_progress_bar(case, capsys, monkeypatch):
    net, x, y = case
    for name in ("PYTEST", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    metric = GAE(display_progressbar=True, disable_warnings=True)
    metric(net, x, y, explain_func=gradient_tensor)
    assert "GAE: 100%" in capsys.readouterr().err
    GAE(disable_warnings=True)(net, x, y, explain_func=gradient_tensor)
    assert "GAE" not in capsys.readouterr().err


def test_plot(case, tmp_path):
    net, x, y = case
    mpl.use("Agg")
    metric = GAE(disable_warnings=True)
    with pytest.raises(ValueError, match="call the metric first"):
        metric.plot(show=False)
    scores = metric(net, x, y, explain_func=gradient_tensor)
    metric.plot(show=False, path_to_save=str(tmp_path / "own.png"))
    metric.plot(results={"ours": scores}, show=False, path_to_save=str(tmp_path / "given.png"))
    assert (tmp_path / "own.png").stat().st_size > 5000
    assert (tmp_path / "given.png").stat().st_size > 3000
    called = []
    GAE(default_plot_func=lambda **kwargs: called.append(kwargs)).plot(show=False, of="it")
    assert called == [{"of": "it"}]
    mpl.pyplot.close("all")


def test_interpret_scores(capsys):
    GAE().interpret_scores()
    text = capsys.readouterr().out
    assert "Higher is better" in text
    assert "Parameters" not in text


def test_softmax_has_no_effect_and_says_so(case):
    net, x, y = case
    expected = LocalConsistency()(net, x, y, explain_func=gradient_tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LocalConsistency()(net, x, y, explain_func=gradient_tensor, softmax=False)
    with pytest.warns(RuntimeWarning, match="softmax: True has no effect"):
        found = LocalConsistency()(net, x, y, explain_func=gradient_tensor, softmax=True)
    assert found == expected


def test_names_are_imported_when_used():
    assert set(gae_metric.__all__) <= set(dir(gae_metric))
    with pytest.raises(AttributeError, match="No gae_metric attribute Gae"):
        _ = gae_metric.Gae


def test_functional_needs_no_quantus(tmp_path):
    import subprocess
    import sys

    code = "import sys, gae_metric.functional; sys.exit('quantus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("cls", [*ALL, ROAD, Focus])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_metric_can_be_sent_away_whatever_explained_before(case, cls, copied):
    """It keeps nothing of the function, which may be a lambda and hold a large model."""
    net, x, _ = case
    y = [0, 1, 0, 1, 0]
    metric = cls(disable_warnings=True)
    explain = lambda model, inputs, targets, **kwargs: input_x_gradient(model, inputs, targets)  # noqa: E731
    scores = metric(net, x, y, explain_func=explain)
    there = copied(metric)
    pd.testing.assert_frame_equal(there.components, metric.components)
    held = weakref.ref(explain)
    assert there(net, x, y, explain_func=explain) == scores
    del explain
    gc.collect()
    assert held() is None
