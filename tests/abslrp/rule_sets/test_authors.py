"""Each method by its name's own definition: authors' code and equations, written out in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import abslrp
from abslrp.rule_sets import epsilon
from abslrp.zennit import AbsLRP, Contrastive
from tests.naive import chain, clrp, rap, rap_eq5
from tests.naive.epsilon import lrp_epsilon

Reference = Callable[[nn.Sequential, Tensor, int], Tensor]
METHODS: dict[str, tuple[Any, Reference]] = {
    "RAP": ("RAP", rap.rap),
    "cRAP": ("cRAP", rap.crap),
    "RAP-eq5": ("RAP-eq5", rap_eq5.rap_eq5),
    "cLRP": ("cLRP", clrp.clrp),
    "LRP-epsilon": ("epsilon", lambda n, x, t: lrp_epsilon(n, x, t, 1e-6)),
    "LRP-epsilon-0.1": (epsilon.build(0.1), lambda n, x, t: lrp_epsilon(n, x, t, 0.1)),
}


def signed_network() -> nn.Sequential:
    """No rectifier, so that every layer sees both signs; a convolution with more than one pixel."""
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.Conv2d(4, 4, 2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.Linear(6, 4),
    )
    return chain.filled(layers, seed=7)


NETWORKS = {
    "plain": chain.plain_network,
    "residual": chain.residual_network,
    "signed": signed_network,
}


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(11)).double()


def assert_equal(given: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    assert expected.abs().max() > 1e-6
    assert (given - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_is_its_authors_definition(method: str, network: str) -> None:
    model, x = NETWORKS[network](), images()
    rules, reference = METHODS[method]
    for target in range(4):
        expected = torch.cat([reference(model, one[None], target) for one in x])
        assert_equal(abslrp.explain(model, x, target, rules=rules), expected)


def test_the_methods_are_not_one_another() -> None:
    model, x = chain.plain_network(), images(1)
    maps = [abslrp.explain(model, x, 0, rules=rules) for rules, _ in METHODS.values()]
    maps = [one / one.abs().sum() for one in maps]
    for index, one in enumerate(maps):
        assert all((one - other).abs().max() > 1e-3 * one.abs().max() for other in maps[:index])


def test_equation_5_on_the_toy() -> None:
    """Weights (3, -1), inputs (1, 1): 3/4 and 1/4; RAP's code shares the logit, 2, alike."""
    layer = nn.Linear(2, 1, bias=False).double().eval()
    layer.weight.data = torch.tensor([[3.0, -1.0]]).double()
    x = torch.ones(1, 2).double()
    assert abslrp.explain(layer, x, 0, rules="RAP-eq5").tolist() == [[0.75, 0.25]]
    assert abslrp.explain(layer, x, 0, rules="RAP").tolist() == [[1.5, 0.5]]


def test_rap_from_another_start_has_no_rule_of_its_own_for_the_logits() -> None:
    model, x = chain.plain_network(), images(1)
    start = torch.tensor([[0.0, 2.0, 0.0, -1.0]]).double()
    expected = chain.propagate(chain.record(model, x), start, rap.step)
    assert_equal(abslrp.relevance(model, x, start, rules="RAP"), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 2, "stride": 1, "dilation": 2},
    ],
    ids=str,
)
def test_clrp_splits_between_equal_winners(options: dict[str, Any]) -> None:
    """Few values, so many ties; overlapping windows, padding, a last window that hangs over."""
    x = torch.randint(0, 3, (2, 2, 8, 8), generator=torch.Generator().manual_seed(0)).double()
    layer = nn.MaxPool2d(**options)
    leaf = x.clone().requires_grad_()
    with abslrp.propagation("cLRP"):
        output = layer(leaf)
    assert torch.equal(output, layer(x))
    start = torch.rand(output.shape, generator=torch.Generator().manual_seed(1)).double()
    (given,) = torch.autograd.grad(output, leaf, start)
    for one, received, sent in zip(x, start, given, strict=True):
        records = chain.record([layer], one[None], first=False)
        assert_equal(sent, chain.propagate(records, received[None], clrp.step)[0])


class Scaled(nn.Module):
    """Half of the input, then a network: the convolution is still the first linear map."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.network(x * 0.5)
        return scaled


@pytest.mark.parametrize("rules", ["RAP", "cLRP", "Chefer"])
def test_the_image_may_be_normalised_in_the_model(rules: str) -> None:
    network, x = chain.plain_network(), images(1)
    given = abslrp.explain(Scaled(network).eval(), x * 2, 1, rules=rules)
    assert_equal(given, abslrp.explain(network, x, 1, rules=rules))


@pytest.mark.parametrize("rules", ["RAP", "cRAP", "cLRP", "Chefer"])
def test_the_first_layer_is_known_in_zennit(rules: str) -> None:
    network, x = chain.plain_network(), images(1)
    with Contrastive(network, AbsLRP(rules=rules)) as attributor:
        given = attributor(x.clone(), torch.eye(4).double()[[1]])[1]
    assert_equal(given, abslrp.explain(network, x, 1, rules=rules))


SUMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
    "of two": (torch.add, True),
    "with a constant": (lambda a, b: a + 2.0 + 0 * b, False),
    "of two shapes": (lambda a, b: a + b[:, :1], False),
    "with a factor": (lambda a, b: torch.add(a, b, alpha=2), False),
}


@pytest.mark.parametrize("name", SUMS)
def test_chefer_scales_both_sides_of_a_residual_sum(name: str) -> None:
    """Both share the total by the size of their sums; any other sum is in proportion."""
    call, whole = SUMS[name]

    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return call(a, b)

    generator = torch.Generator().manual_seed(5)
    a, b, start = (torch.randn(3, 4, generator=generator).double() for _ in range(3))
    found = abslrp.relevance(Sum().eval(), (a, b), start, rules="Chefer")
    h = call(a, b)
    share = start / (h + 1e-9 * h.sign())
    # What each entry adds to the outputs is the call's value without the other one.
    sent = [a * share, torch.autograd.functional.jvp(lambda one: call(a, one), b, b)[1] * share]
    if whole:
        sums = [one.sum(1, keepdim=True) for one in sent]
        size = start.sum(1, keepdim=True) / (sums[0].abs() + sums[1].abs())
        sent = [one * size * total.sign() for one, total in zip(sent, sums, strict=True)]
    if name == "of two shapes":
        sent[1] = torch.cat([sent[1].sum(1, keepdim=True), torch.zeros(3, 3)], 1)
    assert_equal(found[0], sent[0], 1e-8)
    torch.testing.assert_close(found[1], sent[1], rtol=1e-8, atol=1e-9)
