"""Products of convolutions with weights of one sign, against torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import abslrp
from tests.abslrp.single import draw, tensor

CONVOLUTIONS: list[dict[str, Any]] = [
    {"stride": 2},
    {"stride": (2, 3)},
    {"stride": 2, "groups": 2},
    {"stride": 2, "kernel": 3, "padding": 1},
    {"stride": 2, "padding": 1},
    {"stride": 3, "size": (8, 7)},
    {"stride": 4, "size": (4, 5)},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_products_of_convolutions_are_those_of_the_gradient(options: dict[str, Any]) -> None:
    """Against torch's own input gradient of the convolution with one sign of weight."""
    options = dict(options)
    kernel, size = options.pop("kernel", 1), options.pop("size", (7, 9))
    groups = options.get("groups", 1)
    weight = tensor(draw(6, 4 // groups, kernel, kernel))
    x = tensor(draw(2, 4, *size))

    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, weight, **options).flatten(1)

    leaf = x.clone().requires_grad_()
    h = F.conv2d(leaf, weight, **options)
    R = np.abs(draw(*h.flatten(1).shape, seed=2))
    s = tensor(R).view_as(h) / (h.detach().abs() + 1e-9)
    parts = [
        torch.autograd.grad(F.conv2d(leaf, sign, **options), leaf, s)[0]
        for sign in (weight.clamp(min=0), weight.clamp(max=0))
    ]
    wanted = torch.where(x > 0, parts[0], parts[1]) * x
    got = abslrp.relevance(Model().eval(), x, R, conserve=None)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("channels", [1, 3, 8, 9])
def test_stacked_weights_come_apart(channels: int) -> None:
    weight = tensor(draw(5, channels, 3, 3))
    x = tensor(draw(2, channels, 6, 5))

    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, weight, padding=1).flatten(1)

    h = F.conv2d(x, weight, padding=1)
    R = tensor(np.abs(draw(*h.flatten(1).shape, seed=2)))
    s = R.view_as(h) / (h.abs() + 1e-9)
    plus = F.conv_transpose2d(s, weight.clamp(min=0), padding=1)
    minus = F.conv_transpose2d(s, weight.clamp(max=0), padding=1)
    got = abslrp.relevance(Model().eval(), x, R, conserve=None)
    torch.testing.assert_close(got, torch.where(x > 0, plus, minus) * x)
