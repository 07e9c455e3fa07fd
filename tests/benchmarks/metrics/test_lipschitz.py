"""LocalLipschitz by a map whose value is known whatever the model: normal noise."""

import numpy as np
import pytest
from scipy.stats import norm
from torch import nn

from benchmarks.metrics.registry import LocalLipschitz


@pytest.mark.parametrize(("perturbations", "images", "mean"), [(10, 1, 1.185), (200, 4, 1.124)])
def test_the_means_that_decisions_quote_for_a_random_map(perturbations, images, mean):
    """Of the positive part of normal noise, scaled to one maximum for all images of a batch."""
    rng, n = np.random.default_rng(0), 224 * 224
    a, b = (
        norm.isf(-np.expm1(np.log(rng.random((2000, k))) / (n * images)))
        for k in (1, perturbations)
    )
    distance = np.sqrt(n / 2 * (1 / a**2 + 1 / b**2 - 2 / (np.pi * a * b)))
    assert abs((distance / (0.1 * np.sqrt(3 * n))).max(1).mean() - mean) < 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_a_random_map_scores_what_its_largest_values_say(channels):
    """1.185 with ten perturbations, by a simulation of the maxima; it varies by 0.037."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    nn.init.zeros_(model[2].weight)  # no noise changes the prediction
    model[2].bias.data[1] += 9.0
    rng = np.random.default_rng(0)

    def explain(model, inputs, targets, **kwargs):
        return rng.standard_normal((len(inputs), channels, 224, 224))

    x = np.zeros((1, 3, 224, 224), dtype=np.float32)
    (score,) = LocalLipschitz(samples=10)(model, x, np.array([1]), explain_func=explain)
    assert 1.185 - 5 * 0.037 < score < 1.185 + 5 * 0.037
