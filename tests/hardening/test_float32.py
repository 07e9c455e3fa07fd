"""How far float32 is from float64 on a CPU: the figures of docs/limits.md and docs/hardening.md."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import abslrp
import gae_metric
from gae_metric import GAE
from gae_metric.demo import digits, networks

#: Largest distance of a single score of GAE, of their mean, and of a map from its largest value.
#: On the machine of the documents: VGG 0.030, 0.0030, 0.026; the ViT and the residual network 2e-5,
#: 2e-6, 3e-5. What is rounded how depends on the machine, so that bounds are twice that or more.
BOUNDS = {"vgg": (0.06, 0.006, 0.06), "resnet": (1e-4,) * 3, "vit": (1e-4,) * 3}


def well_conditioned(name):
    """Eight digits whose map in float64 hardly moves when weights do by what float32 rounds."""
    x, y = digits.load("test", n=12)
    model = networks.load(name).double()
    weights = [weight.detach().clone() for weight in model.parameters()]

    def maps():
        return abslrp.explain(model, x.astype(np.float64), y).reshape(len(x), -1)

    exact, change = maps(), np.zeros(len(x))
    torch.manual_seed(0)
    for _ in range(6):
        with torch.no_grad():
            for moved, weight in zip(model.parameters(), weights, strict=True):
                moved.copy_(weight * (1 + 2.0**-23 * torch.randn_like(weight)))
        change = np.maximum(change, np.abs(maps() - exact).max(1) / np.abs(exact).max(1))
    chosen = np.flatnonzero(change < 2 * BOUNDS[name][2])[:8]
    assert len(chosen) == 8
    return x[chosen], y[chosen]


@pytest.mark.parametrize("name", networks.NAMES)
def test_float32_is_near_float64(name):
    x, y = well_conditioned(name)
    found = []
    for dtype in (np.float32, np.float64):
        gae_metric.clear_cache()
        model = networks.load(name)
        model = copy.deepcopy(model).double() if dtype == np.float64 else model
        images = x.astype(dtype)
        metric = GAE(steps=10 if name == "vgg" else 4, disable_warnings=True)
        scores = metric(model, images, y, explain_func=abslrp.explain)
        maps = np.asarray(abslrp.explain(model, images, y), dtype=np.float64).reshape(8, -1)
        found.append((np.asarray(scores), maps))
    (scores, maps), (exact, exact_maps) = found
    score, mean, largest = BOUNDS[name]
    assert np.abs(scores - exact).max() <= score
    assert abs(scores.mean() - exact.mean()) <= mean
    assert (np.abs(maps - exact_maps).max(1) / np.abs(exact_maps).max(1)).max() <= largest
