"""A norm's gain that a product after the ReLU takes in, and gives back where it may not keep it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import abslrp
from abslrp.operation import MAX_CLAIMED, Operation
from abslrp.postponed_gain import PostponedGain
from tests.abslrp.single import draw
from tests.naive.network import Graph, forward, relevance, to_torch


def conv(graph: Graph, node: int, seed: int = 0, inputs: int = 4) -> int:
    weight, bias = draw(4, inputs, 3, 3, seed=seed), draw(4, seed=seed)
    return graph.add("conv", node, weight=weight, bias=bias, padding=1)


def norm(graph: Graph, node: int, seed: int = 0, sign: int = 0) -> int:
    mean, weight, bias, spread = (draw(4, seed=seed + k) for k in range(1, 5))
    var = np.abs(spread) + 0.2
    weight = np.abs(weight) if sign else weight
    return graph.add("batch_norm", node, mean=mean, var=var, weight=weight, bias=bias)


def block(graph: Graph, node: int, seed: int = 0, inputs: int = 4) -> int:
    return graph.add("relu", norm(graph, conv(graph, node, seed, inputs), seed))


def rising(graph: Graph) -> int:
    """No norm turns a sign round."""
    nodes = [conv(graph, 0, inputs=3)]
    for seed in range(2):
        h = norm(graph, nodes[-1], seed, sign=1)
        nodes.append(conv(graph, graph.add("relu", h), seed + 1))
    return norm(graph, nodes[-1], 5, sign=1)


def bottleneck(graph: Graph) -> int:
    return conv(graph, block(graph, block(graph, 0, inputs=3), 1), 2)


def deep(graph: Graph) -> int:
    """More in a row than may leave their factor to the next."""
    node = block(graph, 0, inputs=3)
    for seed in range(1, 10):
        node = block(graph, node, seed)
    return conv(graph, node, 10)


def activated_before(graph: Graph) -> int:
    node = graph.add("gelu", conv(graph, 0, inputs=3))
    return conv(graph, graph.add("relu", norm(graph, node)), 1)


def used_twice(graph: Graph) -> int:
    node = block(graph, 0, inputs=3)
    return graph.add("add", conv(graph, node, 1), node)


def two_products(graph: Graph) -> int:
    node = block(graph, 0, inputs=3)
    return graph.add("add", conv(graph, node, 1), conv(graph, node, 2))


def product_used_after(graph: Graph) -> int:
    """The convolution's own output is used again once its factor is part of the next one's."""
    h = conv(graph, 0, inputs=3)
    node = graph.add("relu", norm(graph, h))
    return graph.add("add", conv(graph, node, 1), h)


def all_used_after(graph: Graph) -> int:
    h = conv(graph, 0, inputs=3)
    n = norm(graph, h)
    node = graph.add("relu", n)
    whole = graph.add("add", conv(graph, node, 1), node)
    return graph.add("add", graph.add("add", whole, n), h)


def norm_used_after(graph: Graph) -> int:
    n = norm(graph, conv(graph, 0, inputs=3))
    return graph.add("add", conv(graph, graph.add("relu", n), 1), n)


def norm_used_before(graph: Graph) -> int:
    n = norm(graph, conv(graph, 0, inputs=3))
    other = graph.add("gelu", n)
    return graph.add("add", conv(graph, graph.add("relu", n), 1), other)


def two_rectifiers(graph: Graph) -> int:
    return conv(graph, graph.add("relu", block(graph, 0, inputs=3)), 1)


def other_activation(graph: Graph) -> int:
    return conv(graph, graph.add("gelu", norm(graph, conv(graph, 0, inputs=3))), 1)


def last(graph: Graph) -> int:
    return block(graph, 0, inputs=3)


GRAPHS = [
    rising, bottleneck, deep, activated_before, used_twice, two_products, product_used_after,
    all_used_after, norm_used_after, norm_used_before, two_rectifiers, other_activation,
    last,
]  # fmt: skip
#: How many gains end as one factor with a product's input.
JOINED: dict[Callable[[Graph], int], int] = {rising: 2, bottleneck: 2, deep: 7, activated_before: 1,
                                             product_used_after: 1, two_rectifiers: 1}  # fmt: skip


def case(build: Callable[[Graph], int]) -> tuple[Graph, Any, list[Any]]:
    graph = Graph((3, 5, 5))
    graph.add("mean", build(graph), axes=(2, 3))
    x = draw(3, 3, 5, 5, seed=3)
    return graph, x, forward(graph, x)


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_joined_equals_the_reference(
    build: Callable[[Graph], int], conserve: Any, signed: bool, inplace: bool
) -> None:
    graph, x, values = case(build)
    R = draw(*values[-1].shape, seed=1)
    R = R if signed else np.abs(R)
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    got = abslrp.relevance(model, x, R, conserve=conserve)
    wanted = relevance(graph, values, R, conserve)[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("inplace", [False, True])
def test_single_precision(build: Callable[[Graph], int], inplace: bool) -> None:
    """Where a quotient of a value by itself is taken for 1."""
    graph, x, values = case(build)
    R = np.abs(draw(*values[-1].shape, seed=1))
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace).float()
    got = abslrp.relevance(model, x.astype(np.float32), R.astype(np.float32))
    wanted = relevance(graph, values, R, "operation")[0]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-4 * np.abs(wanted).max())


def test_single_precision_of_a_norm_without_a_bias() -> None:
    weight, head = np.abs(draw(4, seed=1)), draw(2, 4, seed=2)
    maps = []
    for dtype in (torch.float32, torch.float64):
        scale, last = (torch.from_numpy(one).to(dtype) for one in (weight, head))
        leaf = torch.from_numpy(draw(3, 4)).to(dtype).requires_grad_()
        with abslrp.propagation(signed=False):
            out = torch.nn.functional.rms_norm(leaf, [4], scale).relu() @ last.T
        maps.append(torch.autograd.grad(out, leaf, torch.ones_like(out))[0].double())
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("inplace", [False, True])
def test_gains_are_joined(
    build: Callable[[Graph], int], inplace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as can be: else the saving would be lost without a test failing."""
    graph, x, values = case(build)
    joined: list[PostponedGain] = []
    join, again = PostponedGain.joined, PostponedGain.consumed_again

    def counted(self: PostponedGain, tensor: torch.Tensor) -> torch.Tensor | None:
        whole = join(self, tensor)
        joined.extend([] if whole is None else [self])
        return whole

    def taken_back(self: PostponedGain, tensor: torch.Tensor) -> None:
        again(self, tensor)
        joined[:] = [one for one in joined if one is not self]

    monkeypatch.setattr(PostponedGain, "joined", counted)
    monkeypatch.setattr(PostponedGain, "consumed_again", taken_back)
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    abslrp.relevance(model, x, np.ones_like(values[-1]))
    assert len(joined) == JOINED.get(build, 0)
    assert MAX_CLAIMED < 9  # or else the deep one would be short


