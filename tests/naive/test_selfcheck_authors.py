"""The references of other methods against values worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.naive import chain, clrp, epsilon, epsilon_vit, rap, rap_eq5, tibav, vit


def linear(weights: list[list[float]], bias: float = 0.0) -> nn.Linear:
    """A float64 linear layer of these weights, the same bias for each output."""
    layer = nn.Linear(len(weights[0]), len(weights)).double().requires_grad_(False)
    layer.weight.copy_(torch.tensor(weights).double())
    layer.bias.fill_(bias)
    return layer


def numbers(*values: float) -> Tensor:
    """One sample."""
    return torch.tensor([values]).double()


def test_equation_5_shares_by_magnitude() -> None:
    """Weights (3, -1), inputs (1, 1): 3/4 and 1/4; a bias of 4 takes half, which comes back."""
    network = nn.Sequential(linear([[3, -1]]))
    assert rap_eq5.rap_eq5(network, numbers(1, 1), 0).tolist() == [[0.75, 0.25]]
    network = nn.Sequential(linear([[3, -1]], bias=4))
    assert rap_eq5.rap_eq5(network, numbers(1, 1), 0).tolist() == [[0.625, 0.375]]


def test_rap_of_a_hidden_layer() -> None:
    """R = 4, z = (3, -1): 4 and 4 / 4, less (5 - 4) / 2; in a convolution -4 goes to z- alone."""
    weights = numbers(3, -1)
    x, r = torch.ones(2).double(), torch.tensor([4.0]).double()
    assert rap.relative(x, weights, r, convolution=False).tolist() == [3.5, 0.5]
    assert rap.relative(x, weights, r, convolution=True).tolist() == [3.5, 0.5]
    assert rap.relative(x, weights, -r, convolution=False).tolist() == [-3.5, -0.5]
    assert rap.relative(x, weights, -r, convolution=True).tolist() == [0, -4]
    assert rap.relative(-x, weights, r, convolution=True).tolist() == [3.5, 0.5]


def test_rap_of_the_last_layer() -> None:
    """z = (3, -1), bias 4: logit 6 shared by |z| = (9, 3) / 12."""
    network = nn.Sequential(linear([[3, -1], [0, 0]], bias=4))
    assert rap.rap(network, numbers(1, 1), 0).tolist() == [[4.5, 1.5]]


def test_clrp_subtracts_the_other_classes() -> None:
    """Logits 1 and 3: the target's positive contribution is the second input's, less (1/3, 2/3)."""
    network = nn.Sequential(linear([[-1, 2], [1, 2]]))
    expected = numbers(0 - 1 / 3, 1 - 2 / 3)
    torch.testing.assert_close(clrp.clrp(network, numbers(1, 1), 0), expected)


def test_clrp_splits_between_equal_winners() -> None:
    """A window of 2, 2, 1, 0 gives half to each 2."""
    layer = nn.MaxPool2d(2)
    x = torch.tensor([2.0, 2, 1, 0]).double().reshape(1, 1, 2, 2)
    records = chain.record([layer], x, first=False)
    got = chain.propagate(records, torch.full((1, 1, 1, 1), 6.0).double(), clrp.step)
    assert got.flatten().tolist() == [3, 3, 0, 0]


def test_epsilon_keeps_the_denominator_from_zero() -> None:
    """z = (3, -1), bias -1: h = 1, with 0.25 more 3 / 1.25 and -1 / 1.25; h = -1 alike."""
    network = nn.Sequential(linear([[3, -1]], bias=-1))
    got = epsilon.lrp_epsilon(network, numbers(1, 1), 0, 0.25)
    torch.testing.assert_close(got, numbers(2.4, -0.8))
    network = nn.Sequential(linear([[-3, 1]], bias=1))
    got = epsilon.lrp_epsilon(network, numbers(1, 1), 0, 0.25)
    torch.testing.assert_close(got, numbers(2.4, -0.8))


@pytest.mark.parametrize("make", [chain.plain_network, chain.residual_network])
def test_relevance_is_kept(make: object) -> None:
    """RAP keeps the logit, equation 5 the 1 of its start; a contrast sums to 0."""
    assert callable(make)
    network, draw = make(), torch.Generator().manual_seed(5)
    x = torch.randn(1, 3, 8, 8, generator=draw).double()
    logits = network(x)[0]
    for target in range(4):
        torch.testing.assert_close(rap.rap(network, x, target).sum(), logits[target])
        assert float(rap_eq5.rap_eq5(network, x, target).sum()) == pytest.approx(1)
        assert abs(float(clrp.clrp(network, x, target).sum())) < 1e-12
        assert abs(float(rap.crap(network, x, target).sum())) < 1e-12


def test_small_vit_is_timms() -> None:
    """The written-down forward pass makes the model's logits; a product sends half to each side."""
    model, draw = vit.small_vit(), torch.Generator().manual_seed(6)
    x = torch.randn(1, 3, 12, 12, generator=draw).double()
    passed = vit.forward(model, x)
    torch.testing.assert_close(passed.logits, model(x)[0])
    assert tibav.tibav(model, x, 2).shape == epsilon_vit.tibav_epsilon(model, x, 2).shape == (9,)
