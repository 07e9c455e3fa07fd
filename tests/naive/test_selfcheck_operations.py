"""Every operation of the naive networks, one at a time, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.naive.network import Graph, forward, relevance, to_torch
from tests.naive.operations import ACTIVATIONS, COMPOSITES, OPERATIONS, PASSING, STRUCTURAL

RNG = np.random.default_rng(0)


def draw(*shape: int) -> Any:
    return RNG.standard_normal(shape)


MASK = np.tril(np.ones((4, 4), dtype=np.bool_))[None, None]
HEADS = {"in_weight": draw(18, 6), "out_weight": draw(6, 6), "heads": 2}
AFFINE = {"weight": draw(4), "bias": draw(4)}

SINGLE: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    *[(name, (4, 5), {}) for name in ACTIVATIONS],
    ("linear", (3, 4), {"weight": draw(5, 4), "bias": draw(5)}),
    ("conv", (4, 9), {"weight": draw(6, 2, 3), "bias": draw(6), "stride": 2, "groups": 2}),
    ("conv", (2, 5, 4, 5), {"weight": draw(3, 2, 2, 3, 1), "padding": (1, 0, 2)}),
    ("conv", (2, 5, 6), {"weight": draw(3, 2, 2, 3), "padding": "same"}),
    ("conv_transpose", (4, 5), {"weight": draw(4, 2, 3), "stride": 3, "groups": 2}),
    ("conv_transpose", (2, 3, 3), {"weight": draw(2, 3, 3, 2), "stride": 2, "output_padding": 1}),
    ("batch_norm", (4, 3), {**AFFINE, "mean": draw(4), "var": np.abs(draw(4)) + 0.1}),
    ("batch_norm", (4, 2, 2), {"mean": draw(4), "var": np.abs(draw(4)) + 0.1, "eps": 0.3}),
    ("layer_norm", (3, 4), {**AFFINE}),
    ("layer_norm", (3, 2, 4), {"weight": draw(2, 4), "axes": 2, "eps": 0.2}),
    ("group_norm", (4, 3, 2), {**AFFINE, "groups": 2}),
    ("rms_norm", (3, 4), {"weight": draw(4), "eps": 0.1}),
    ("softmax", (3, 4), {"axis": 1}),
    ("max_pool", (2, 7), {"kernel": 3, "stride": 2, "padding": 1}),
    ("max_pool", (2, 5, 5, 4), {"kernel": 2, "ceil_mode": True}),
    ("adaptive_max_pool", (2, 7, 5), {"output_size": (3, 2)}),
    ("avg_pool", (2, 7), {"kernel": 3, "padding": 1, "ceil_mode": True}),
    ("avg_pool", (2, 5, 5, 4), {"kernel": 2, "padding": 1, "count_include_pad": False}),
    ("adaptive_avg_pool", (2, 7, 5), {"output_size": 3}),
    ("interpolate", (2, 5), {"mode": "linear", "size": 8}),
    ("interpolate", (2, 3, 2, 3), {"mode": "linear", "size": (5, 4, 2), "align_corners": True}),
    ("interpolate", (2, 4, 5), {"mode": "bicubic", "size": (7, 3), "align_corners": True}),
    ("interpolate", (2, 4, 5), {"mode": "nearest", "scale_factor": (1.5, 2.0)}),
    ("mean", (3, 4, 2), {"axes": (1, 3)}),
    ("mean", (3, 4), {"axes": (-1,), "keepdims": True}),
    ("sum", (3, 4, 2), {"axes": (2,)}),
    ("mul_constant", (3, 4), {"value": draw(1, 3, 1)}),
    ("div_constant", (3, 4), {"value": 3.5}),
    ("dropout", (3, 4), {}),
    ("reshape", (4, 6), {"shape": (3, -1)}),
    ("reshape", (4, 6), {"shape": (6,), "rows": 8}),
    ("permute", (3, 4, 5), {"axes": (0, 3, 1, 2)}),
    ("slice", (6, 5), {"axis": 1, "start": 1, "stop": -1, "step": 2}),
    ("index", (6, 5), {"axis": -1, "at": 2}),
    ("chunk", (7, 2), {"axis": 1, "chunks": 3, "part": 2}),
    ("pad", (3, 4), {"widths": ((0, 1), (2, 0)), "value": 0.7}),
    ("roll", (5, 4), {"shifts": (2, -1), "axes": (1, 2)}),
    ("expand", (1, 4), {"shape": (3, 4)}),
]

SEVERAL: list[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]] = [
    ("add", ((3, 4), (1, 4)), {}),
    ("sub", ((3, 1), (3, 4)), {}),
    ("mul", ((3, 4), (1, 4)), {}),
    ("matmul", ((3, 4, 2), (1, 2, 5)), {}),
    ("einsum", ((3, 4), (3, 5)), {"equation": "bij,bik->bjk"}),
    ("cat", ((3, 4), (2, 4), (1, 4)), {"axis": 1}),
    ("attention", ((2, 4, 3), (2, 4, 3), (2, 4, 5)), {"mask": MASK, "scale": 0.9}),
    ("attention", ((2, 4, 3), (2, 6, 3), (2, 6, 5)), {}),
    ("multi_head_attention", ((4, 6), (4, 6), (4, 6)), {**HEADS, "mask": MASK}),
    ("multi_head_attention", ((3, 6), (4, 6), (4, 6)), {**HEADS, "in_bias": draw(18)}),
]


def build(op: str, shapes: tuple[tuple[int, ...], ...], params: dict[str, Any]) -> Graph:
    """A graph whose inputs are slices of one flat input."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    graph, start, parts = Graph((sum(sizes),)), 0, []
    for shape, size in zip(shapes, sizes, strict=True):
        part = graph.add("slice", 0, axis=1, start=start, stop=start + size)
        parts.append(graph.add("reshape", part, shape=shape))
        start += size
    graph.add(op, *parts, **params)
    return graph


CASES = [
    *[(op, (shape,), params) for op, shape, params in SINGLE],
    *SEVERAL,
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    ("op", "shapes", "params"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)]
)
def test_forward_and_routing_equal_pytorchs(
    op: str, shapes: tuple[tuple[int, ...], ...], params: dict[str, Any]
) -> None:
    graph = build(op, shapes, params)
    x = np.random.default_rng(1).standard_normal((2, *graph.input_shape))
    values = forward(graph, x)
    xt = torch.from_numpy(x).requires_grad_()
    h = to_torch(graph)(xt)
    np.testing.assert_allclose(h.detach(), values[-1], rtol=1e-9, atol=1e-10)
    R = np.random.default_rng(2).standard_normal(values[-1].shape)
    got = relevance(graph, values, R, None)[0]
    assert got.shape == x.shape
    assert np.abs(got).max() > 0
    one_to_one = op in ACTIVATIONS or op in ("mul_constant", "div_constant", "dropout")
    if one_to_one:
        np.testing.assert_array_equal(got, R.reshape(x.shape))
    elif op in STRUCTURAL or op in PASSING:
        (expected,) = torch.autograd.grad(h, xt, torch.from_numpy(R))
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-12)


def test_no_operation_is_left_out() -> None:
    assert {case[0] for case in CASES} == {*OPERATIONS, *COMPOSITES}
