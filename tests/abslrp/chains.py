"""Networks by what follows what: chains in which factors of relevance meet, part and cancel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.abslrp.single import draw
from tests.naive.network import Graph

Build = Callable[[Graph], int]
"""Adds nodes to a graph, and returns the last of them."""


CONV = {"weight": draw(4, 3, 3, 3), "bias": draw(4), "padding": 1}
LAST = {"weight": draw(4, 4, 1, 1), "bias": draw(4, seed=1)}
NORM = {
    "weight": draw(4, seed=2),
    "bias": draw(4, seed=3),
    "mean": draw(4, seed=4),
    "var": np.abs(draw(4, seed=5)) + 0.2,
}


def straight(graph: Graph) -> int:
    return graph.add("batch_norm", graph.add("conv", 0, **CONV), **NORM)


def from_relu(graph: Graph) -> int:
    first = graph.add("relu", graph.add("conv", 0, **CONV))
    return graph.add("batch_norm", graph.add("conv", first, **LAST), **NORM)


def used_after_the_norm(graph: Graph) -> int:
    h = graph.add("conv", 0, **CONV)
    norm = graph.add("batch_norm", h, **NORM)
    return graph.add("add", norm, h)


def used_before_the_norm(graph: Graph) -> int:
    h = graph.add("conv", 0, **CONV)
    other = graph.add("relu", h)
    return graph.add("add", graph.add("batch_norm", h, **NORM), other)


def two_norms(graph: Graph) -> int:
    h = graph.add("conv", 0, **CONV)
    one = graph.add("batch_norm", h, **NORM)
    two = graph.add("batch_norm", h, **{**NORM, "weight": draw(4, seed=8)})
    return graph.add("add", one, two)


def three_uses(graph: Graph) -> int:
    h = graph.add("conv", 0, **CONV)
    norm = graph.add("batch_norm", h, **NORM)
    again = graph.add("conv", h, **LAST)
    return graph.add("add", graph.add("add", norm, again), h)


def linear_and_layer_norm(graph: Graph) -> int:
    h = graph.add("reshape", graph.add("conv", 0, **CONV), shape=(4, 25))
    h = graph.add("linear", h, weight=draw(6, 25), bias=draw(6))
    norm = graph.add("layer_norm", h, weight=draw(6, seed=3), bias=draw(6, seed=4))
    return graph.add("add", norm, h)


def norm_of_norm(graph: Graph) -> int:
    return graph.add("batch_norm", straight(graph), **{**NORM, "bias": draw(4, seed=9)})


def norm_without_affine(graph: Graph) -> int:
    plain = {k: v for k, v in NORM.items() if k in ("mean", "var")}
    return graph.add("batch_norm", graph.add("conv", 0, **CONV), **plain)


def group_norm(graph: Graph) -> int:
    h = graph.add("conv", 0, **CONV)
    affine = {k: v for k, v in NORM.items() if k in ("weight", "bias")}
    return graph.add("group_norm", h, groups=2, **affine)


NORMED: list[Build] = [
    straight, from_relu, used_after_the_norm, used_before_the_norm, two_norms, three_uses,
    linear_and_layer_norm, norm_of_norm, norm_without_affine, group_norm,
]  # fmt: skip
"""Products and norms, of images (3, 5, 5)."""


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


ACTIVATED: list[Build] = [
    perceptron, deep, without_activation, activation_used_twice, product_used_twice,
    product_used_before, two_products, two_activations, moved_between, norm_after_activation,
    softmax_of_scaled, softmax_and_scores,
]  # fmt: skip
"""Products and activations, of vectors (6,)."""


def convolution(graph: Graph, node: int, seed: int = 0, inputs: int = 4) -> int:
    weight, bias = draw(4, inputs, 3, 3, seed=seed), draw(4, seed=seed)
    return graph.add("conv", node, weight=weight, bias=bias, padding=1)


def batch_norm(graph: Graph, node: int, seed: int = 0, sign: int = 0) -> int:
    mean, weight, bias, spread = (draw(4, seed=seed + k) for k in range(1, 5))
    var = np.abs(spread) + 0.2
    weight = np.abs(weight) if sign else weight
    return graph.add("batch_norm", node, mean=mean, var=var, weight=weight, bias=bias)


def block(graph: Graph, node: int, seed: int = 0, inputs: int = 4) -> int:
    return graph.add("relu", batch_norm(graph, convolution(graph, node, seed, inputs), seed))


def rising(graph: Graph) -> int:
    """No norm turns a sign round."""
    nodes = [convolution(graph, 0, inputs=3)]
    for seed in range(2):
        h = batch_norm(graph, nodes[-1], seed, sign=1)
        nodes.append(convolution(graph, graph.add("relu", h), seed + 1))
    return batch_norm(graph, nodes[-1], 5, sign=1)


def bottleneck(graph: Graph) -> int:
    return convolution(graph, block(graph, block(graph, 0, inputs=3), 1), 2)


def deep_blocks(graph: Graph) -> int:
    """More in a row than may leave their factor to the next."""
    node = block(graph, 0, inputs=3)
    for seed in range(1, 10):
        node = block(graph, node, seed)
    return convolution(graph, node, 10)


def activated_before(graph: Graph) -> int:
    node = graph.add("gelu", convolution(graph, 0, inputs=3))
    return convolution(graph, graph.add("relu", batch_norm(graph, node)), 1)


def used_twice(graph: Graph) -> int:
    node = block(graph, 0, inputs=3)
    return graph.add("add", convolution(graph, node, 1), node)


def two_convolutions(graph: Graph) -> int:
    node = block(graph, 0, inputs=3)
    return graph.add("add", convolution(graph, node, 1), convolution(graph, node, 2))


def product_used_after(graph: Graph) -> int:
    """The convolution's own output is used again once its factor is part of the next one's."""
    h = convolution(graph, 0, inputs=3)
    node = graph.add("relu", batch_norm(graph, h))
    return graph.add("add", convolution(graph, node, 1), h)


def all_used_after(graph: Graph) -> int:
    h = convolution(graph, 0, inputs=3)
    n = batch_norm(graph, h)
    node = graph.add("relu", n)
    whole = graph.add("add", convolution(graph, node, 1), node)
    return graph.add("add", graph.add("add", whole, n), h)


def norm_used_after(graph: Graph) -> int:
    n = batch_norm(graph, convolution(graph, 0, inputs=3))
    return graph.add("add", convolution(graph, graph.add("relu", n), 1), n)


def norm_used_before(graph: Graph) -> int:
    n = batch_norm(graph, convolution(graph, 0, inputs=3))
    other = graph.add("gelu", n)
    return graph.add("add", convolution(graph, graph.add("relu", n), 1), other)


def two_rectifiers(graph: Graph) -> int:
    return convolution(graph, graph.add("relu", block(graph, 0, inputs=3)), 1)


def other_activation(graph: Graph) -> int:
    return convolution(
        graph, graph.add("gelu", batch_norm(graph, convolution(graph, 0, inputs=3))), 1
    )


def last(graph: Graph) -> int:
    return block(graph, 0, inputs=3)


RECTIFIED: list[Build] = [
    rising, bottleneck, deep_blocks, activated_before, used_twice, two_convolutions,
    product_used_after, all_used_after, norm_used_after, norm_used_before, two_rectifiers,
    other_activation, last,
]  # fmt: skip
"""Convolutions, batch norms and ReLU, of images (3, 5, 5)."""


def network(build: Build) -> Graph:
    """Return a whole network with logits (B, N)."""
    if build in ACTIVATED:
        graph = Graph((6,))
        build(graph)
        return graph
    graph = Graph((3, 5, 5))
    if build in RECTIFIED:
        graph.add("mean", build(graph), axes=(2, 3))
    else:
        graph.add("reshape", build(graph), shape=(-1,))
    return graph
