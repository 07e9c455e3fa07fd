"""The naive references of rules and networks: by hand, by identities, by golden data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.naive import interpolation, pooling, rules
from tests.naive.conserve import conserving_step, per_sample, propagate
from tests.naive.contributions import Array
from tests.naive.golden import FIGURE_1, basic_resnet, figure_1, shared_folder
from tests.naive.network import Graph, explain, forward, random_graph, relevance, start, to_torch

SEEDS = range(40)


def close(actual: Any, expected: Any, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol)


def case(seed: int, **kwargs: Any) -> tuple[Graph, Array, list[Array]]:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, **kwargs)
    x: Array = rng.standard_normal((3, *graph.input_shape))
    return graph, x, forward(graph, x)


@pytest.mark.parametrize(("second", "expected"), FIGURE_1)
def test_figure_1(second: tuple[float, float], expected: tuple[float, float]) -> None:
    graph = figure_1(second)
    values = forward(graph, np.ones((1, 2)))
    R = relevance(graph, values, np.ones((1, 1)), conserve=None)[0][0]
    np.testing.assert_allclose(R / R.sum(), expected, rtol=1e-12)


def test_golden_resnet() -> None:
    path = shared_folder() / "golden" / "resnet_basic.npz"
    if not path.exists():
        pytest.skip(f"reference material is not there: {path}")
    golden = np.load(path)
    state = {k.removeprefix("state/"): golden[k] for k in golden if k.startswith("state/")}
    graph = basic_resnet(state, golden["x"].shape[1:])
    values = forward(graph, golden["x"].astype(np.float64))
    np.testing.assert_allclose(values[-1], golden["logits"], atol=1e-5)
    one_hot = start(golden["target"], 10, None)[0]
    for R, name in ((one_hot, "onehot"), (golden["start_signed"], "signed")):
        got = relevance(graph, values, R.astype(np.float64))[0]
        np.testing.assert_allclose(got, golden[f"relevance_{name}"], rtol=0, atol=1e-8)
        assert np.abs(got).max() > 1e-3


# --- eq. 12 against the closed forms of SPEC 1.1 -------------------------------------------------

LINEAR_MAPS: dict[str, tuple[Callable[..., torch.Tensor], dict[str, Any], tuple[int, ...], int]] = {
    "conv1d": (F.conv1d, {"stride": 2, "padding": 1}, (3, 2, 3), 1),
    "conv2d": (F.conv2d, {"stride": (1, 2), "padding": (2, 0), "dilation": 2}, (3, 2, 3, 2), 1),
    "grouped": (F.conv2d, {"groups": 2, "padding": 1}, (4, 2, 3, 3), 2),
    "depthwise": (F.conv2d, {"groups": 4, "stride": 2}, (4, 1, 2, 2), 4),
    "same": (F.conv2d, {"padding": "same", "dilation": 2}, (2, 3, 2, 3), 1),
    "conv3d": (F.conv3d, {"stride": 2, "padding": (1, 0, 1)}, (2, 2, 3, 2, 1), 1),
    "transpose1d": (F.conv_transpose1d, {"stride": 3, "output_padding": 1}, (3, 2, 4), 1),
    "transpose2d": (F.conv_transpose2d, {"stride": 2, "dilation": (1, 2)}, (3, 2, 2, 3), 1),
    "transpose_grouped": (F.conv_transpose2d, {"groups": 2, "padding": 1}, (4, 3, 3, 3), 2),
    "transpose3d": (F.conv_transpose3d, {"stride": (1, 2, 1)}, (2, 1, 2, 2, 1), 1),
}  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", LINEAR_MAPS)
def test_convolutions_equal_the_two_products(name: str, bias: bool) -> None:
    """R = x^+ (W^+T s) + x^- (W^-T s)."""
    function, geometry, shape, groups = LINEAR_MAPS[name]
    rng = np.random.default_rng(0)
    transposed = "transpose" in name
    channels = shape[0] if transposed else shape[1] * groups
    outputs = shape[1] * groups if transposed else shape[0]
    x, w = rng.standard_normal((2, channels, *[5] * (len(shape) - 2))), rng.standard_normal(shape)
    b = rng.standard_normal(outputs) if bias else None
    xt, wt = torch.from_numpy(x), torch.from_numpy(w)
    h = function(xt, wt, None if b is None else torch.from_numpy(b), **geometry)
    R = rng.standard_normal(tuple(h.shape))
    s = torch.from_numpy(R) / (h.abs() + 1e-9)

    def back(weight: torch.Tensor) -> Array:
        probe = torch.zeros_like(xt).requires_grad_()
        (g,) = torch.autograd.grad(function(probe, weight, None, **geometry), probe, s)
        result: Array = g.numpy()
        return result

    expected = np.maximum(x, 0) * back(wt.clamp(min=0)) + np.minimum(x, 0) * back(wt.clamp(max=0))
    rule = rules.conv_transpose if transposed else rules.conv
    close(rule(x, w, b, R, **geometry), expected)


SPATIAL: list[tuple[Callable[..., torch.Tensor], dict[str, Any], Any]] = [
    (F.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1}, pooling.avg_pool_matrix),
    (F.avg_pool2d, {"kernel_size": (2, 3), "padding": 1, "count_include_pad": False},
     pooling.avg_pool_matrix),
    (F.avg_pool2d, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
     pooling.avg_pool_matrix),
    (F.avg_pool2d, {"kernel_size": 2, "stride": 3, "ceil_mode": True, "divisor_override": 3},
     pooling.avg_pool_matrix),
    (F.adaptive_avg_pool2d, {"output_size": (3, 4)}, pooling.adaptive_avg_pool_matrix),
    (F.interpolate, {"size": (11, 3), "mode": "nearest"}, interpolation.interpolation_matrix),
    (F.interpolate, {"scale_factor": 2.0, "mode": "nearest-exact"},
     interpolation.interpolation_matrix),
    (F.interpolate, {"size": (9, 4), "mode": "bilinear"}, interpolation.interpolation_matrix),
    (F.interpolate, {"scale_factor": 1.7, "mode": "bilinear"}, interpolation.interpolation_matrix),
    (F.interpolate, {"size": (9, 4), "mode": "bilinear", "align_corners": True},
     interpolation.interpolation_matrix),
    (F.interpolate, {"size": (9, 4), "mode": "bicubic"}, interpolation.interpolation_matrix),
]  # fmt: skip


@pytest.mark.parametrize(("function", "geometry", "build"), SPATIAL)
def test_spatial_maps_equal_the_two_products(
    function: Callable[..., torch.Tensor], geometry: dict[str, Any], build: Any
) -> None:
    """The explicit matrix is PyTorch's, and R = (x W^T s + |x| |W|^T s) / 2."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 2, 7, 6))
    names = {"kernel" if k == "kernel_size" else k: v for k, v in geometry.items()}
    matrix, out = build((7, 6), **names)
    h = function(torch.from_numpy(x), **geometry).numpy()
    assert h.shape[2:] == out
    flat = x.reshape(2, 2, -1)
    np.testing.assert_allclose(flat @ matrix.T, h.reshape(2, 2, -1), rtol=1e-9, atol=1e-9)
    R = rng.standard_normal(h.shape)
    s = R.reshape(2, 2, -1) / (np.abs(flat @ matrix.T) + 1e-9)
    expected = 0.5 * (flat * (s @ matrix) + np.abs(flat) * (s @ np.abs(matrix)))
    got = pooling.spatial_map(x, matrix, R)
    close(got.reshape(2, 2, -1), expected)


