"""Elementwise work in pieces, as large tensors take it: the result is that of the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
import abslrp.blocks
from tests.abslrp.single import draw


class Convolutions(nn.Module):
    """Norms by channel and by group, a shortcut, a broadcast sum, and a product they fuse with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(6), nn.GroupNorm(3, 6), nn.InstanceNorm2d(6, affine=True)]
        )
        self.head = nn.Linear(6 * 25, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](self.first(x)).relu()
        x = x + self.norms[1](self.second(x))
        x = self.norms[2](x) + x.mean((2, 3), keepdim=True)
        logits: Tensor = self.head(F.gelu(x).flatten(1))
        return logits


class Tokens(nn.Module):
    """Norms over one axis and over two, sums with constants of fewer axes, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(25, 8), nn.Linear(24, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norms = nn.ModuleList(
            [nn.LayerNorm(8), nn.LayerNorm([3, 8]), nn.LayerNorm(8, elementwise_affine=False)]
        )
        self.place, self.shift = nn.Parameter(torch.empty(3, 8)), nn.Parameter(torch.empty(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(2)) + self.place
        x = x + self.attention(*[self.norms[0](x)] * 3, need_weights=False)[0]
        x = self.norms[1](x) - self.shift
        x = self.norms[2](x) + F.rms_norm(x, [8])
        logits: Tensor = self.head(x.flatten(1))
        return logits


def randomised(model: nn.Module) -> nn.Module:
    """Weights, and running statistics, of which no two are alike."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            with torch.no_grad():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
                if tensor.ndim > 1:
                    tensor.sub_(0.6)
    return model.double().eval()


@pytest.mark.parametrize("kind", [Convolutions, Tokens])
@pytest.mark.parametrize("options", [{}, {"conserve": None}, {"contrast": "signed"}], ids=str)
@pytest.mark.parametrize("elements", [1, 7, 30, 100])
def test_pieces_equal_the_whole(
    kind: type[nn.Module], options: dict[str, Any], elements: int, monkeypatch: Any
) -> None:
    model, x = randomised(kind()), draw(2, 3, 5, 5)
    whole = torch.from_numpy(abslrp.explain(model, x, [0, 1], **options))
    assert (whole.abs().amax((1, 2, 3)) > 0).all()
    monkeypatch.setattr(abslrp.blocks, "ELEMENTS", elements)
    pieces = torch.from_numpy(abslrp.explain(model, x, [0, 1], **options))
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-12 * float(whole.abs().max()))
