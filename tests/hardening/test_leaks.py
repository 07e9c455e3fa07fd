"""Nothing is left of explanations and scores: memory and objects stay flat."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from typer.testing import CliRunner

import gae_metric
from gae_metric import ProbeSet
from gae_metric.companions import ROAD, Focus
from gae_metric.explainers.gradients import EXPLAINERS
from tests.hardening.leaks import app, explaining, growth, scoring
from tests.hardening.networks import NAMES, inputs, network


@pytest.mark.parametrize("name", NAMES)
def test_explanations(name):
    work = explaining(network(name), *inputs(2))
    found = growth(name, work, times=40, warm_up=20)
    assert found.flat, found


@pytest.mark.parametrize("name", NAMES)
def test_scores(name):
    work = scoring(lambda: network(name), *inputs(4), steps=2)
    found = growth(name, work, times=8, warm_up=8)
    assert found.flat, found


@pytest.mark.parametrize("kind", ["tensors", "a cycle with a tensor", "objects"])
def test_a_leak_is_seen(kind):
    """What the tests above would look like if there were one."""
    kept = []

    def leak():
        if kind == "tensors":
            kept.append(torch.ones(100_000))
        elif kind == "objects":
            kept.extend([] for _ in range(20))
        else:
            one = [torch.ones(100_000)]
            one.append(one)
            kept.append(one)

    assert not growth(kind, leak, times=40, warm_up=5).flat


def test_models_and_data_go_with_their_last_user():
    """Neither the cache of trajectories nor a metric nor a probe set keeps a model alive."""
    x, y = (value.numpy() for value in inputs(5))
    model = network("vgg")
    alive = weakref.ref(model)
    work = scoring(alive, *inputs(5), steps=3)
    work()
    ROAD(percentages=[50], disable_warnings=True)(model, x, y, explain_func=EXPLAINERS["Saliency"])
    Focus(disable_warnings=True)(model, x, y, explain_func=EXPLAINERS["Saliency"])
    probe = ProbeSet.build(model, x, y, steps=3)
    entries = gae_metric.cache_info().entries
    assert entries
    del probe, work, model
    gc.collect()
    assert alive() is None
    assert gae_metric.cache_info().entries < entries


@pytest.mark.slow
def test_the_command():
    result = CliRunner().invoke(
        app, ["--explanations", "8", "--calls", "8", "--network", "vgg", "--device", "cpu"]
    )
    assert result.exit_code == 0, result.output
    assert "explanations, vgg: 8 calls" in result.output
    assert "GAE, vgg: 8 calls" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_five_hundred_explanations(name):
    found = growth(name, explaining(network(name), *inputs(2)), times=500, warm_up=40)
    assert found.flat, found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fifty_scores(name):
    found = growth(name, scoring(lambda: network(name), *inputs(4)), times=50, warm_up=16)
    assert found.flat, found