def test_linear_by_hand() -> None:
    x, w, b = np.array([[2.0, -1.0]]), np.array([[1.0, 3.0], [-1.0, -4.0]]), np.array([2.0, 0.0])
    # h = (2 - 3 + 2, -2 + 4) = (1, 2); z^+ = (2, 0), (0, 4)
    got = rules.linear(x, w, b, np.array([[10.0, 5.0]]))
    np.testing.assert_allclose(got, [[20.0, 10.0]], rtol=1e-8)


def test_other_shares_by_hand() -> None:
    x, w, b = np.array([[2.0, -1.0]]), np.array([[1.0, 3.0]]), np.array([2.0])
    R = np.array([[6.0]])
    np.testing.assert_allclose(
        rules.linear(x, w, b, R, rules.epsilon_share(0.5)), [[2 / 1.5 * 6, -3 / 1.5 * 6]]
    )
    positive = rules.linear(x, w, b, R, rules.alpha_beta_share(1, 0))
    np.testing.assert_allclose(positive, [[3.0, 0.0]])  # z^+ sum is 2 + 2 with the bias
    both = rules.linear(x, w, b, R, rules.alpha_beta_share(2, 1))
    np.testing.assert_allclose(both, [[6.0, -6.0]])
    without = rules.linear(x, w, b, R, rules.alpha_beta_share(1, 0, bias_in_sums=False))
    np.testing.assert_allclose(without, [[6.0, 0.0]])


