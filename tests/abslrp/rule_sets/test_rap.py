"""RAP against sums of contributions in float64, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import abslrp
from tests.abslrp.rule_sets import networks
from tests.naive.contributions import (
    Array,
    Share,
    conv,
    conv_forward,
    divide,
    linear,
    linear_forward,
)
from tests.naive.pooling import max_pool


def rap_share(*, last: bool = False) -> Share:
    """Messages of RAP before its mean correction; the bias takes no part."""

    def share(z: Array, bias: Array | float, R: Array) -> Array:
        positive, negative = np.maximum(z, 0), np.maximum(-z, 0)
        P, N = positive.sum(-1), negative.sum(-1)
        weight = divide(R, P + N) if last else divide(R, P)
        return positive * weight[..., None] + negative * divide(R, P + N)[..., None]

    return share


def corrected(raw: Array, R: Array) -> Array:
    """The excess over the received sum, taken evenly from the non-zero entries of a sample."""
    out = raw.copy()
    for one, received in zip(out, R, strict=True):
        there = one != 0
        one[there] -= (one.sum() - received.sum()) / max(there.sum(), 1)
    return out


def test_by_hand():
    first, second = nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False)
    first.weight.data = torch.tensor([[3.0, -1.0, 0.0]])
    second.weight.data = torch.ones(1, 1)
    model = nn.Sequential(first, nn.ReLU(), second).double().eval()
    # z = (3, -1, 0): P = 3, N = 1. Raw: 1, 1/4, 0; excess 1/4, so 1/8 off the two.
    given = abslrp.explain(model, torch.ones(1, 3).double(), 0, rules="RAP")
    assert given.tolist() == [[0.875, 0.125, 0.0]]
    # The layer of the logits alone: |z| / 4.
    given = abslrp.explain(first.eval(), torch.ones(1, 3).double(), 0, rules="RAP")
    assert given.tolist() == [[0.75, 0.25, 0.0]]


def test_contrast_by_hand():
    layer, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    head.weight.data = torch.tensor([[3.0, 1.0], [1.0, 0.0]])
    model = nn.Sequential(layer, nn.ReLU(), head).double().eval()
    # Hidden (1, 2). Class 0: z = (3, 2), so 3/5 and 2/5; class 1: z = (1, 0), so 1 and 0. The
    # layer sends each on as it is.
    given = abslrp.explain(model, torch.ones(1, 2).double(), 0, rules="cRAP")
    np.testing.assert_allclose(given, [[3 / 5 - 1, 2 / 5 - 0]])


@pytest.mark.parametrize("signed", [True, False])
def test_a_network_against_sums_of_contributions(signed):
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    w1, b1, w2 = draw((4, 2, 3, 3)), draw(4), draw((3, 4, 2, 2))
    w3, b3, w4 = draw((6, 12)), draw(6), draw((3, 6))
    x = draw((2, 2, 8, 8)) if signed else np.abs(draw((2, 2, 8, 8)))
    relu = lambda h: np.maximum(h, 0)  # noqa: E731
    a1 = relu(conv_forward(x, w1, b1))
    pooled = max_pool(a1, None, 2)
    a2 = relu(conv_forward(pooled, w2, None))
    a3 = relu(linear_forward(a2.reshape(2, -1), w3, b3))
    R = linear(a3, w4, None, np.eye(3)[[1, 2]], rap_share(last=True))
    R = corrected(linear(a2.reshape(2, -1), w3, b3, R, rap_share()), R).reshape(a2.shape)
    R = corrected(conv(pooled, w2, None, R, share=rap_share()), R)
    R = max_pool(a1, R, 2)
    expected = corrected(conv(x, w1, b1, R, share=rap_share()), R)

    class Network(nn.Module):
        def forward(self, v):
            t = torch.tensor
            v = F.relu(F.conv2d(v, t(w1), t(b1)))
            v = F.relu(F.conv2d(F.max_pool2d(v, 2), t(w2))).flatten(1)
            return F.linear(F.relu(F.linear(v, t(w3), t(b3))), t(w4))

    given = abslrp.explain(Network().eval(), x, np.array([1, 2]), rules="RAP")
    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-13)
    assert (given < 0).any()
    np.testing.assert_allclose(given.sum((1, 2, 3)), 1, rtol=1e-9)


@pytest.mark.parametrize("spelling", ["linear", "matmul", "rmatmul", "addmm", "vector", "mv"])
def test_spellings_correct_each_row(spelling):
    rng = np.random.default_rng(0)
    x, R = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    weight = rng.standard_normal((3, 5))
    if spelling == "vector":
        weight, R = weight[:1], R[:, :1]
    w = torch.tensor(weight)
    layers = {
        "linear": lambda v: F.linear(v, w),
        "matmul": lambda v: v @ w.T,
        "rmatmul": lambda v: (w @ v.T).T,
        "addmm": lambda v: torch.addmm(torch.ones(3).double(), v, w.T),
        "vector": lambda v: (v @ w[0]).unsqueeze(1),
        "mv": lambda v: torch.stack([w @ row for row in v]),
    }
    leaf = torch.tensor(x, requires_grad=True)
    with abslrp.propagation("RAP"):
        output = layers[spelling](leaf) * 1.0  # so that the layer is not the logits'
    (given,) = torch.autograd.grad(output, leaf, torch.tensor(R))
    expected = corrected(linear(x, weight, None, R, rap_share()), R)
    np.testing.assert_allclose(given, expected, rtol=1e-10)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_convolutions_correct_each_sample(dimensions):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, *[4] * dimensions))
    weight = rng.standard_normal((3, 2, *[2] * dimensions))
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dimensions]
    leaf = torch.tensor(x, requires_grad=True)
    with abslrp.propagation("RAP"):
        output = function(leaf, torch.tensor(weight), torch.ones(3).double()).relu()
    R = rng.standard_normal(output.shape)
    (given,) = torch.autograd.grad(output, leaf, torch.tensor(R))
    expected = corrected(conv(x, weight, None, R, share=rap_share()), R)
    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["vgg", "vgg_bn", "basic", "bottleneck"])
def test_relevance_is_conserved_and_has_both_signs(name):
    x, y, _ = networks.images()
    given = abslrp.explain(networks.make(name), x, y, rules="RAP")
    torch.testing.assert_close(given.sum((1, 2, 3)), torch.ones(2).double(), rtol=1e-4, atol=0)
    assert (given < 0).any()


def test_no_contribution_sends_nothing():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    given = abslrp.explain(model, torch.zeros(1, 3).double(), 0, rules="RAP")
    assert given.tolist() == [[0.0, 0.0, 0.0]]
