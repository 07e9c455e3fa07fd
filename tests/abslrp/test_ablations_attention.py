"""SPEC 1.5, table 10: attention without relevance through one of its paths."""

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
from tests.naive.network import Graph, forward, relevance, start, to_torch

PATHS = ["values", "queries_keys"]
X = draw(3, 5, 6)


def graph(weights: Any = None, values: Any = None) -> Graph:
    """One block of attention with a residual, a norm and a head; parts of it held constant."""
    g = Graph((5, 6))
    q, k, v = (
        g.add("linear", 0, weight=draw(6, 6, seed=s), bias=draw(6, seed=s)) for s in (1, 2, 3)
    )
    k = g.add("permute", k, axes=(0, 2, 1))
    scores = g.add("mul_constant", g.add("matmul", q, k), value=6**-0.5)
    a = g.add("softmax", scores, axis=-1)
    if weights is not None:
        a = g.add("constant", value=weights)
    if values is not None:
        v = g.add("constant", value=values)
    mixed = g.add("matmul", a, v)
    mixed = g.add("linear", mixed, weight=draw(6, 6, seed=4), bias=draw(6, seed=4))
    y = g.add("add", mixed, 0)
    y = g.add("layer_norm", y, weight=draw(6, seed=5), bias=draw(6, seed=6))
    g.add("linear", g.add("mean", y, axes=(1,)), weight=draw(4, 6, seed=7), bias=draw(4, seed=8))
    return g


A, V = 7, 3  # nodes of graph()


def reference(path: str, R: Any, conserve: Any) -> tuple[Any, Any]:
    whole = forward(graph(), X)
    held = {"values": {"weights": whole[A]}, "queries_keys": {"values": whole[V]}}[path]
    g, leaks = graph(**held), {}
    return relevance(g, forward(g, X), R, conserve, leaks=leaks)[0], leaks


@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("path", PATHS)
def test_against_the_naive_interpreter(path: str, conserve: Any) -> None:
    one_hot = start(np.array([0, 3, 1]), 4, None)[0]
    for R in (one_hot, draw(3, 4, seed=9)):
        wanted, leaks = reference(path, R, conserve)
        got = abslrp.relevance(to_torch(graph()), X, R, conserve=conserve, attention=path)
        np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-12 * np.abs(wanted).max())
        whole = abslrp.relevance(to_torch(graph()), X, R, conserve=conserve)
        assert np.abs(whole - got).max() > 1e-3 * np.abs(whole).max()
        if conserve == "operation":
            sums = got.reshape(3, -1).sum(1) + sum(leaks.values())
            np.testing.assert_allclose(sums, R.sum(1), rtol=1e-6)