def test_bfloat16() -> None:
    """A deep chain, of which relevance is not normalised after each operation."""
    graph, x, values = case(deep)
    R = np.abs(draw(*values[-1].shape, seed=1))
    got = abslrp.relevance(
        to_torch(graph).to(torch.bfloat16),
        torch.from_numpy(x).to(torch.bfloat16),
        torch.from_numpy(R).to(torch.bfloat16),
    ).double()
    wanted = torch.from_numpy(relevance(graph, values, R, "operation")[0])
    cosine = torch.nn.functional.cosine_similarity(got.flatten(1), wanted.flatten(1))
    assert cosine.min() > 0.95


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("inplace", [False, True])
def test_memory_is_given_back_at_once(
    build: Callable[[Graph], int], inplace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cycle keeps an operation, and with it its tensors, until Python looks for cycles."""
    graph, x, values = case(build)
    alive: list[weakref.ref[Operation]] = []
    make = Operation.__init__

    def noted(self: Operation, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        alive.append(weakref.ref(self))

    monkeypatch.setattr(Operation, "__init__", noted)
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    gc.collect()
    gc.disable()
    try:
        abslrp.relevance(model, x, np.ones_like(values[-1]))
        assert len(alive) > 3
        assert [one for one in alive if one() is not None] == []
    finally:
        gc.enable()
