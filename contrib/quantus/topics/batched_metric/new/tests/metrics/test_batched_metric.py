"""The deprecated base class."""

import logging

import numpy as np
import pytest

from quantus.metrics.base_batched import BatchedMetric


class MeanAttribution(BatchedMetric):
    """A metric of the old kind."""

    def __init__(self, scale=1.0):
        super().__init__(
            abs=False,
            normalise=False,
            normalise_func=None,
            normalise_func_kwargs=None,
            return_aggregate=False,
            aggregate_func=None,
            default_plot_func=None,
            disable_warnings=True,
            display_progressbar=False,
        )
        self.scale = scale

    def evaluate_batch(self, a_batch, **kwargs):
        return list(self.scale * a_batch.mean(axis=(1, 2, 3)))


@pytest.mark.fixes
def test_batched_metric_can_be_subclassed(caplog):
    """Test that a subclass can be made, warns, and works."""
    with caplog.at_level(logging.WARNING):
        metric = MeanAttribution(scale=2.0)
    assert "deprecated" in caplog.text
    a_batch = np.arange(2 * 8 * 8.0).reshape(2, 1, 8, 8)
    scores = metric(
        model=None,
        x_batch=a_batch,
        y_batch=np.zeros(2, dtype=int),
        a_batch=a_batch,
        s_batch=None,
        channel_first=True,
        explain_func=None,
        explain_func_kwargs=None,
        model_predict_kwargs=None,
        softmax=None,
    )
    np.testing.assert_allclose(scores, 2.0 * a_batch.mean(axis=(1, 2, 3)))
