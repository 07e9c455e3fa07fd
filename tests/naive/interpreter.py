"""A tiny interpreter: forward in float64, relevance backward by SPEC 1.2 to 1.4."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tests.naive.conserve import Conserve, per_sample, propagate
from tests.naive.contributions import Array, Share, absolute_share, divide
from tests.naive.elementwise import multiply_constant
from tests.naive.graph import Graph, Node
from tests.naive.operations import (
    COMPOSITES,
    LINEAR,
    OPERATIONS,
    PASSING,
    STRUCTURAL,
    composite_forward,
    composite_relevance,
)

Contrast: TypeAlias = Literal["streams", "signed"] | None


def evaluate(node: Node, inputs: Sequence[Array], x: Array) -> Array:
    """The value of one node; ``x`` (B, *input_shape) is the network's input."""
    if node.op == "input":
        return x.astype(np.float64)
    if node.op == "constant":
        value: Array = np.asarray(node.params["value"], dtype=np.float64)
        if node.params.get("expand"):
            value = np.broadcast_to(value, (len(x), *value.shape[1:]))
        return value
    if node.op in COMPOSITES:
        return composite_forward(node.op, inputs, node.params)
    return OPERATIONS[node.op].forward(inputs, node.params)


def forward(graph: Graph, x: Array) -> list[Array]:
    """The value of every node for ``x`` (B, *input_shape)."""
    assert x.shape[1:] == graph.input_shape, (x.shape, graph.input_shape)
    values: list[Array] = []
    for node in graph.nodes:
        values.append(evaluate(node, [values[i] for i in node.inputs], x))
    return values


def relevance(
    graph: Graph,
    values: Sequence[Array],
    R: Array,
    conserve: Conserve = "operation",
    share: Share = absolute_share,
    leaks: dict[int, Array] | None = None,
) -> list[Array]:
    """Relevance of every node, node 0's first, from relevance ``R`` of the output.

    A tensor used several times sums what its uses send. Operations that pass relevance unchanged,
    route it to a winner or only move elements are never renormalised; all others are, by
    ``conserve``. ``share`` replaces eq. 12 (with ``conserve=None`` and linear maps only).
    ``leaks``, if given, receives per node what it got minus what it sent on, per sample (batch,).
    """
    batch = len(values[0])
    active = graph.active()
    sums = [np.zeros_like(v) for v in values]
    sums[-1] = sums[-1] + R
    for number in range(len(graph.nodes) - 1, 0, -1):
        node = graph.nodes[number]
        if not active[number]:
            continue
        keep = [active[i] for i in node.inputs]
        sent = _inputs_relevance(
            node, [values[i] for i in node.inputs], keep, sums[number], conserve, share, batch
        )
        targets = [i for i in node.inputs if active[i]]
        for i, r in zip(targets, sent, strict=True):
            sums[i] = sums[i] + r
        if leaks is not None:
            total = sum((per_sample(r, batch) for r in sent), np.zeros(batch))
            leaks[number] = per_sample(sums[number], batch) - total
    return sums


def _inputs_relevance(
    node: Node,
    inputs: Sequence[Array],
    keep: Sequence[bool],
    R: Array,
    conserve: Conserve,
    share: Share,
    batch: int,
) -> list[Array]:
    """Relevance of the inputs that are activations; constants receive nothing, take no share."""
    allowed = conserve is None and node.op in {**LINEAR, **PASSING, **STRUCTURAL}
    if share is not absolute_share and not allowed:
        raise NotImplementedError(f"{node.op} with another share, or conserving")
    if node.op in COMPOSITES:
        assert all(keep)
        q, k, v = node.inputs
        packed = "qkv" if q == k == v else "kv" if k == v else None
        step = partial(propagate, conserve=conserve, batch=batch)
        return composite_relevance(node.op, inputs, node.params, R, packed, step)
    if node.op == "mul" and not all(keep):
        return [multiply_constant(x, R) for x, k in zip(inputs, keep, strict=True) if k]

    def raw(r: Array) -> list[Array]:
        sent = OPERATIONS[node.op].relevance(inputs, node.params, r, share)
        return [s for s, k in zip(sent, keep, strict=True) if k]

    unchanged = node.op in PASSING or node.op in STRUCTURAL
    return propagate(raw, R, None if unchanged else conserve, batch)


def start(
    target: npt.NDArray[np.int64], classes: int, contrast: Contrast = "streams"
) -> list[Array]:
    """SPEC 1.4: the output relevance(s), each (B, classes), one per stream."""
    one_hot = np.zeros((len(target), classes))
    one_hot[np.arange(len(target)), target] = 1.0
    if contrast == "streams":
        return [one_hot, (1.0 - one_hot) / (classes - 1)]
    if contrast == "signed":
        return [np.where(one_hot == 1.0, 1.0, -1.0 / classes)]
    return [one_hot]


def explain(
    graph: Graph,
    x: Array,
    target: npt.NDArray[np.int64],
    conserve: Conserve = "operation",
    contrast: Contrast = "streams",
) -> Array:
    """absLRP's relevance of the input, shaped as ``x``."""
    values = forward(graph, x)
    maps = [
        relevance(graph, values, R, conserve)[0]
        for R in start(target, values[-1].shape[1], contrast)
    ]
    if contrast != "streams":
        return maps[0]
    positive, negative = (
        m
        * divide(np.ones(len(m)), m.reshape(len(m), -1).sum(axis=1)).reshape(
            -1, *[1] * (m.ndim - 1)
        )
        for m in maps
    )
    return positive - negative
