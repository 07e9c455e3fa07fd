"""Networks with known relevance: figure 1, and the golden ResNet as a naive graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.naive.contributions import Array
from tests.naive.graph import Graph

FIGURE_1 = [
    ((-1.0, 2.0), (0.5, 0.5)),
    ((-5.0, 6.0), (0.25, 0.75)),
    ((-17.0, 18.0), (0.1, 0.9)),
]
"""SPEC 1.1: weights of the second hidden neuron, normalised attribution of x = (1, 1)."""


def figure_1(second: tuple[float, float]) -> Graph:
    """Figure 1's network of two inputs, two hidden neurons and one output."""
    graph = Graph((2,))
    hidden = graph.add("linear", 0, weight=np.array([[2.0, -1.0], second]))
    graph.add("linear", graph.add("relu", hidden), weight=np.array([[1.0, 1.0]]))
    return graph


def shared_folder() -> Path:
    """The reference material beside the repository, or where GAE_SHARED says."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("GAE_SHARED", beside))


def basic_resnet(state: Mapping[str, Array], input_shape: tuple[int, ...]) -> Graph:
    """timm's ResNet of BasicBlocks with a 7x7 stem, from its parameters by name.

    Stride 1 in the first stage, 2 in the first block of each later one.
    """
    graph = Graph(input_shape)

    def array(name: str) -> Array:
        return np.asarray(state[name], dtype=np.float64)

    def norm(head: int, name: str) -> int:
        return graph.add(
            "batch_norm",
            head,
            weight=array(f"{name}.weight"),
            bias=array(f"{name}.bias"),
            mean=array(f"{name}.running_mean"),
            var=array(f"{name}.running_var"),
            eps=1e-5,
        )

    def conv(head: int, name: str, stride: int, padding: int) -> int:
        weight = array(f"{name}.weight")
        return graph.add("conv", head, weight=weight, stride=stride, padding=padding)

    head = graph.add("relu", norm(conv(0, "conv1", 2, 3), "bn1"))
    head = graph.add("max_pool", head, kernel=3, stride=2, padding=1)
    stage = 1
    while f"layer{stage}.0.conv1.weight" in state:
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            shortcut = head
            head = graph.add("relu", norm(conv(head, f"{name}.conv1", stride, 1), f"{name}.bn1"))
            head = norm(conv(head, f"{name}.conv2", 1, 1), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                shortcut = conv(shortcut, f"{name}.downsample.0", stride, 0)
                shortcut = norm(shortcut, f"{name}.downsample.1")
            head = graph.add("relu", graph.add("add", head, shortcut))
            block += 1
        stage += 1
    head = graph.add("adaptive_avg_pool", head, output_size=(1, 1))
    head = graph.add("reshape", head, shape=(-1,))
    graph.add("linear", head, weight=array("fc.weight"), bias=array("fc.bias"))
    return graph
