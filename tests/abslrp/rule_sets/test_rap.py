"""RAP and equation 5: every spelling of a layer, by the reference row by row, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import abslrp
from tests.abslrp.rule_sets import networks
from tests.naive import rap, rap_eq5


def rows_of(rules, x, weight, R, *, convolution=False, bias=None):
    """Relevance of each row (or sample, flat) by the reference."""
    x, weight, R = (torch.as_tensor(one) for one in (x, weight, R))
    none = torch.zeros(len(weight)).double() if bias is None else bias
    return torch.stack(
        [
            rap.relative(one, weight, r, convolution)
            if rules == "RAP"
            else rap_eq5.by_magnitude(one, weight, none, r)
            for one, r in zip(x, R, strict=True)
        ]
    )


def test_by_hand():
    first, second = nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False)
    first.weight.data = torch.tensor([[3.0, -1.0, 0.0]])
    second.weight.data = torch.ones(1, 1)
    model = nn.Sequential(first, nn.ReLU(), second).double().eval()
    # The logit is 2. z = (3, -1, 0): P = 3, N = 1. Raw: 2, 2/4, 0; excess 1/2, 1/4 off the two.
    given = abslrp.explain(model, torch.ones(1, 3).double(), 0, rules="RAP")
    assert given.tolist() == [[1.75, 0.25, 0.0]]
    # The layer of the logits alone: |z| / 4.
    given = abslrp.explain(first.eval(), torch.ones(1, 3).double(), 0, rules="RAP")
    assert given.tolist() == [[1.5, 0.5, 0.0]]


@pytest.mark.parametrize("rules", ["RAP", "RAP-eq5"])
@pytest.mark.parametrize("spelling", ["linear", "matmul", "rmatmul", "addmm", "vector", "mv"])
def test_spellings_correct_each_row(spelling, rules):
    rng = np.random.default_rng(0)
    x, R = rng.standard_normal((4, 5)), rng.standard_normal((4, 3))
    weight = rng.standard_normal((3, 5))
    if spelling == "vector":
        weight, R = weight[:1], R[:, :1]
    w, bias = torch.tensor(weight), torch.ones(3).double()
    layers = {
        "linear": lambda v: F.linear(v, w),
        "matmul": lambda v: v @ w.T,
        "rmatmul": lambda v: (w @ v.T).T,
        "addmm": lambda v: torch.addmm(bias, v, w.T),
        "vector": lambda v: (v @ w[0]).unsqueeze(1),
        "mv": lambda v: torch.stack([w @ row for row in v]),
    }
    leaf = torch.tensor(x, requires_grad=True)
    with abslrp.propagation(rules):
        output = layers[spelling](leaf)
    (given,) = torch.autograd.grad(output, leaf, torch.tensor(R))
    expected = rows_of(rules, x, weight, R, bias=bias if spelling == "addmm" else None)
    torch.testing.assert_close(given, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rules", ["RAP", "RAP-eq5"])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_convolutions_correct_each_sample(dimensions, rules):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2, *[4] * dimensions))
    weight = torch.tensor(rng.standard_normal((3, 2, *[2] * dimensions)))
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dimensions]
    size = 2 * 4**dimensions
    units = torch.eye(size).double().reshape(size, *x.shape[1:])
    matrix = function(units, weight).flatten(1).T
    leaf = torch.tensor(x)
    identity = torch.eye(2).double().reshape(2, 2, *[1] * dimensions)
    with abslrp.propagation(rules, None, inputs=[leaf]) as context:
        first = function(leaf, identity)  # so that the next one does not see the image
        output = function(first, weight)
    R = rng.standard_normal(output.shape)
    (given,) = context.relevance(output, torch.tensor(R), [first])
    expected = rows_of(rules, x.reshape(2, -1), matrix, R.reshape(2, -1), convolution=True)
    torch.testing.assert_close(given.flatten(1), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rules", ["RAP", "RAP-eq5"])
@pytest.mark.parametrize("name", ["vgg", "vgg_bn", "basic", "bottleneck"])
def test_relevance_is_conserved(name, rules):
    x, y, start = networks.images()
    model = networks.make(name)
    given = abslrp.explain(model, x, y, rules=rules)
    logits = (model(x) * start).sum(1).detach()
    expected = logits if rules == "RAP" else torch.ones_like(logits)
    torch.testing.assert_close(given.sum((1, 2, 3)), expected, rtol=1e-4, atol=0)


def test_no_contribution_sends_nothing():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).double().eval()
    for rules in ("RAP", "RAP-eq5"):
        given = abslrp.explain(model, torch.zeros(1, 3).double(), 0, rules=rules)
        assert given.tolist() == [[0.0, 0.0, 0.0]]