def test_elementwise_rules_by_hand() -> None:
    R = np.array([6.0, 6.0, 6.0])
    a, b = np.array([1.0, -1.0, 2.0]), np.array([2.0, 4.0, -4.0])
    R_a, R_b = rules.add(a, b, R)
    np.testing.assert_allclose(R_a, [2.0, 0.0, 6.0], rtol=1e-8)
    np.testing.assert_allclose(R_b, [4.0, 8.0, 0.0], rtol=1e-8)
    R_a, R_b = rules.subtract(a, b, R)
    np.testing.assert_allclose(R_a, [6.0, 0.0, 2.0], rtol=1e-8)
    np.testing.assert_allclose(R_b, [0.0, 0.0, 4.0], rtol=1e-8)
    np.testing.assert_allclose(rules.add_constant(a, b, R), [2.0, 0.0, 6.0], rtol=1e-8)
    for r in rules.gate(a, b, R):
        np.testing.assert_allclose(r, [6.0, 0.0, 0.0])
    np.testing.assert_allclose(rules.softmax(a, R), [6.0, 0.0, 12.0])
    np.testing.assert_allclose(rules.activation(R), R)


def test_two_layers_by_hand() -> None:
    # h1 = (3 - 1) / 2 = 1, h2 = 1 * 3 - 1 = 2: R * 3 / 2, then * (3 / 2) / 1
    got = rules.batch_norm(
        np.array([[3.0], [-3.0]]), np.array([1.0]), np.array([4.0]), np.array([3.0]),
        np.array([-1.0]), np.array([[8.0], [8.0]]), eps=0.0,
    )  # fmt: skip
    np.testing.assert_allclose(got, [[18.0], [0.0]], rtol=1e-8)
    # x = (1, 3): mean 2, sigma 1, h1 = (-1, 1); w = 2, b = 0: h2 = (-2, 2), so only x_1 gets any
    got = rules.layer_norm(np.array([[1.0, 3.0]]), 1, np.array([2.0, 2.0]), None,
                           np.array([[5.0, 5.0]]), eps=0.0)  # fmt: skip
    np.testing.assert_allclose(got, [[0.0, 15.0]], rtol=1e-8)


def test_matmul_equals_linear_einsum_and_a_loop() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 1, 5, 6))
    R = rng.standard_normal((2, 3, 4, 6))
    R_a, R_b = rules.matmul(a, b, R)
    for n, h in np.ndindex(2, 3):
        close(R_a[n, h], rules.linear(a[n, h], b[n, 0].T, None, R[n, h]))
    expected = np.zeros_like(b)
    for n, h in np.ndindex(2, 3):
        expected[n, 0] += rules.linear(b[n, 0].T, a[n, h], None, R[n, h].T).T
    close(R_b, expected)
    wide = np.broadcast_to(b, (2, 3, 5, 6))
    E_a, E_b = rules.einsum("nhik,nhkj->nhij", a, wide, R)
    close(E_a, R_a)
    close(E_b.sum(axis=1, keepdims=True), R_b)


