"""A plain nn.TransformerEncoder: its fused path never runs, padding gets no relevance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw

LENGTHS = [6, 4, 5]
PADDED = torch.arange(6)[None] >= torch.tensor(LENGTHS)[:, None]


class Encoder(nn.Module):
    """Sequence classifier: two encoder layers, the mean over what is not padding, a head."""

    def __init__(self, padded: Tensor | None = None, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
        nested = not options.get("norm_first", False)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.head = nn.Linear(8, 4)
        for seed, p in enumerate(self.parameters()):
            p.data = torch.from_numpy(draw(*p.shape, seed=seed)) * 0.5
            p.requires_grad_(False)  # frozen parameters alone would allow the fused path
        self.padded = padded
        self.eval()

    def encode(self, x: Tensor) -> Tensor:
        out: Tensor = self.encoder(x, src_key_padding_mask=self.padded)
        return out

    def forward(self, x: Tensor) -> Tensor:
        y = self.encode(x)
        if self.padded is None:
            return self.head(y.mean(1))
        kept = (~self.padded).to(y.dtype)[..., None]
        return self.head((y * kept).sum(1) / kept.sum(1))


class ByHand(Encoder):
    """The same function without any of torch's transformer modules."""

    def encode(self, x: Tensor) -> Tensor:
        for layer in self.encoder.layers:
            if layer.norm_first:
                x = x + self.attend(layer.self_attn, layer.norm1(x))
                x = x + self.mix(layer, layer.norm2(x))
            else:
                x = layer.norm1(x + self.attend(layer.self_attn, x))
                x = layer.norm2(x + self.mix(layer, x))
        return x

    def mix(self, layer: Any, x: Tensor) -> Tensor:
        return layer.linear2(layer.activation(layer.linear1(x)))

    def attend(self, attention: Any, x: Tensor) -> Tensor:
        qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = (one.unflatten(2, (2, 4)).transpose(1, 2) for one in qkv.chunk(3, -1))
        scores = q @ k.mT / math.sqrt(4)
        if self.padded is not None:
            scores = scores.masked_fill(self.padded[:, None, None], -torch.inf)
        return attention.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


X = draw(3, 6, 8)
OPTIONS: list[dict[str, Any]] = [{}, {"norm_first": True}, {"activation": "gelu"}]


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of the fused kernels, which no interceptor can look into."""
    calls: list[Any] = []
    for name in ("_transformer_encoder_layer_fwd", "_native_multi_head_attention"):
        original = getattr(torch, name)

        def spy(*args: Any, original: Any = original, **kwargs: Any) -> Any:
            calls.append(original)
            return original(*args, **kwargs)

        monkeypatch.setattr(torch, name, spy)
    return calls


def test_the_fused_path_would_run_otherwise(fused: list[Any]) -> None:
    with torch.no_grad():
        Encoder()(torch.from_numpy(X))
    assert fused


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("padded", [None, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("options", OPTIONS, ids=["post-norm", "pre-norm", "gelu"])
def test_as_written_by_hand(options: Any, padded: Any, grad: bool, fused: list[Any]) -> None:
    with torch.set_grad_enabled(grad):
        maps = abslrp.explain(Encoder(padded, **options), X, [0, 1, 3])
        wanted = abslrp.explain(ByHand(padded, **options), X, [0, 1, 3])
    assert not fused
    np.testing.assert_allclose(maps, wanted, rtol=1e-6, atol=1e-9)
    assert np.abs(maps).max() > 0


@pytest.mark.parametrize("attention", ["values", "queries_keys", None])
def test_padding_counts_for_nothing(attention: Any) -> None:
    R = np.eye(4)[[0, 1, 3]]
    maps = abslrp.relevance(Encoder(PADDED), X, R, attention=attention)
    assert (maps[PADDED.numpy()] == 0).all()
    for row, length in enumerate(LENGTHS):
        alone = abslrp.relevance(
            Encoder(), X[row : row + 1, :length], R[row : row + 1], attention=attention
        )
        np.testing.assert_allclose(maps[row, :length], alone[0], rtol=1e-6, atol=1e-12)


def test_each_stream_sums_to_one() -> None:
    sums = abslrp.relevance(Encoder(PADDED), X, np.full((3, 4), 0.25)).reshape(3, -1).sum(1)
    assert (sums <= 1 + 1e-9).all()
    assert (sums > 0.2).all()  # a logit without a positive contribution leaks its quarter


def test_embeddings_looked_up_from_one_hot_tokens() -> None:
    embedding = torch.from_numpy(draw(5, 8, seed=30))

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder()
            self.embedding = nn.Parameter(embedding)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.encoder(x @ self.embedding)
            return result

    hot = np.eye(5)[np.random.default_rng(0).integers(0, 5, (3, 6))]
    maps = abslrp.relevance(Tokens().eval(), hot, np.eye(4)[[0, 1, 3]])
    assert (maps[hot == 0] == 0).all()
    assert maps.max() > 0
