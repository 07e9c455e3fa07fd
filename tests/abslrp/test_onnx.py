"""ONNX models brought in with onnx2torch give the maps of the PyTorch models they came from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw

onnx2torch = pytest.importorskip("onnx2torch", reason="needs the extra 'onnx'")


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y + x


def cnn() -> tuple[nn.Module, Tensor]:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), Block(8), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    return net, torch.from_numpy(draw(3, 3, 16, 16)).float()


class Affine(nn.Module):
    """A linear layer as ONNX spells it on sequences: a product and an addition, two operations."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.randn(outputs) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (Affine(8, 8) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.mlp = nn.Sequential(Affine(8, 16), nn.ReLU(), Affine(16, 8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[0](x)
        q, k, v = (f(y).reshape(-1, 6, 2, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-2, -1) * 0.5, dim=-1)
        x = x + (weights @ v).transpose(1, 2).reshape(-1, 6, 8)
        x = x + self.mlp(self.norms[1](x))
        result: Tensor = self.head(x.mean(1))
        return result


def transformer() -> tuple[nn.Module, Tensor]:
    return Transformer(), torch.from_numpy(draw(3, 6, 8)).float()


def brought_in(model: nn.Module, x: Tensor, path: Path) -> nn.Module:
    """Export a model for one batch size and convert it back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What onnx2torch reads: operator sets up to about 17, which the older exporter writes.
        torch.onnx.export(
            model, (x,), path, dynamo=False, opset_version=17, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
        converted: nn.Module = onnx2torch.convert(path).eval()
    return converted


@pytest.fixture(scope="module", params=[cnn, transformer], ids=["cnn", "transformer"])
def pair(request: Any, tmp_path_factory: Any) -> tuple[nn.Module, nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = request.param()
    model = model.eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return model, brought_in(model, x, path), x


def test_the_model_survives(pair: Any) -> None:
    model, converted, x = pair
    with torch.no_grad():
        torch.testing.assert_close(converted(x), model(x), rtol=1e-4, atol=1e-5)


def test_maps(pair: Any) -> None:
    model, converted, x = pair
    got = abslrp.relevance(converted, x, torch.eye(5)[[0, 2, 4]])
    wanted = abslrp.relevance(model, x, torch.eye(5)[[0, 2, 4]])
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))
    assert wanted.max() > 0


@pytest.mark.parametrize("attention", ["values", "queries_keys"])
def test_attention_is_recognised(attention: Any, pair: Any) -> None:
    model, converted, x = pair
    if isinstance(model, nn.Sequential):
        with pytest.raises(ValueError, match="attention"):
            abslrp.relevance(converted, x, torch.eye(5)[[0, 2, 4]], attention=attention)
        return
    got = abslrp.relevance(converted, x, torch.eye(5)[[0, 2, 4]], attention=attention)
    wanted = abslrp.relevance(model, x, torch.eye(5)[[0, 2, 4]], attention=attention)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))