def test_max_pool_winners_are_pytorchs() -> None:
    rng = np.random.default_rng(3)
    x = np.maximum(rng.integers(-3, 3, (2, 3, 7, 7)), 0).astype(np.float64)  # many ties
    geometries: list[dict[str, Any]] = [
        {"kernel": 3, "stride": 2, "padding": 1},
        {"kernel": 2, "ceil_mode": True},
        {"kernel": (2, 3), "stride": 1, "dilation": 2},
    ]
    for geometry in geometries:
        xt = torch.from_numpy(x).requires_grad_()
        h = F.max_pool2d(
            xt, **{"kernel_size" if k == "kernel" else k: v for k, v in geometry.items()}
        )
        R = rng.standard_normal(tuple(h.shape))
        (expected,) = torch.autograd.grad(h, xt, torch.from_numpy(R))
        np.testing.assert_allclose(rules.max_pool(x, None, **geometry), h.detach())
        close(rules.max_pool(x, R, **geometry), expected)


def test_attention_is_its_parts() -> None:
    """The composite equals the same graph spelled out, under every kind of conservation."""
    rng = np.random.default_rng(4)
    mask = rng.standard_normal((1, 1, 5, 5))
    fused, eager = Graph((3, 2, 5, 4)), Graph((3, 2, 5, 4))
    for graph in (fused, eager):
        q, k, v = (graph.add("index", 0, axis=1, at=i) for i in range(3))
        if graph is fused:
            graph.add("attention", q, k, v, mask=mask)
            continue
        k = graph.add("permute", k, axes=(0, 1, 3, 2))
        scores = graph.add("mul_constant", graph.add("matmul", q, k), value=0.5)
        scores = graph.add("add", scores, graph.add("constant", value=mask))
        graph.add("matmul", graph.add("softmax", scores, axis=-1), v)
    x, R = rng.standard_normal((2, 3, 2, 5, 4)), rng.standard_normal((2, 2, 5, 4))
    for conserve in (None, "operation", "argument"):
        got = [relevance(g, forward(g, x), R, conserve)[0] for g in (fused, eager)]
        close(got[0], got[1])
        assert np.abs(got[0]).max() > 1e-3


@pytest.mark.parametrize("conserve", [None, "operation", "argument"])
def test_a_boolean_mask_leaves_keys_out(conserve: Any) -> None:
    rng = np.random.default_rng(7)
    q, k, v, R = rng.standard_normal((4, 2, 5, 4))
    keep = np.arange(5) < 3
    step = conserving_step(conserve)
    masked = rules.attention(q, k, v, R, mask=np.broadcast_to(keep, (2, 5, 5)), step=step)
    short = rules.attention(q, k[:, :3], v[:, :3], R, step=step)
    close(masked[0], short[0])
    for whole, part in zip(masked[1:], short[1:], strict=True):
        close(whole[:, :3], part)
        close(whole[:, 3:], 0.0)


def test_self_attention_is_one_packed_linear_operation() -> None:
    """nn.MultiheadAttention on one tensor equals the graph with one (3E, E) linear layer."""
    rng = np.random.default_rng(8)
    in_weight, out_weight = rng.standard_normal((12, 4)), rng.standard_normal((4, 4))
    module, spelled = Graph((5, 4)), Graph((5, 4))
    module.add("multi_head_attention", 0, 0, 0, in_weight=in_weight, out_weight=out_weight, heads=2)
    head = spelled.chain(
        0,
        ("linear", {"weight": in_weight}),
        ("reshape", {"shape": (5, 3, 2, 2)}),
        ("permute", {"axes": (0, 3, 2, 1, 4)}),
    )
    head = spelled.add("attention", *(spelled.add("index", head, axis=2, at=i) for i in range(3)))
    spelled.chain(
        head,
        ("permute", {"axes": (0, 2, 1, 3)}),
        ("reshape", {"shape": (5, 4)}),
        ("linear", {"weight": out_weight}),
    )
    x, R = rng.standard_normal((2, 3, 5, 4))
    for conserve in (None, "operation", "argument"):
        got = [relevance(g, forward(g, x), R, conserve)[0] for g in (module, spelled)]
        close(got[0], got[1])


