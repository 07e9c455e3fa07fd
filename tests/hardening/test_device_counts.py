"""The counter of crossings itself, and what an explanation does on a device that is only imagined.

Tensors on torch's "meta" device have shapes and no values: whatever asks for one, or mixes them
with the host's, fails. So that an explanation stays on its device can be seen without a GPU.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn

import abslrp
from abslrp.propagate import Settings, propagate
from gae_metric.functional.scores import local_consistency, similarity
from tests.hardening.device import Crossings
from tests.hardening.networks import NAMES, inputs, network


def test_copies_between_devices_are_counted():
    x = torch.ones(3, 4)
    with Crossings() as seen:
        y = x.to("meta")
        x.double()
        x.to("cpu").clone()
        y.copy_(x.float())
        torch.empty(3, 4, device="meta", dtype=torch.float64).copy_(x)
    assert seen.copies == {("cpu", "meta"): 3}
    assert seen.nbytes == {("cpu", "meta"): 48 + 48 + 96}
    assert not seen.waits


def test_waits_are_counted():
    x = torch.arange(6.0)
    with Crossings("cpu") as seen:
        bool((x > 2).any())
        x.sum().item()
        x[x > 2]
        x[torch.tensor([1, 2])]
        (x > 2).nonzero()
        x.add(1).mul(2)
    assert seen.waits == {"_local_scalar_dense": 2, "index by mask": 1, "nonzero": 1}
    with Crossings() as seen:
        x.sum().item()
    assert not seen.waits  # nothing of that is on a GPU


def test_backward_passes_and_other_modes_are_seen():
    leaf = torch.ones(3, requires_grad=True)

    class Crosses(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            gradient.to("meta")
            return gradient * float(gradient.sum())

    with Crossings("cpu") as seen:
        torch.autograd.grad(Crosses.apply(leaf).sum(), leaf)
    assert seen.copies == {("cpu", "meta"): 1}
    assert seen.waits == {"_local_scalar_dense": 1}


@pytest.fixture
def imagined(monkeypatch):
    """There is no autocast on "meta", so there is none to be turned off."""
    real, enabled = torch.autocast, torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != "meta" and enabled(kind))
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda kind, *args, **kwargs: (
            contextlib.nullcontext() if kind == "meta" else real(kind, *args, **kwargs)
        ),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("signed", [False, True])
def test_an_explanation_on_an_imagined_device(imagined, name, conserve, signed):
    model, (x, _) = network(name), inputs()
    model, x = model.to("meta"), x.to("meta")
    starts = lambda logits: [torch.zeros_like(logits)[None]]  # noqa: E731
    with Crossings("meta") as seen:
        maps = propagate(model, x, starts, lambda m: m, Settings(conserve=conserve), signed=signed)
    assert maps.shape == (1, 1, *x.shape)
    assert maps.is_meta
    assert not seen.waits
    assert ("meta", "cpu") not in seen.copies


def test_a_rule_that_asks_for_a_value_is_found(imagined):
    """So that the test above can fail."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 5)).eval().to("meta")
    rules = abslrp.registry.RuleSet("asks", abslrp.registry.RULE_SETS["absLRP"])

    @rules.rule(torch.nn.functional.linear)
    def linear(operation, input, weight, bias=None):
        float(input.sum())
        return lambda relevance: (relevance @ weight,)

    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        propagate(
            model,
            inputs()[0].to("meta"),
            lambda logits: [torch.zeros_like(logits)[None]],
            lambda m: m,
            Settings(rules=rules),
            signed=False,
        )


def test_scores_on_an_imagined_device():
    a = torch.ones(4, 3, 8, 8, device="meta")
    scores = local_consistency(similarity(a, a), similarity(a, a))
    assert scores.is_meta
    assert scores.shape == (4,)
