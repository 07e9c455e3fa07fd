"""SPEC 1.2: attention decomposed into products, scaling, mask and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import check, draw, tensor
from tests.naive import rules

CAUSAL = np.tril(np.ones((4, 6), dtype=np.bool_))
SHAPES = [(2, 2, 4, 3), (2, 2, 6, 3), (2, 2, 6, 5)]


def qkv() -> list[Any]:
    return [draw(*shape) for shape in SHAPES]


MASKS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"scale": 0.3}, {"scale": 0.3}),
    ({"is_causal": True}, {"mask": CAUSAL}),
    ({"attn_mask": torch.from_numpy(CAUSAL)}, {"mask": CAUSAL}),
    ({"attn_mask": tensor(draw(4, 6))}, {"mask": draw(4, 6)}),
    ({"attn_mask": tensor(draw(2, 1, 4, 6)), "scale": 2.0}, {"mask": draw(2, 1, 4, 6), "scale": 2}),
    (
        {"attn_mask": torch.from_numpy(CAUSAL).float().log().double()},
        {"mask": CAUSAL},
    ),
]


@pytest.mark.parametrize(("given", "reference"), MASKS)
def test_scaled_dot_product_attention(given: Any, reference: Any) -> None:
    check(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **given),
        qkv(),
        lambda v, R: rules.attention(*v, R, **reference),
    )


@pytest.mark.parametrize("given", ["bool", "float"])
def test_a_query_that_may_see_nothing_attends_to_nothing(given: str) -> None:
    open_to = torch.ones(2, 2, 4, 6, dtype=torch.bool)
    open_to[0, 0, 1] = False
    mask = open_to if given == "bool" else open_to.double().log()
    q, k, v = (tensor(part).requires_grad_() for part in qkv())
    with abslrp.propagation(conserve=None, signed=False):
        output = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.no_grad():
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=open_to)
    expected[0, 0, 1] = 0
    torch.testing.assert_close(output, expected)
    relevance = torch.autograd.grad(output.sum(), [q, k, v])
    assert all(bool(one.isfinite().all()) for one in relevance)
    assert not relevance[0][0, 0, 1].any()
    assert relevance[0][0, 1, 1].any()


@pytest.mark.skipif(
    "enable_gqa" not in (F.scaled_dot_product_attention.__doc__ or ""),
    reason="torch is older than 2.5",
)
def test_attention_with_grouped_queries() -> None:
    q, k, v = draw(3, 4, 3, 3), draw(3, 2, 5, 3), draw(3, 2, 5, 4)

    def naive(values: Any, R: Any) -> Any:
        wide = [values[0], values[1].repeat(2, 1), values[2].repeat(2, 1)]
        R_q, R_k, R_v = rules.attention(*wide, R)
        return [R_q, *(r.reshape(3, 2, 2, *r.shape[2:]).sum(2) for r in (R_k, R_v))]

    check(
        lambda a, b, c: F.scaled_dot_product_attention(a, b, c, enable_gqa=True), [q, k, v], naive
    )


def eager(q: Tensor, k: Tensor, v: Tensor, order: str) -> Tensor:
    if order == "scale first":
        scores = (q * 3**-0.5) @ k.transpose(-2, -1)
    elif order == "divide":
        scores = torch.matmul(q, k.mT) / math.sqrt(3)
    else:
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * 3**-0.5
    return scores.softmax(dim=-1) @ v


@pytest.mark.parametrize("order", ["scale first", "divide", "einsum"])
def test_eager_attention_is_the_same(order: str) -> None:
    check(lambda q, k, v: eager(q, k, v, order), qkv(), lambda v, R: rules.attention(*v, R))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_without_a_batch_of_heads(causal: bool) -> None:
    check(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        [draw(2, 4, 3), draw(2, 6, 3), draw(2, 6, 5)],
        lambda v, R: rules.attention(*v, R, mask=CAUSAL if causal else None),
    )


def test_attention_among_the_rows_of_a_matrix() -> None:
    check(
        F.scaled_dot_product_attention,
        [draw(4, 3), draw(4, 3, seed=1), draw(4, 5)],
        lambda v, R: rules.attention(*v, R),
        samples="whole",
    )


def module(batch_first: bool, bias: bool = True) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(6, 2, bias=bias, batch_first=batch_first).double().eval()
    for seed, p in enumerate(attention.parameters()):
        p.data = tensor(draw(*p.shape, seed=seed))
    return attention


def parameters(attention: nn.MultiheadAttention) -> dict[str, Any]:
    bias = attention.in_proj_bias
    return {
        "in_weight": attention.in_proj_weight.detach().numpy(),
        "in_bias": None if bias is None else bias.detach().numpy(),
        "out_weight": attention.out_proj.weight.detach().numpy(),
        "out_bias": None if bias is None else attention.out_proj.bias.detach().numpy(),
        "heads": 2,
    }


def called(attention: nn.MultiheadAttention, *x: Tensor, **options: Any) -> Tensor:
    if attention.batch_first:
        out: Tensor = attention(*x, **options)[0]
        return out
    turned = {id(one): one.transpose(0, 1) for one in x}
    return attention(*[turned[id(one)] for one in x], **options)[0].transpose(0, 1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_self_attention_module(batch_first: bool, bias: bool, need_weights: bool) -> None:
    attention = module(batch_first, bias)
    check(
        lambda x: called(attention, x, x, x, need_weights=need_weights),
        [draw(2, 4, 6)],
        lambda v, R: [
            rules.multi_head_attention(
                v[0], v[0], v[0], **parameters(attention), R=R, packed="qkv"
            )[0]
        ],
    )


@pytest.mark.parametrize("batch_first", [True, False])
def test_cross_attention_module(batch_first: bool) -> None:
    attention = module(batch_first)
    check(
        lambda q, k, v: called(attention, q, k, v, need_weights=False),
        [draw(2, 4, 6), draw(2, 5, 6), draw(2, 5, 6, seed=1)],
        lambda v, R: rules.multi_head_attention(*v, **parameters(attention), R=R),
    )
    check(
        lambda q, k: called(attention, q, k, k, need_weights=False),
        [draw(2, 4, 6), draw(2, 5, 6)],
        lambda v, R: rules.multi_head_attention(
            v[0], v[1], v[1], **parameters(attention), R=R, packed="kv"
        )[:2],
    )


def test_attention_module_with_masks() -> None:
    attention = module(batch_first=True)
    padded = torch.tensor([[False, False, False, True], [False, False, True, True]])
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
    allowed = (~padded)[:, None, None, :] & ~causal

    check(
        lambda x: called(
            attention, x, x, x, key_padding_mask=padded, attn_mask=causal, need_weights=False
        ),
        [draw(2, 4, 6)],
        lambda v, R: [
            rules.multi_head_attention(
                v[0],
                v[0],
                v[0],
                **parameters(attention),
                R=R,
                mask=allowed.expand(2, 2, 4, 4).numpy(),
                packed="qkv",
            )[0]
        ],
    )


def test_attention_module_with_other_key_and_value_sizes() -> None:
    attention = nn.MultiheadAttention(6, 2, kdim=3, vdim=5, batch_first=True).double().eval()
    for seed, p in enumerate(attention.parameters()):
        p.data = tensor(draw(*p.shape, seed=seed))
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    weights = [getattr(attention, name).detach().numpy() for name in names]
    biases = np.split(attention.in_proj_bias.detach().numpy(), 3)
    out = attention.out_proj

    def heads(x: Any) -> Any:
        return x.reshape(*x.shape[:2], 2, 3).transpose(0, 2, 1, 3)

    def merged(x: Any) -> Any:
        return x.transpose(0, 2, 1, 3).reshape(len(x), -1, 6)

    def naive(v: Any, R: Any) -> Any:
        parts = [heads(x @ w.T + b) for x, w, b in zip(v, weights, biases, strict=True)]
        mixed = merged(F.scaled_dot_product_attention(*[tensor(p) for p in parts]).numpy())
        R = rules.linear(mixed, out.weight.detach().numpy(), out.bias.detach().numpy(), R)
        sent = rules.attention(*parts, heads(R))
        return [
            rules.linear(x, w, b, merged(r))
            for x, w, b, r in zip(v, weights, biases, sent, strict=True)
        ]

    check(
        lambda q, k, v: attention(q, k, v, need_weights=False)[0],
        [draw(2, 4, 6), draw(2, 5, 3), draw(2, 5, 5)],
        naive,
    )
