"""Convolution networks for signals and volumes, against the naive interpreter and by their sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw
from tests.naive.network import Graph, explain, to_torch

KINDS: dict[int, Any] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d, nn.ConvTranspose1d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d, nn.ConvTranspose3d),
}
SIZES = {1: (2, 32), 3: (2, 8, 8, 8)}


class Residual(nn.Module):
    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        conv, norm, *_ = KINDS[dims]
        self.body = nn.Sequential(
            conv(width, width, 3, padding=1, bias=False), norm(width), nn.ReLU(inplace=True),
            conv(width, width, 3, padding=2, dilation=2, groups=2), norm(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        y += x
        return y.relu_()


def network(dims: int) -> nn.Module:
    """A small residual network with strides, pooling and upsampling."""
    conv, norm, pool, mean, transposed = KINDS[dims]
    with torch.random.fork_rng():
        torch.manual_seed(dims)
        net = nn.Sequential(
            conv(2, 8, 5, stride=2, padding=2), norm(8), nn.ReLU(inplace=True), pool(2),
            Residual(dims, 8), nn.Upsample(scale_factor=2), transposed(8, 6, 2, stride=2),
            nn.GELU(), nn.Dropout(), mean(2), nn.Flatten(), nn.Linear(6 * 2**dims, 4),
        )  # fmt: skip
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.double().eval()


@pytest.mark.parametrize("contrast", ["streams", "signed", None])
@pytest.mark.parametrize("dims", [1, 3])
def test_network(dims: int, contrast: Any) -> None:
    model, x = network(dims), draw(3, *SIZES[dims])
    maps = abslrp.explain(model, x, [0, 3, 1], contrast=contrast)
    assert maps.shape == x.shape
    assert np.isfinite(maps).all()
    assert (np.abs(maps).reshape(3, -1).max(1) > 0).all()
    alone = abslrp.explain(model, x[1:2], [3], contrast=contrast)
    np.testing.assert_allclose(maps[1], alone[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 3])
def test_relevance_is_conserved(dims: int) -> None:
    R = abslrp.relevance(network(dims), draw(3, *SIZES[dims]), np.full((3, 4), 0.25))
    assert R.min() >= 0
    np.testing.assert_allclose(R.reshape(3, -1).sum(1), 1, rtol=1e-7)


@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("dims", [1, 3])
def test_against_the_naive_interpreter(dims: int, conserve: Any) -> None:
    size = {1: (9,), 3: (4, 5, 4)}[dims]
    g = Graph((2, *size))
    kernel = (3,) * dims
    h = g.add("conv", 0, weight=draw(4, 2, *kernel), bias=draw(4), padding=1)
    h = g.add("batch_norm", h, mean=draw(4), var=np.abs(draw(4, seed=1)) + 0.5,
              weight=draw(4, seed=2), bias=draw(4, seed=3))  # fmt: skip
    h = g.add("relu", h)
    body = g.add("conv", h, weight=draw(4, 4, *kernel, seed=4), bias=draw(4, seed=5), padding=1)
    h = g.add("relu", g.add("add", body, h))
    h = g.add("mean", h, axes=tuple(range(2, 2 + dims)))
    g.add("linear", h, weight=draw(4, 4, seed=6), bias=draw(4, seed=7))
    x = draw(2, 2, *size, seed=8)
    got = abslrp.explain(to_torch(g), x, [0, 2], conserve=conserve)
    wanted = explain(g, x, np.array([0, 2]), conserve)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max())