def test_multi_head_attention_packing_matters_to_conservation_only() -> None:
    rng = np.random.default_rng(5)
    x, R = rng.standard_normal((2, 5, 4)), rng.uniform(0, 1, (2, 5, 4))
    params = (rng.standard_normal((12, 4)), None, rng.standard_normal((4, 4)), None, 2)
    maps = {
        (packed, conserve): sum(
            rules.multi_head_attention(
                x, x, x, *params, R, packed=packed, step=conserving_step(conserve)
            )
        )
        for packed in ("qkv", "kv", None)
        for conserve in (None, "operation")
    }
    for packed in ("kv", None):
        close(maps[packed, None], maps["qkv", None])
    for packed in ("qkv", "kv", None):
        close(np.sum(maps[packed, "operation"], axis=(1, 2)), R.sum(axis=(1, 2)))


# --- conservation --------------------------------------------------------------------------------


def test_propagate_by_hand() -> None:
    a, b = np.array([[3.0, -1.0], [1.0, 1.0]]), np.array([[1.0, 5.0], [1.0, 3.0]])
    R = np.array([[8.0, -4.0], [0.0, 1.0]])
    # sample 0: R^+ (8, 0) sends 6 and 2; R^- (0, 4) sends 0 and 4 * 5 / 4 = 5, brought to 4
    R_a, R_b = propagate(lambda r: list(rules.add(a, b, r)), R, "operation")
    np.testing.assert_allclose(R_a, [[6.0, 0.0], [0.0, 0.25]], rtol=1e-8)
    np.testing.assert_allclose(R_b, [[2.0, -4.0], [0.0, 0.75]], rtol=1e-8)
    R_a, R_b = propagate(lambda r: list(rules.add(a, b, r)), R, "argument")
    np.testing.assert_allclose(R_a, [[1.0, 0.0], [0.0, 1.0]], rtol=1e-8)
    np.testing.assert_allclose(R_b, [[2 / 7, -5 / 7], [0.0, 1.0]], rtol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_operation_conserves_but_for_the_known_leaks(seed: int) -> None:
    graph, _, values = case(seed)
    target = values[-1].argmax(axis=1)
    for R in start(target, values[-1].shape[1], "streams"):
        leaks: dict[int, Array] = {}
        sums = relevance(graph, values, R, leaks=leaks)
        assert (sums[0] >= 0).all()
        arrived = per_sample(sums[0], 3) + sum(leaks.values())
        np.testing.assert_allclose(arrived, 1.0, rtol=1e-9)
        for number, leak in leaks.items():
            got = per_sample(sums[number], 3)
            dead = np.isclose(leak, got)  # no input contributed positively
            # Relevance of constants joined or padded on; inner operations of attention.
            op = graph.nodes[number].op
            known = op in ("cat", "pad", "attention", "multi_head_attention")
            assert known or (dead | (np.abs(leak) < 1e-9)).all(), op


def test_signed_relevance_is_conserved_in_both_parts() -> None:
    for seed in SEEDS:
        graph, x, values = case(seed, without=("pad", "class_token"))
        leaks: dict[int, Array] = {}
        R = start(values[-1].argmax(axis=1), 4, "signed")[0]
        total = per_sample(relevance(graph, values, R, leaks=leaks)[0], 3) + sum(leaks.values())
        np.testing.assert_allclose(total, 1 - 3 / 4, rtol=1e-8)
        streams = explain(graph, x, values[-1].argmax(axis=1))
        assert np.isfinite(streams).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_to_the_letter_relevance_is_linear_in_its_start(seed: int) -> None:
    graph, _, values = case(seed)
    R = np.random.default_rng(seed).standard_normal((2, *values[-1].shape))
    first, second = (relevance(graph, values, r, None)[0] for r in R)
    both = relevance(graph, values, R[0] - 3 * R[1], None)[0]
    scale = np.abs(first).max() + np.abs(second).max() + 1e-300
    np.testing.assert_allclose(both / scale, (first - 3 * second) / scale, atol=1e-12)


def test_argument_scales_every_operand_alone() -> None:
    graph = Graph((4,))
    left, right = (graph.add("linear", 0, weight=w) for w in (np.eye(4), -9 * np.eye(4)))
    graph.add("add", left, right)
    values = forward(graph, np.array([[1.0, 2.0, -1.0, -3.0]]))
    sums = relevance(graph, values, np.ones((1, 4)), "argument")
    for number in (left, right):
        np.testing.assert_allclose(np.abs(sums[number]).sum(), 1.0)
    np.testing.assert_allclose(sums[0].sum(), 2.0)


def test_reuse_sums() -> None:
    graph = Graph((3,))
    graph.add("add", 0, 0)
    values = forward(graph, np.array([[1.0, -2.0, 4.0]]))
    R = np.array([[2.0, 5.0, 7.0]])
    np.testing.assert_allclose(relevance(graph, values, R, None)[0], [[2.0, 0.0, 7.0]], rtol=1e-8)
    np.testing.assert_allclose(relevance(graph, values, R)[0].sum(), 14.0)


def test_epsilon_on_a_relu_network_is_input_times_gradient() -> None:
    rng = np.random.default_rng(6)
    graph = Graph((2, 6, 6))
    head = graph.add("relu", graph.add("conv", 0, weight=rng.standard_normal((4, 2, 3, 3))))
    head = graph.add("avg_pool", graph.add("max_pool", head, kernel=2), kernel=2)
    head = graph.add("reshape", head, shape=(-1,))
    graph.add("linear", head, weight=rng.standard_normal((3, 4)))
    x = rng.standard_normal((2, 2, 6, 6))
    values = forward(graph, x)
    R = np.zeros((2, 3))
    R[:, 1] = values[-1][:, 1]
    got = relevance(graph, values, R, None, share=rules.epsilon_share(1e-15))[0]
    xt = torch.from_numpy(x).requires_grad_()
    (g,) = torch.autograd.grad(to_torch(graph)(xt)[:, 1].sum(), xt)
    np.testing.assert_allclose(got, x * g.numpy(), rtol=1e-6, atol=1e-12)
    with pytest.raises(NotImplementedError):
        relevance(graph, values, R, share=rules.epsilon_share(1e-15))


# --- the PyTorch twin ----------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [False, True])
def test_torch_twin_computes_the_same(inplace: bool) -> None:
    overwritten, kinds = 0, set()
    for seed in SEEDS:
        graph, x, values = case(seed)
        twin = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
        overwritten += len(twin.overwritten())
        kinds |= set(graph.ops())
        xt = torch.from_numpy(x).requires_grad_()
        logits = twin(xt)
        np.testing.assert_allclose(logits.detach(), values[-1], rtol=1e-9, atol=1e-12)
        torch.autograd.grad(logits.sum(), xt)  # in-place operations left plain autograd usable
        assert torch.equal(xt.detach(), torch.from_numpy(x))
    assert bool(overwritten) == inplace
    assert {"conv", "add", "mul", "matmul", "softmax", "cat", "attention", "max_pool"} <= kinds


def test_shared_parameters_stay_shared() -> None:
    graph = Graph((2,))
    weight = np.array([[1.0, 2.0], [3.0, -1.0]])
    graph.add("linear", graph.add("linear", 0, weight=weight), weight=weight)
    assert len(list(to_torch(graph).parameters())) == 1