class Attention(nn.Module):
    """Self-attention of one projection, as models spell it, with a residual and a head."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling
        self.mha = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 4)
        for seed, p in enumerate(self.parameters()):
            p.data = torch.from_numpy(draw(*p.shape, seed=seed))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x + self.attend(x)).mean(1))

    def attend(self, x: Tensor) -> Tensor:
        if self.spelling.startswith("module"):
            out: Tensor = self.mha(x, x, x, need_weights=self.spelling == "module, weights")[0]
            return out
        qkv = F.linear(x, self.mha.in_proj_weight, self.mha.in_proj_bias)
        q, k, v = (part.unflatten(2, (2, 3)).transpose(1, 2) for part in qkv.chunk(3, -1))
        return self.mha.out_proj(self.mixed(q, k, v).transpose(1, 2).flatten(2))

    def mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.spelling == "fused":
            return F.scaled_dot_product_attention(q, k, v)
        scores = q @ k.transpose(-2, -1) / math.sqrt(3)
        if self.spelling == "masked":
            return F.scaled_dot_product_attention(
                q, k, v, attn_mask=torch.ones(5, 5, dtype=torch.bool)
            )
        weights = F.dropout(scores.softmax(dim=-1), 0.1, self.training)
        if self.spelling == "einsum":
            return torch.einsum("bhqk,bhkd->bhqd", weights, v)
        if self.spelling == "bmm":
            return torch.bmm(weights.flatten(0, 1), v.flatten(0, 1)).unflatten(0, (-1, 2))
        if self.spelling == "values first":
            return (v.mT @ weights.mT).mT
        if self.spelling == "over heads":  # an identity that mixes them
            weights = F.conv2d(weights, torch.eye(2, dtype=weights.dtype)[:, :, None, None])
        return torch.matmul(weights, v)


SPELLINGS = [
    "fused", "masked", "einsum", "bmm", "values first", "over heads", "module", "module, weights",
]  # fmt: skip


@pytest.mark.parametrize("path", [*PATHS, None])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_recognised(spelling: str, path: Any) -> None:
    # A mix over heads is one more linear map on the weights' way: nothing of it with "values".
    if spelling == "over heads" and path != "values":
        pytest.skip("relevance through the weights passes one operation more here")
    got = abslrp.explain(Attention(spelling), X, [0, 3, 1], attention=path, contrast=None)
    wanted = abslrp.explain(Attention("eager"), X, [0, 3, 1], attention=path, contrast=None)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-12)
    sums = got.reshape(3, -1).sum(1)
    leaks = sums == 0  # where nothing adds to a logit
    assert leaks.sum() <= 1
    np.testing.assert_allclose(sums[~leaks], 1, rtol=1e-6)


def test_no_relevance_reaches_what_is_ablated() -> None:
    q, k, v = (torch.from_numpy(draw(2, 1, 4, 3, seed=s)) for s in range(3))

    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(*x.unbind(1)).flatten(1)

    x = torch.stack([q, k, v], 1)
    whole = abslrp.relevance(Mixed().eval(), x, torch.ones(2, 12).double())
    assert (whole.flatten(2).abs().amax(2) > 0).all()
    values = abslrp.relevance(Mixed().eval(), x, torch.ones(2, 12).double(), attention="values")
    assert (values[:, :2] == 0).all()
    rest = abslrp.relevance(Mixed().eval(), x, torch.ones(2, 12).double(), attention="queries_keys")
    assert (rest[:, 2] == 0).all()
    assert (rest[:, :2].flatten(2).abs().amax(2) > 0).all()


class Twice(nn.Module):
    """Attention on attention without a residual, constants marked by hand or not."""

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self.path = path

    def attend(self, x: Tensor) -> Tensor:
        weights, values = (x @ x.mT).softmax(-1), x
        if self.path == "values":
            weights = weights.detach()
        if self.path == "queries_keys":
            values = values.detach()
        return weights @ values

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.attend(x)).flatten(1)


@pytest.mark.parametrize("path", PATHS)
def test_scores_of_what_was_attended_to_are_no_attention(path: str) -> None:
    R = np.abs(draw(3, 30))
    got = abslrp.relevance(Twice(None).eval(), X, R, attention=path)
    wanted = abslrp.relevance(Twice(path).eval(), X, R)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("rules", ["epsilon", "alpha1beta0"])
def test_other_rule_sets(rules: str) -> None:
    whole = abslrp.explain(Attention("fused"), X, 0, rules=rules)
    maps = [abslrp.explain(Attention("fused"), X, 0, rules=rules, attention=path) for path in PATHS]
    for one in maps:
        assert np.isfinite(one).all()
        assert np.abs(one - whole).max() > 1e-6 * np.abs(whole).max()
    assert np.abs(maps[0] - maps[1]).max() > 1e-6 * np.abs(whole).max()


def test_a_model_without_attention() -> None:
    gate = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.Softmax(1), nn.Linear(4, 4)).double()
    with pytest.raises(ValueError, match="attention: 'values' needs a model with attention"):
        abslrp.explain(gate.eval(), X, 0, attention="values")
