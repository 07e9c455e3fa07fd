"""The contribution's functions beside this package's; run by ``test_upstream.py`` as a script.

``python -m tests.upstream_functions`` with the changed Quantus first on PYTHONPATH. Inputs
and weights are small integers, so that outputs and impacts are exact, and there are many ties.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from quantus.functions import gae_func
from torch import Tensor, nn

from gae_metric import functional
from gae_metric.functional.mosaic_plan import draw_mosaics


def check_mosaics(samples: int, classes: int, copies: int, bad: int, seed: int) -> None:
    """Mosaics of few samples, of copies, and of samples that are not finite, are the same."""
    rng = np.random.default_rng(seed)
    shape = (2, 7, 5) if seed % 2 else (2, 11)
    x, y = rng.normal(size=(samples, *shape)), rng.integers(0, classes, samples)
    for _ in range(copies):
        x[rng.integers(samples)] = x[rng.integers(samples)]
    x.reshape(samples, -1)[rng.integers(0, samples, bad), 0] = np.nan
    usable = np.isfinite(x).reshape(samples, -1).all(1)
    indices, positive = draw_mosaics(functional.content_hashes(x), y, seed, usable=usable)
    indices = np.where(indices < 0, np.arange(samples)[:, None], indices)
    mosaics, found, labels, places = gae_func.contrastive_mosaic_creation(x, y, seed)
    np.testing.assert_array_equal(found, indices)
    np.testing.assert_array_equal(labels, y[indices])
    np.testing.assert_array_equal(places, np.eye(4)[positive])
    expected = functional.mosaics(torch.from_numpy(x), indices)
    np.testing.assert_array_equal(mosaics, expected.numpy())


def check_local_consistency(
    shape: tuple[int, ...], schedule: functional.Schedule, steps: int
) -> None:
    """States are the same to the feature, scores to 1e-6."""
    torch.manual_seed(steps)
    layers = [nn.Linear(int(np.prod(shape)), 12), nn.Linear(12, 5)]
    with torch.no_grad():
        for parameter in nn.ModuleList(layers).parameters():
            parameter.copy_(torch.randint(-3, 4, parameter.shape))
    model = nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1]).eval()
    x, y = torch.randint(-2, 3, (8, *shape)).float(), torch.arange(8) % 5
    x[0] = 0
    trajectory = functional.masking_trajectory(
        model, x, y, steps=steps, schedule=schedule, keep_impacts=True
    )
    assert trajectory.impacts is not None
    lerf, morf = trajectory.impacts
    # Where I_c is 0 but for rounding, its sign must not count.
    a = functional.positive_map(torch.rand(x.shape).where((lerf - morf).abs() > 1e-6, 0.0))
    states = [
        functional.masked_inputs(x, trajectory.masked_from[order], state)
        for order, state in itertools.product((functional.LERF, functional.MORF), range(1, steps))
    ]
    seen = iter(states)

    def explain(inputs: np.ndarray) -> Tensor:
        np.testing.assert_array_equal(inputs, next(seen).numpy())
        return gae_func.positive_map(inputs, inputs.shape)

    found = gae_func.local_consistency(model, explain, x, y, a.double(), steps, schedule)
    maps = [functional.similarity(a, functional.positive_map(each)) for each in states]
    similarities = torch.stack(maps, 1).reshape(len(x), 2, steps - 1)
    outputs = trajectory.outputs
    robustness = functional.local_robustness(
        functional.output_difference(outputs[0, :, 1:], outputs[1, :, 1:], outputs[0, :, 0]),
        similarities[:, 0] - similarities[:, 1],
    )
    faithfulness = functional.local_faithfulness(a, trajectory.impact_sign)
    expected = {
        "lc_robustness": robustness,
        "lc_faithfulness": faithfulness,
        "local_consistency": functional.local_consistency(robustness, faithfulness),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6)


def check_contrastiveness() -> None:
    """Scores are the same to 1e-6, those of logits and mosaics that cannot be scored NaN."""
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(40, 6)))
    for row, value in enumerate((np.nan, np.inf, -np.inf)):
        logits[row, 2] = value
    labels, positive = rng.integers(0, 6, (40, 4)), rng.integers(0, 4, 40)
    labels[:9, :] = [2, 3, 4, 5]
    labels[9] = 1
    maps = rng.normal(size=(40, 3, 7, 5))
    maps[10], maps[11, 0, 0, 0] = -1, np.nan
    found = gae_func.contrastiveness(
        lambda x: x,
        lambda x: gae_func.positive_map(x, x.shape),
        logits,
        maps,
        labels,
        np.eye(4, dtype=int)[positive],
    )
    scores = functional.quadrant_scores(logits, labels, positive)
    expected = functional.contrastiveness(
        functional.positive_map(torch.from_numpy(maps)), functional.score_map(scores, (7, 5))
    )
    expected[~scores.isfinite().all(1)] = torch.nan
    expected[9] = torch.nan  # one class only
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert set(np.flatnonzero(np.isnan(found.numpy()))) >= {0, 1, 9, 11}


if __name__ == "__main__":
    sets = [(4, 1, 0, 0), (4, 2, 2, 0), (5, 2, 3, 2), (5, 3, 0, 4), (6, 1, 6, 0), (7, 3, 0, 7)]
    for given, seed in itertools.product([*sets, (40, 5, 10, 5)], range(6)):
        check_mosaics(*given, seed)
    for shape in ((3, 6, 6), (2, 11), (13,)):
        check_local_consistency(shape, "reranked", 10)
        check_local_consistency(shape, "reranked", 2)
        check_local_consistency(shape, "uniform", 10)
        check_local_consistency(shape, "uniform", 3)
    check_contrastiveness()
    print(gae_func.__file__)
