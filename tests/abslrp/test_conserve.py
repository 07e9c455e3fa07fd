"""SPEC 1.3 and 1.4: conservation and contrast, against the naive interpreter and by their sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw
from tests.naive.interpreter import start
from tests.naive.network import Graph, explain, forward, random_graph, relevance, to_torch
from tests.naive.operations import PASSING
from tests.naive.test_selfcheck_operations import CASES, build

CONSERVE = ["operation", "argument", None]


def close(got: Any, wanted: Any) -> None:
    """Agreement relative to each sample's largest relevance: random networks amplify eq. 12."""
    for one, two in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7 * np.abs(two).max() + 1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("conserve", CONSERVE)
@pytest.mark.parametrize(
    ("op", "shapes", "params"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)]
)
def test_each_operation(op: str, shapes: Any, params: Any, conserve: Any) -> None:
    if (op, params.get("rows")) == ("reshape", 8):
        pytest.skip("the logits of two samples would be eight rows; see test_layout.py")
    graph = build(op, shapes, params)
    graph.add("reshape", len(graph.nodes) - 1, shape=(-1,))
    x = draw(2, *graph.input_shape)
    values = forward(graph, x)
    for R in (draw(*values[-1].shape, seed=1), np.abs(draw(*values[-1].shape, seed=1))):
        leaks: dict[int, Any] = {}
        wanted = relevance(graph, values, R, conserve, leaks=leaks)[0]
        got = abslrp.relevance(to_torch(graph), x, R, conserve=conserve)
        close(got, wanted)
        if conserve == "operation":
            sums = got.reshape(2, -1).sum(1) + sum(leaks.values())
            np.testing.assert_allclose(sums, R.sum(1), rtol=1e-9, atol=1e-9)


def decided(graph: Graph, values: Any) -> bool:
    """Whether rounding cannot change the winner of a max pool (ties of padding's equal values)."""
    noise = np.random.default_rng(0)
    for node, value in zip(graph.nodes, values, strict=True):
        if node.op == "max_pool":
            x = values[node.inputs[0]]
            routes = [
                PASSING[node.op].relevance([one], node.params, np.ones_like(value), None)[0]
                for one in (x, x * (1 + 1e-10 * noise.random(x.shape)))
            ]
            if not np.array_equal(*routes):
                return False
    return True


@given(seed=st.integers(0, 2**32), conserve=st.sampled_from(CONSERVE), inplace=st.booleans())
@settings(max_examples=24, deadline=None, derandomize=True)
def test_random_graphs(seed: int, conserve: Any, inplace: bool) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    x = rng.standard_normal((3, *graph.input_shape))
    values = forward(graph, x)
    assume(decided(graph, values))
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    target = rng.integers(0, 4, 3)
    for R in (*start(target, 4, "streams"), rng.standard_normal((3, 4))):
        close(
            abslrp.relevance(model, x, R, conserve=conserve),
            relevance(graph, values, R, conserve)[0],
        )


@given(seed=st.integers(0, 2**32), contrast=st.sampled_from(["streams", "signed", None]))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_explain_random_graphs(seed: int, contrast: Any) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    x, target = rng.standard_normal((3, *graph.input_shape)), rng.integers(0, 4, 3)
    assume(decided(graph, forward(graph, x)))
    for conserve in CONSERVE:
        got = abslrp.explain(to_torch(graph), x, target, conserve=conserve, contrast=contrast)
        close(got, explain(graph, x, target, conserve, contrast))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_what_random_graphs_leak_is_accounted_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(rng)
    x = rng.standard_normal((3, *graph.input_shape))
    values, leaks = forward(graph, x), {}
    R = np.abs(rng.standard_normal((3, 4)))
    relevance(graph, values, R, leaks=leaks)
    got = abslrp.relevance(to_torch(graph), x, R)
    sums = got.reshape(3, -1).sum(1) + sum(leaks.values())
    np.testing.assert_allclose(sums, R.sum(1), rtol=1e-6)
    assert got.min() >= 0


def tiny_vgg() -> nn.Module:
    net = torchvision.models.vgg.VGG(
        torchvision.models.vgg.make_layers([8, "M", 16, "M", 32, 32, "M"], batch_norm=False),
        num_classes=7,
        init_weights=False,
    )
    net.classifier = nn.Sequential(
        nn.Linear(32 * 49, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 7)
    )
    return net


