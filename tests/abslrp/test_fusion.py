"""A convolution's factor taken over by the norm after it, and taken back where it may not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import abslrp
from tests.abslrp.single import Single, draw, tensor
from tests.naive.network import Graph, forward, relevance, to_torch

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


GRAPHS = [
    straight, from_relu, used_after_the_norm, used_before_the_norm, two_norms, three_uses,
    linear_and_layer_norm, norm_of_norm, norm_without_affine, group_norm,
]  # fmt: skip


@pytest.mark.parametrize("build", GRAPHS)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("signed", [False, True])
def test_fused_equals_the_reference(build: Any, conserve: Any, signed: bool) -> None:
    graph = Graph((3, 5, 5))
    graph.add("reshape", build(graph), shape=(-1,))
    x = draw(2, 3, 5, 5)
    values = forward(graph, x)
    R = draw(*values[-1].shape, seed=1)
    R = R if signed else np.abs(R)
    got = abslrp.relevance(to_torch(graph), x, R, conserve=conserve)
    np.testing.assert_allclose(got, relevance(graph, values, R, conserve)[0], rtol=1e-6, atol=1e-9)


def conv(x: Tensor) -> Tensor:
    return F.conv2d(x, tensor(CONV["weight"]), tensor(CONV["bias"]), padding=1)


def norm(h: Tensor, weight: Any = NORM["weight"]) -> Tensor:
    statistics = tensor(NORM["mean"]), tensor(NORM["var"])
    return F.batch_norm(h, *statistics, tensor(weight), tensor(NORM["bias"]))


def rectified_later(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    return n + F.relu(h, inplace=True)


def scaled_later(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    h.mul_(2.0)
    return n + h


def added_to_later(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    h += n
    return h


def normed_in_place(x: Tensor) -> Tensor:
    return F.relu(norm(conv(x)), inplace=True)


def rectified_at_once(x: Tensor) -> Tensor:
    return norm(F.relu(conv(x), inplace=True))


def viewed(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    return n + h.flatten(2).view(h.shape)


def graph_of(call: Callable[[Tensor], Tensor]) -> Graph:
    graph = Graph((3, 5, 5))
    h = graph.add("conv", 0, **CONV)
    if call is rectified_at_once:
        graph.add("batch_norm", graph.add("relu", h), **NORM)
        return graph
    n = graph.add("batch_norm", h, **NORM)
    if call is normed_in_place:
        graph.add("relu", n)
    elif call is rectified_later:
        graph.add("add", n, graph.add("relu", h))
    elif call is scaled_later:
        graph.add("add", n, graph.add("mul_constant", h, value=2.0))
    elif call is added_to_later:
        graph.add("add", h, n)
    else:
        graph.add("add", n, h)
    return graph


IN_PLACE = [
    rectified_later, scaled_later, added_to_later, normed_in_place, rectified_at_once, viewed
]  # fmt: skip


@pytest.mark.parametrize("call", IN_PLACE)
@pytest.mark.parametrize("conserve", ["operation", None])
@pytest.mark.parametrize("signed", [False, True])
def test_overwritten_after_a_norm_took_the_factor(call: Any, conserve: Any, signed: bool) -> None:
    graph, x = graph_of(call), draw(2, 3, 5, 5)
    values = forward(graph, x)
    R = draw(*values[-1].shape, seed=1)
    R = R if signed else np.abs(R)
    model = Single(call, [(3, 5, 5)], rectify=False).eval()
    got = abslrp.relevance(model, x.reshape(2, -1), R.reshape(2, -1), conserve=conserve)
    wanted = relevance(graph, values, R, conserve)[0].reshape(2, -1)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)


OVERWRITTEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": F.linear,
    "matmul": lambda x, w: x.unsqueeze(2) @ x.unsqueeze(1),
    "conv": lambda x, w: F.conv1d(x.unsqueeze(1), w[:, None, :3]),
    "sum": lambda x, w: x.sum(1, keepdim=True),
    "softmax": lambda x, w: x.softmax(1),
    "add": lambda x, w: x + w[0],
    "gate": lambda x, w: x * x.flip(1),
}


@pytest.mark.parametrize("name", OVERWRITTEN)
@pytest.mark.parametrize("rectify", [False, True])
def test_an_input_overwritten_after_its_use(name: str, rectify: bool) -> None:
    """``x += f(x)``: what a rule keeps of ``x`` is the value that the call saw."""
    w = tensor(draw(5, 5))

    def run(x: Tensor, overwrite: bool) -> Tensor:
        x = x.relu() if rectify else x.clone()
        used = OVERWRITTEN[name](x, w)
        x = x.add_(1.0) if overwrite else x + 1.0
        return torch.cat([used.flatten(1), x.flatten(1)], 1)

    x = draw(2, 5)
    models = [Single(lambda v, o=o: run(v, o), [(5,)], rectify=False).eval() for o in (True, False)]
    with torch.no_grad():
        R = np.abs(draw(*models[0](tensor(x)).shape, seed=1))
    got, expected = (abslrp.relevance(model, x, R, conserve=None) for model in models)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("build", GRAPHS)
def test_in_float32_the_gain_is_that_of_float64_to_rounding(build: Any) -> None:
    """In float32 a norm's gain takes the sign for what eq. 12's first layer gives."""
    graph = Graph((3, 5, 5))
    graph.add("reshape", build(graph), shape=(-1,))
    x = draw(2, 3, 5, 5)
    R = np.abs(draw(*forward(graph, x)[-1].shape, seed=1))
    model = to_torch(graph)
    wanted = abslrp.relevance(model, x, R)
    got = abslrp.relevance(model.float(), x.astype(np.float32), R.astype(np.float32))
    assert got.dtype == np.float32
    scale = np.abs(wanted).max(axis=(1, 2, 3), keepdims=True)
    assert (np.abs(got - wanted) / scale).max() < 1e-3


def test_what_has_no_positive_part_gets_nothing_in_float32() -> None:
    """Zeros, negative inputs and a mean that is met exactly; NaN stays one sample's own."""
    x = torch.tensor([[[0.0, -1.0, 2.0, 3.0]], [[1.0, 2.0, float("nan"), 4.0]]])
    model = torch.nn.BatchNorm1d(1).eval()
    model.running_mean.fill_(2.0)
    model.bias.data.fill_(-5.0)
    flat = torch.nn.Sequential(model, torch.nn.Flatten()).eval()
    maps = abslrp.relevance(flat, x, torch.ones(2, 4), conserve=None)
    # eq. 12: x+ / (|x - 2| + 1e-9 d) * (x - 2)+ / (|h| + 1e-9), d = sqrt(1 + 1e-5)
    assert maps[0, 0, :3].tolist() == [0.0, 0.0, 0.0]
    assert maps[0, 0, 3].item() == pytest.approx(3 / 4, rel=1e-4)
    assert maps[1, 0, 0].item() == 0
    assert torch.isnan(maps[1, 0, 2])
    assert maps[1, 0, 3].item() == pytest.approx(4 / 3, rel=1e-4)
