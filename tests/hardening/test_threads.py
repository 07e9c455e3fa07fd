"""Threads that explain and score at once: the results of one thread, bit by bit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import abslrp
import gae_metric
from gae_metric import GAE
from gae_metric.companions import ROAD, Focus
from gae_metric.explainers.gradients import EXPLAINERS
from tests.hardening.networks import NAMES, inputs, network
from tests.hardening.state import Unchanged

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "signed": {"contrast": "signed", "conserve": None},
    "argument": {"conserve": "argument"},
    "alpha beta": {"rules": "alpha2beta1"},
    "RAP": {"rules": "RAP"},
    "queries and keys": {"attention": "queries_keys"},
}


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """Do several things at the same time."""
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], Any]) -> Any:
        barrier.wait(timeout=60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=300) for future in [pool.submit(start, w) for w in works]]


def explaining(name: str, options: dict[str, Any], times: int = 4) -> Callable[[], list[Tensor]]:
    model, (x, y) = network(name), inputs()
    return lambda: [abslrp.explain(model, x, y, **options) for _ in range(times)]


@pytest.mark.parametrize("count", [2, 4])
def test_different_models_with_different_options(count):
    cases = [
        (NAMES[i % 3], OPTIONS[key])
        for i, key in enumerate(key for key in OPTIONS if key != "queries and keys")
    ][:count]
    cases[-1] = ("vit", OPTIONS["queries and keys"])
    works = [explaining(*case) for case in cases]
    wanted = [work()[0] for work in works]
    with Unchanged():
        found = together(works)
    for maps, one in zip(found, wanted, strict=True):
        assert one.abs().max() > 0
        assert all(torch.equal(each, one) for each in maps)


@pytest.mark.parametrize("name", NAMES)
def test_one_model_in_two_threads(name):
    model, (x, y) = network(name), inputs()
    wanted = abslrp.explain(model, x, y)
    with Unchanged(model):
        found = together([lambda: [abslrp.explain(model, x, y) for _ in range(4)]] * 2)
    assert all(torch.equal(each, wanted) for maps in found for each in maps)


class Waiting(torch.nn.Sequential):
    """Runs its layers when two threads are about to."""

    barrier = threading.Barrier(2)

    def forward(self, x: Tensor) -> Tensor:
        self.barrier.wait(timeout=60)
        return super().forward(x)


def test_outputs_of_a_layer_of_one_model_in_two_threads():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)]
    plain, model = torch.nn.Sequential(*layers).eval(), Waiting(*layers).eval()
    given = [torch.rand(2, 4) for _ in range(2)]
    works = [lambda x=x: abslrp.explain(model, x, 0, at="0", contrast=None) for x in given]
    for found, x in zip(together(works), given, strict=True):
        wanted = abslrp.explain(plain, x, 0, at="0", contrast=None)
        assert wanted.abs().max() > 0
        torch.testing.assert_close(found, wanted)


def test_a_context_in_one_thread_is_not_seen_in_another():
    """Gradients of the plain model beside an explanation of the same model."""
    model, (x, y) = network("vit"), inputs()

    def gradient() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(model(leaf).gather(1, y[:, None]).sum(), leaf)[0]

    inside, outside = threading.Event(), threading.Event()

    def explain() -> Tensor:
        leaf = x.clone().requires_grad_()
        with abslrp.propagation(inputs=[leaf]):
            logits = model(leaf)
            inside.set()
            assert outside.wait(60)
            logits = logits + model(leaf)
        return torch.autograd.grad(logits.gather(1, y[:, None]).sum(), leaf)[0]

    def plain() -> Tensor:
        assert inside.wait(60)
        try:
            return gradient()
        finally:
            outside.set()

    wanted = gradient()
    relevance, found = together([explain, plain])
    assert torch.equal(found, wanted)
    assert (relevance - wanted).abs().max() > 1e-2 * wanted.abs().max()


def test_an_error_in_one_thread_is_not_the_others():
    model, (x, y) = network("resnet"), inputs()
    wanted = abslrp.explain(model, x, y)

    def fails() -> int:
        count = 0
        for _ in range(6):
            with pytest.raises(ZeroDivisionError):
                abslrp.explain(model, x, y, output=lambda logits: 1 / 0)
            count += 1
        return count

    with Unchanged(model):
        maps, count = together([lambda: [abslrp.explain(model, x, y) for _ in range(6)], fails])
    assert count == 6
    assert all(torch.equal(each, wanted) for each in maps)


@pytest.mark.parametrize("cached", [True, False])
def test_scores(cached):
    """Of several models and metrics at once, with the cache that they share and without."""
    limit = gae_metric.cache_info().limit
    x, y = (value.numpy() for value in inputs(8))
    models = [network(name) for name in NAMES]
    metrics = [
        lambda: GAE(steps=3, disable_warnings=True),
        lambda: GAE(steps=4, seed=1, schedule="uniform", disable_warnings=True),
        lambda: Focus(disable_warnings=True),
    ]

    def score(index: int) -> list[list[float]]:
        return [
            metrics[(index + k) % 3]()(
                models[index], x, y, explain_func=EXPLAINERS["InputXGradient"], batch_size=3
            )
            for k in range(3)
        ]

    try:
        gae_metric.clear_cache()
        wanted = [score(index) for index in range(3)]
        gae_metric.clear_cache()
        gae_metric.set_cache_limit(limit if cached else 0)
        with Unchanged(*models):
            found = together([lambda i=i: score(i) for i in range(3)])
    finally:
        gae_metric.set_cache_limit(limit)
        gae_metric.clear_cache()
    np.testing.assert_array_equal(np.array(found[0]), np.array(wanted[0]))
    np.testing.assert_array_equal(np.array(found[1]), np.array(wanted[1]))
    np.testing.assert_array_equal(np.array(found[2]), np.array(wanted[2]))


def test_one_model_scored_in_two_threads():
    """Whichever computes a trajectory first, both read the same."""
    x, y = (value.numpy() for value in inputs(8))
    model = network("resnet")
    gae_metric.clear_cache()

    def score() -> list[float]:
        metric = GAE(steps=4, disable_warnings=True)
        scores: list[float] = metric(model, x, y, explain_func=abslrp.explain, batch_size=3)
        return scores

    wanted = score()
    gae_metric.clear_cache()
    with Unchanged(model):
        first, second = together([score, score])
    assert first == wanted
    assert second == wanted
    assert gae_metric.cache_info().entries >= 8


@pytest.mark.parametrize(
    "metric",
    [
        GAE(steps=3, disable_warnings=True),
        GAE(steps=3, return_aggregate=True, aggregate_func=np.mean, disable_warnings=True),
        ROAD(percentages=[20, 60], disable_warnings=True),
        Focus(disable_warnings=True),
    ],
    ids=["GAE", "aggregate", "ROAD", "Focus"],
)
def test_one_metric_in_several_threads(metric):
    """Each call returns its own scores; attributes are of one of the calls."""
    model, (images, _) = network("resnet"), inputs(16)
    names = ("InputXGradient", "Saliency", "IntegratedGradients")
    cases = [(images[4 * i : 4 * i + 4].numpy(), EXPLAINERS[name]) for i, name in enumerate(names)]

    def score(i: int) -> list[float]:
        x, function = cases[i]
        scores: list[float] = metric(model, x, [0, 0, 1, 1], explain_func=function)
        return scores

    wanted = [score(i) for i in range(3)]
    found = together([lambda i=i: [score(i) for _ in range(8)] for i in range(3)])
    for scores, right in zip(found, wanted, strict=True):
        assert scores == [right] * 8
    assert len(metric.components) == 4


def test_road_beside_an_explanation():
    x, y = (value.numpy() for value in inputs(6))
    models = [network("vgg"), network("vit")]

    def road() -> list[float]:
        scores: list[float] = ROAD(percentages=[20, 60], disable_warnings=True)(
            models[0], x, y, explain_func=EXPLAINERS["Saliency"]
        )
        return scores

    explain = explaining("vit", {}, times=3)
    wanted = road(), explain()[0]
    with Unchanged(*models):
        scores, maps = together([road, explain])
    assert scores == wanted[0]
    assert all(torch.equal(each, wanted[1]) for each in maps)
