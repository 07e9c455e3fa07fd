"""What evaluate does with the error of a metric."""

import numpy as np
import pytest
import torch

import quantus


class BrokenMetricError(Exception):
    """The error of the metric below."""


def broken_metric(**kwargs):
    """Fail as a metric might."""
    raise BrokenMetricError("the reason")


@pytest.fixture
def arguments():
    """A model, inputs and attributions."""
    rng = np.random.default_rng(0)
    return {
        "xai_methods": {"Own": rng.normal(size=(4, 1, 8, 8))},
        "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval(),
        "x_batch": rng.normal(size=(4, 1, 8, 8)),
        "y_batch": np.zeros(4, dtype=int),
    }


@pytest.mark.evaluate_func
def test_evaluate_raises_the_metrics_error(arguments, capsys):
    """Test that the error is the metric's, and is printed with the names as before."""
    with pytest.raises(BrokenMetricError, match="the reason"):
        quantus.evaluate(metrics={"Broken": broken_metric}, **arguments)
    assert "Failed to evaluate Own explanations on Broken" in capsys.readouterr().out


@pytest.mark.evaluate_func
def test_evaluate_with_several_call_kwargs_goes_on(arguments):
    """Test that results of several sets of arguments lack the failed one's only, as before."""
    results = quantus.evaluate(
        metrics={
            "Broken": broken_metric,
            "Sparseness": quantus.Sparseness(disable_warnings=True),
        },
        call_kwargs={"a": {"batch_size": 2}, "b": {"batch_size": 4}},
        **arguments,
    )
    assert results["Own"]["Broken"] == {}
    assert set(results["Own"]["Sparseness"]) == {"a", "b"}
