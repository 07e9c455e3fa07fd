"""Naive networks in one place: graphs, their interpreter, their PyTorch twin, random ones.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> graph = random_graph(rng)
>>> x = rng.standard_normal((2, *graph.input_shape))
>>> logits = forward(graph, x)[-1]
>>> explain(graph, x, logits.argmax(axis=1)).shape == x.shape
True
"""

from __future__ import annotations

from tests.naive.graph import Graph, Node
from tests.naive.interpreter import Contrast, evaluate, explain, forward, relevance, start
from tests.naive.random_graphs import random_graph
from tests.naive.torch_export import to_torch

__all__ = [
    "Contrast",
    "Graph",
    "Node",
    "evaluate",
    "explain",
    "forward",
    "random_graph",
    "relevance",
    "start",
    "to_torch",
]
