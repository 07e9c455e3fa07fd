"""Relevance is conserved per sample wherever the samples lie: maps do not depend on the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw

WIDTH = 6


class Net(nn.Module):
    """Tokens (B, L, 6) through ``body``, then their mean and four logits."""

    def __init__(self, body: Callable[[nn.ModuleDict, Tensor], Tensor]) -> None:
        super().__init__()
        self.body = body
        self.parts = nn.ModuleDict(
            {
                "embed": nn.Linear(3, WIDTH),
                "norm": nn.LayerNorm(WIDTH),
                "linear": nn.Linear(WIDTH, WIDTH),
                "qkv": nn.Linear(WIDTH, 3 * WIDTH),
                "first": nn.MultiheadAttention(WIDTH, 2, batch_first=True),
                "second": nn.MultiheadAttention(WIDTH, 2),
                "layer": nn.TransformerEncoderLayer(WIDTH, 2, 8, batch_first=False, dropout=0.0),
                "conv": nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                "head": nn.Linear(WIDTH, 4),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(self.parts, self.parts["embed"](x))
        logits: Tensor = self.parts["head"](out.mean(1))
        return logits


def sequence_first(p: nn.ModuleDict, x: Tensor) -> Tensor:
    t = x.transpose(0, 1)
    t = t + p["second"](t, t, t, need_weights=False)[0]
    return p["linear"](p["norm"](t)).transpose(0, 1)


def batch_first(p: nn.ModuleDict, x: Tensor) -> Tensor:
    return x + p["first"](x, x, x)[0]


def encoder_layer(p: nn.ModuleDict, x: Tensor) -> Tensor:
    return p["layer"](x.permute(1, 0, 2)).permute(1, 0, 2)


def folded(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """(B * L, E): all tokens of all samples as one axis."""
    flat = p["norm"](x.reshape(-1, WIDTH))
    flat = flat + F.gelu(p["linear"](flat))
    return flat.view(*x.shape)


def folded_sequence_first(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """(L * B, E): a sample's tokens lie B apart."""
    t = x.transpose(0, 1).reshape(-1, WIDTH)
    t = t + F.gelu(p["linear"](p["norm"](t)))
    return t.reshape(x.shape[1], x.shape[0], WIDTH).transpose(0, 1)