def tiny_resnet() -> nn.Module:
    return timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck, [1, 2, 1, 1], num_classes=7, stem_width=8,
        channels=(8, 16, 16, 32), zero_init_last=False,  # weights of 0 leak (SPEC 1.3)
    )  # fmt: skip


def tiny_vit() -> nn.Module:
    """Without a class token, which leaks (SPEC 1.3)."""
    return timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=7,
        class_token=False, global_pool="avg",
    )  # fmt: skip


def made(build_model: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = build_model().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("network", [tiny_vgg, tiny_resnet, tiny_vit])
@pytest.mark.parametrize("contrast", ["streams", None])
def test_each_stream_sums_to_one(network: Any, contrast: Any) -> None:
    model = made(network)
    x = torch.from_numpy(draw(4, 3, 32, 32)).float()
    R = torch.from_numpy(np.stack(start(np.array([0, 3, 6, 2]), 7, contrast))).float()
    maps = abslrp.relevance(model, x, R)
    assert maps.min() >= 0
    sums = maps.flatten(2).sum(2)
    np.testing.assert_allclose(sums, np.ones(sums.shape), atol=1e-4)


@pytest.mark.parametrize("network", [tiny_vgg, tiny_resnet, tiny_vit])
def test_both_signs_are_conserved(network: Any) -> None:
    model = made(network)
    x = torch.from_numpy(draw(3, 3, 32, 32)).float()
    R = torch.from_numpy(draw(3, 7, seed=3)).float()
    maps = abslrp.relevance(model, x, R)
    np.testing.assert_allclose(maps.flatten(1).sum(1), R.sum(1), atol=1e-4)


@pytest.mark.parametrize("network", [tiny_vgg, tiny_resnet, tiny_vit])
@pytest.mark.parametrize("conserve", CONSERVE)
def test_streams_in_one_call_equal_separate_calls(network: Any, conserve: Any) -> None:
    model, target = made(network).double(), np.array([0, 3, 6])
    x = draw(3, 3, 32, 32)
    R = np.stack(start(target, 7, "streams"))
    together = abslrp.relevance(model, x, R, conserve=conserve)
    apart = np.stack([abslrp.relevance(model, x, one, conserve=conserve) for one in R])
    np.testing.assert_allclose(together, apart, rtol=1e-9, atol=1e-15)
    shares = [one / one.sum((1, 2, 3), keepdims=True) for one in apart]
    np.testing.assert_allclose(
        abslrp.explain(model, x, target, conserve=conserve), shares[0] - shares[1], rtol=1e-9,
        atol=1e-15,
    )  # fmt: skip


def test_relevance_is_linear_in_a_nonnegative_start() -> None:
    model, x = made(tiny_resnet).double(), draw(2, 3, 32, 32)
    R = np.abs(draw(2, 7, seed=4))
    one = abslrp.relevance(model, x, R)
    np.testing.assert_allclose(abslrp.relevance(model, x, 3 * R), 3 * one, rtol=1e-9)


def test_a_start_of_zeros_gives_zeros() -> None:
    x = draw(2, 3, 32, 32)
    model = made(tiny_resnet).double()
    for conserve in CONSERVE:
        got = abslrp.relevance(model, x, np.zeros((2, 7)), conserve=conserve)
        np.testing.assert_array_equal(got, 0)


@pytest.mark.parametrize("accelerate", [True, False])
def test_one_number_for_each_sample_keeps_its_total(accelerate: bool) -> None:
    class OneAgainstAll(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(1), x[:, :2].sum(1), x[:, 0]], 1)

    x = torch.tensor([[1.0, -0.5, 1], [2, 3, 4], [1, 1, 2]], dtype=torch.float64)
    start = torch.tensor([[1, -0.5, 0.25], [-1, 0.5, 1], [1, 1, -3]], dtype=torch.float64)
    model = OneAgainstAll().eval()
    got = abslrp.relevance(model, x, start, accelerate=accelerate)
    torch.testing.assert_close(got.sum(1), start.sum(1))
    alone = [abslrp.relevance(model, x[i : i + 1], start[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(got, torch.cat(alone))
