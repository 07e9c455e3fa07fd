"""A product's factor that travels through activations to the next product or softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import abslrp
from abslrp.record import Postponed
from tests.abslrp.single import draw
from tests.naive.network import Graph, forward, relevance, to_torch


def layer(graph: Graph, node: int, out: int, seed: int, size: int = 6) -> int:
    return graph.add("linear", node, weight=draw(out, size, seed=seed), bias=draw(out, seed=seed))


def perceptron(graph: Graph) -> int:
    return layer(graph, graph.add("gelu", layer(graph, 0, 6, 1)), 4, 2)


def deep(graph: Graph) -> int:
    """More products in a row than may leave normalisation to the one before them."""
    node = 0
    for seed in range(12):
        kind = ("gelu", "relu", "silu")[seed % 3]
        node = graph.add(kind, layer(graph, node, 6, seed))
    return node


def without_activation(graph: Graph) -> int:
    return layer(graph, layer(graph, layer(graph, 0, 6, 1), 6, 2), 5, 3)


def activation_used_twice(graph: Graph) -> int:
    node = graph.add("gelu", layer(graph, 0, 6, 1))
    return graph.add("add", layer(graph, node, 6, 2), node)


def product_used_twice(graph: Graph) -> int:
    h = layer(graph, 0, 6, 1)
    node = layer(graph, graph.add("gelu", h), 6, 2)
    return graph.add("add", node, h)


def product_used_before(graph: Graph) -> int:
    h = layer(graph, 0, 6, 1)
    other = graph.add("tanh", h)
    return graph.add("add", layer(graph, graph.add("gelu", h), 6, 2), other)


def two_products(graph: Graph) -> int:
    node = graph.add("gelu", layer(graph, 0, 6, 1))
    return graph.add("add", layer(graph, node, 6, 2), layer(graph, node, 6, 3))


def two_activations(graph: Graph) -> int:
    node = graph.add("tanh", graph.add("gelu", layer(graph, 0, 6, 1)))
    return layer(graph, node, 5, 2)


def moved_between(graph: Graph) -> int:
    node = graph.add("gelu", layer(graph, 0, 6, 1))
    node = graph.add("reshape", graph.add("reshape", node, shape=(2, 3)), shape=(6,))
    return layer(graph, node, 5, 2)


def norm_after_activation(graph: Graph) -> int:
    node = graph.add("gelu", layer(graph, 0, 6, 1))
    return graph.add("layer_norm", node, weight=draw(6, seed=3), bias=draw(6, seed=4))


def softmax_of_scaled(graph: Graph) -> int:
    return graph.add(
        "softmax", graph.add("mul_constant", layer(graph, 0, 6, 1), value=0.3), axis=-1
    )


def softmax_and_scores(graph: Graph) -> int:
    scores = graph.add("mul_constant", layer(graph, 0, 6, 1), value=0.3)
    return graph.add("add", graph.add("softmax", scores, axis=-1), scores)


GRAPHS = [
    perceptron, deep, without_activation, activation_used_twice, product_used_twice,
    product_used_before, two_products, two_activations, moved_between, norm_after_activation,
    softmax_of_scaled, softmax_and_scores,
]  # fmt: skip
CLAIMED: dict[Callable[[Graph], int], int] = {
    perceptron: 1, deep: 6, without_activation: 2, two_activations: 1, product_used_before: 0,
    moved_between: 0, norm_after_activation: 1, softmax_of_scaled: 1, activation_used_twice: 0,
    product_used_twice: 0, two_products: 0, softmax_and_scores: 0,
}  # fmt: skip


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("signed", [False, True])
def test_travelled_equals_the_reference(
    build: Callable[[Graph], int], conserve: Any, signed: bool
) -> None:
    graph = Graph((6,))
    build(graph)
    x = draw(3, 6)
    values = forward(graph, x)
    R = draw(*values[-1].shape, seed=1)
    R = R if signed else np.abs(R)
    got = abslrp.relevance(to_torch(graph), x, R, conserve=conserve)
    np.testing.assert_allclose(got, relevance(graph, values, R, conserve)[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("build", GRAPHS)
def test_the_factor_is_kept_once(
    build: Callable[[Graph], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many factors travel as can: else the saving would be lost without a test failing."""
    graph = Graph((6,))
    build(graph)
    claims: list[Postponed] = []
    claim, again = Postponed.claim, Postponed.consumed_again

    def counted(self: Postponed, undo: Callable[[Tensor], None]) -> Tensor | None:
        output = claim(self, undo)
        if output is not None:
            claims.append(self)
        return output

    def taken_back(self: Postponed, tensor: Tensor) -> None:
        again(self, tensor)
        claims[:] = [one for one in claims if one is not self]

    monkeypatch.setattr(Postponed, "claim", counted)
    monkeypatch.setattr(Postponed, "consumed_again", taken_back)
    x = torch.from_numpy(draw(3, 6))
    logits = to_torch(graph)(x)
    abslrp.relevance(to_torch(graph), x, torch.ones_like(logits))
    assert len(claims) == CLAIMED[build]


@pytest.mark.parametrize("activation", [torch.sigmoid, torch.exp])
def test_a_product_that_is_zero(activation: Callable[[Tensor], Tensor]) -> None:
    """What it is divided by is epsilon, whoever divides."""
    first = torch.tensor([[1.0, -1.0], [0.0, 2.0]], dtype=torch.float64)
    x = torch.ones(1, 2, dtype=torch.float64)
    for signed in (False, True):  # with a factor that travels, and without
        with abslrp.propagation(conserve=None, signed=signed):
            leaf = x.clone().requires_grad_()
            hidden = activation(leaf @ first.T)
            out = hidden @ torch.ones(2, 1, dtype=torch.float64)
        shares = hidden.detach()[0] / (hidden.detach().sum() + 1e-9)
        (found,) = torch.autograd.grad(out.sum(), leaf)
        wanted = torch.stack([shares[0] / 1e-9, shares[1] * 2 / (2 + 1e-9)])[None]
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def product(hidden: Tensor) -> Tensor:
    return hidden @ torch.ones(2, 2, dtype=hidden.dtype)


def norm(hidden: Tensor) -> Tensor:
    ones = torch.ones(2, dtype=hidden.dtype)
    return F.batch_norm(hidden, 0 * ones, ones, ones, 0 * ones)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("consumer", [product, norm])
@pytest.mark.parametrize("again", [False, True])
def test_a_product_that_is_zero_whoever_takes_its_factor(
    consumer: Callable[[Tensor], Tensor], again: bool, dtype: torch.dtype
) -> None:
    """A second consumer has it multiplied with the epsilon that the first one divided by."""
    weight = torch.tensor([[1.0, -1.0], [0.0, 2.0]], dtype=dtype)
    maps = []
    for signed in (False, True):  # with a factor that travels, and without
        leaf = torch.ones(1, 2, dtype=dtype, requires_grad=True)
        with abslrp.propagation(conserve=None, signed=signed):
            hidden = torch.exp(leaf @ weight.T)
            out = consumer(hidden)
            out = torch.cat([out, hidden], 1) if again else out
        maps.append(torch.autograd.grad(out.sum(), leaf)[0])
    torch.testing.assert_close(*maps, rtol=1e-5, atol=0)
    assert bool((maps[0] > 0).all())