def windows(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """Swin: (B, 4, 4, E) in windows of 2x2, shifted, attention with a fused projection."""
    B = len(x)
    image = torch.roll(x.reshape(B, 4, 4, WIDTH), (-1, -1), (1, 2))
    parts = image.view(B, 2, 2, 2, 2, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, WIDTH)
    qkv = p["qkv"](parts).reshape(-1, 4, 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    scores = (q * 0.5) @ k.transpose(-2, -1)
    scores = scores.view(B, 4, 2, 4, 4) + torch.eye(4)
    out = scores.view(-1, 2, 4, 4).softmax(-1) @ v
    out = p["linear"](out.transpose(1, 2).reshape(-1, 4, WIDTH))
    image = out.view(B, 2, 2, 2, 2, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(B, 4, 4, WIDTH)
    return x + torch.roll(image, (1, 1), (1, 2)).reshape(B, 16, WIDTH)


def heads_in_the_batch(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """(B * heads, L, e), as bmm wants it."""
    B, L, _ = x.shape
    q, k, v = (
        t.reshape(B, L, 2, 3).transpose(1, 2).reshape(B * 2, L, 3) for t in p["qkv"](x).chunk(3, -1)
    )
    out = torch.bmm(torch.bmm(q, k.transpose(1, 2)).div(3**0.5).softmax(-1), v)
    return p["linear"](out.view(B, 2, L, 3).transpose(1, 2).reshape(B, L, WIDTH)) + x


def heads_first(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """(heads, B, L, e)."""
    q, k, v = p["qkv"](x).view(*x.shape[:2], 3, 2, 3).permute(2, 3, 0, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v)
    return x + out.permute(1, 2, 0, 3).flatten(2)


def channels(p: nn.ModuleDict, x: Tensor) -> Tensor:
    image = x.transpose(1, 2).unflatten(2, (4, 4))
    return x + F.relu(p["conv"](image)).flatten(2).mT


def as_batch_axis(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """Rows of the image as samples of a convolution, then columns (axial processing)."""
    image = x.reshape(-1, 4, 4, WIDTH)
    rows = p["linear"](image.flatten(0, 1)).unflatten(0, (-1, 4))
    columns = p["norm"](rows.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, 4))
    return x + columns.transpose(1, 2).reshape(x.shape)


def stacked_samples(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """Two views of the batch through one layer in one call: (2 B, L, E)."""
    both = F.gelu(p["linear"](torch.cat([x, x.flip(1)], 0)))
    one, two = both.chunk(2, 0)
    return one + two


def unbound(p: nn.ModuleDict, x: Tensor) -> Tensor:
    """A loop over time, as a recurrent network written by hand."""
    state = torch.zeros(len(x), WIDTH)
    seen = []
    for token in x.unbind(1):
        state = torch.tanh(p["linear"](token + state))
        seen.append(state)
    return torch.stack(seen, 1)


BODIES = [
    sequence_first, batch_first, encoder_layer, folded, folded_sequence_first, windows,
    heads_in_the_batch, heads_first, channels, as_batch_axis, stacked_samples, unbound,
]  # fmt: skip


def network(body: Callable[[nn.ModuleDict, Tensor], Tensor]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(body).eval()
        for name, p in net.named_parameters():
            if "bias" in name:
                nn.init.normal_(p, std=0.2)
    return net


def close(got: Tensor, wanted: Tensor) -> None:
    scale = wanted.flatten(1).abs().amax(1).clamp(min=1e-6)
    error = (got - wanted).flatten(1).abs().amax(1) / scale
    assert error.max() < 1e-4, error


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("batch", [2, 16])
def test_maps_do_not_depend_on_the_batch(body: Callable[..., Tensor], batch: int) -> None:
    """16 tokens, so that a batch of 16 or 4 is as long as other axes, and 2 as heads."""
    model = network(body)
    x = torch.from_numpy(draw(16, 16, 3)).float()[:batch]
    y = torch.arange(batch) % 4
    for contrast in ("streams", "signed")[: 2 if batch == 2 else 1]:
        maps = abslrp.explain(model, x, y, contrast=contrast)
        assert maps.abs().flatten(1).amax(1).min() > 0
        apart = torch.cat(
            [abslrp.explain(model, x[i : i + 1], y[i], contrast=contrast) for i in range(2)]
        )
        close(maps[:2], apart)


@pytest.mark.parametrize("body", BODIES)
def test_permuted_samples_and_chunks_give_the_same_maps(body: Callable[..., Tensor]) -> None:
    model, x, y = network(body), torch.from_numpy(draw(4, 16, 3)).float(), torch.arange(4)
    order = torch.tensor([2, 0, 3, 1])
    maps = abslrp.explain(model, x, y)
    close(abslrp.explain(model, x[order], y[order], batch_size=3), maps[order])


@pytest.mark.parametrize("body", BODIES)
def test_each_sample_keeps_its_own_total(body: Callable[..., Tensor]) -> None:
    """A sample with a thousandth of the relevance neither gains from nor gives to the others."""
    model, x = network(body).double(), draw(4, 16, 3)
    if body in (windows, unbound):
        pytest.skip("this body makes float32 constants; covered by the tests above")
    start = np.zeros((4, 4))
    start[np.arange(4), [0, 1, 2, 3]] = [1.0, 1e-3, 0.0, 7.0]
    R = abslrp.relevance(model, x, start)
    alone = np.concatenate(
        [abslrp.relevance(model, x[i : i + 1], start[i : i + 1]) for i in range(4)]
    )
    np.testing.assert_allclose(R, alone, rtol=1e-6, atol=1e-12)
    assert np.abs(R[2]).max() == 0


def test_a_network_of_one_fold_of_rows_per_sample() -> None:
    """(B, 4, 6) to (2 B, 12) and back: a sample owns two rows."""

    def body(p: nn.ModuleDict, x: Tensor) -> Tensor:
        rows = x.reshape(len(x) * 2, 8 * WIDTH)
        rows = F.relu(rows - rows.mean(1, keepdim=True))
        return rows.reshape(x.shape)

    model, x = network(body), torch.from_numpy(draw(3, 16, 3)).float()
    maps = abslrp.explain(model, x, 1)
    close(maps, torch.cat([abslrp.explain(model, one[None], 1) for one in x]))
