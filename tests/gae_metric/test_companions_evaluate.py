"""Both companions inside one quantus.evaluate."""

import numpy as np
import quantus
import torch
from torch import nn

from gae_metric.companions import ROAD, Focus


def saliency(model, inputs, targets, **kwargs):
    leaf = torch.as_tensor(inputs).clone().requires_grad_()
    model(leaf)[torch.arange(len(leaf)), torch.as_tensor(targets)].sum().backward()
    return leaf.grad.abs().amax(1, keepdim=True).numpy()


def ones(model, inputs, targets, **kwargs):
    maps = np.ones_like(inputs)
    # quantus.evaluate itself refuses constant maps before any metric sees them.
    maps[:, :, 0, 0] = 1 + 1e-6
    return maps


def test_every_cell_has_a_finite_score_per_sample():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)
    ).eval()
    x = np.random.default_rng(0).standard_normal((7, 3, 12, 12)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1, 2, 2])
    options = {"size": 1}
    metrics = {
        "ROAD MoRF": ROAD("morf", percentages=[10, 50]),
        "ROAD LeRF": ROAD("lerf", percentages=[10, 50]),
        "Focus": Focus(),
        "LocalLipschitz": quantus.LocalLipschitzEstimate(nr_samples=2, normalise=False),
    }
    methods = {"Saliency": saliency, "Constant": ones}
    results = quantus.evaluate(
        metrics, methods, model, x, y, explain_func_kwargs=options, call_kwargs={"": {}}
    )
    for method in methods:
        for metric in metrics:
            assert np.shape(results[method][metric]) == (7,)
            assert np.isfinite(results[method][metric]).all()
    assert options == {"size": 1}
    alone = Focus()(model, x, y, explain_func=saliency)
    np.testing.assert_allclose(results["Saliency"]["Focus"], alone, atol=1e-6)


def test_with_quantus_explain():
    """quantus.explain with Captum, called as any other explain_func."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2)).eval()
    x = np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(np.float32)
    y = np.array([0, 1, 0, 1])
    results = quantus.evaluate(
        {"ROAD": ROAD(percentages=[20]), "Focus": Focus()},
        {"InputXGradient": {"method": "InputXGradient", "xai_lib": "captum"}},
        model,
        x,
        y,
    )
    assert np.isfinite(results["InputXGradient"]["ROAD"]).all()
    assert np.isfinite(results["InputXGradient"]["Focus"]).all()
