"""SPEC 1.2, products of two activations and attention, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tests.naive.contributions import EPSILON, Array, linear, linear_forward
from tests.naive.elementwise import add_constant, softmax, softmax_forward, unbroadcast

Step: TypeAlias = Callable[[Callable[[Array], list[Array]], Array], list[Array]]
"""How one operation of a composite sends relevance: step(raw_rule, R). See conserve.propagate."""


def plain_step(raw_rule: Callable[[Array], list[Array]], R: Array) -> list[Array]:
    """No renormalisation: eq. 12 to the letter."""
    return raw_rule(R)


def matmul(a: Array, b: Array, R: Array) -> tuple[Array, Array]:
    """a (..., n, k) @ b (..., k, m): eq. 12 for each operand, the other as weights."""
    z = a[..., :, :, None] * b[..., None, :, :]  # contribution of (a_ik, b_kj) to h_ij: (i, k, j)
    h = z.sum(axis=-2)
    s = R / (np.abs(h) + EPSILON)
    messages = np.maximum(z, 0.0) * s[..., :, None, :]
    return unbroadcast(messages.sum(axis=-1), a.shape), unbroadcast(messages.sum(axis=-3), b.shape)


def einsum(equation: str, a: Array, b: Array, R: Array) -> tuple[Array, Array]:
    """An einsum of two activations without repeated letters or "...": eq. 12 for each operand."""
    operands, output = equation.replace(" ", "").split("->")
    first, second = operands.split(",")
    letters = "".join(dict.fromkeys(first + second))
    z = np.einsum(f"{first},{second}->{letters}", a, b)
    h = np.einsum(f"{letters}->{output}", z)
    s = R / (np.abs(h) + EPSILON)
    messages = np.einsum(f"{letters},{output}->{letters}", np.maximum(z, 0.0), s)
    return (
        np.einsum(f"{letters}->{first}", messages),
        np.einsum(f"{letters}->{second}", messages),
    )


def _masked(scores: Array, mask: Array | None) -> Array:
    if mask is None:
        return scores
    if mask.dtype == np.bool_:
        return np.where(mask, scores, -np.inf)
    return scores + mask


def attention_forward(
    q: Array, k: Array, v: Array, scale: float | None = None, mask: Array | None = None
) -> Array:
    """softmax(q k^T scale, masked) v over (..., L, E); scale None is 1 / sqrt(E).

    ``mask``: boolean (True takes part) or additive float, as in
    torch.nn.functional.scaled_dot_product_attention.
    """
    factor = 1.0 / np.sqrt(q.shape[-1]) if scale is None else scale
    scores = _masked(factor * (q @ np.swapaxes(k, -1, -2)), mask)
    h: Array = softmax_forward(scores, -1) @ v
    return h


def attention(
    q: Array,
    k: Array,
    v: Array,
    R: Array,
    scale: float | None = None,
    mask: Array | None = None,
    step: Step = plain_step,
) -> tuple[Array, Array, Array]:
    """Scaled dot product attention, decomposed into the rows of SPEC 1.2; (R_q, R_k, R_v).

    Forward: QK^T; times a constant; mask; softmax; times V. A boolean mask replaces elements, so
    the others' relevance passes; a float mask is the addition of a constant.
    """
    factor = 1.0 / np.sqrt(q.shape[-1]) if scale is None else scale
    k_t = np.swapaxes(k, -1, -2)
    scaled = factor * (q @ k_t)
    scores = _masked(scaled, mask)
    weights = softmax_forward(scores, -1)

    R_weights, R_v = step(lambda r: list(matmul(weights, v, r)), R)
    (R_scores,) = step(lambda r: [softmax(scores, r)], R_weights)
    R_scaled = R_scores
    if mask is not None and mask.dtype == np.bool_:
        R_scaled = np.where(mask, R_scores, 0.0)
    elif mask is not None:
        (R_scaled,) = step(lambda r: [add_constant(scaled, mask, r)], R_scores)
    R_product = R_scaled  # multiplication by a constant
    R_q, R_k_t = step(lambda r: list(matmul(q, k_t, r)), R_product)
    return R_q, np.swapaxes(R_k_t, -1, -2), R_v


def _heads(x: Array, n: int) -> Array:
    """(B, L, E) to (B, n, L, E / n)."""
    B, L, E = x.shape
    split: Array = x.reshape(B, L, n, E // n).transpose(0, 2, 1, 3)
    return split


def _merge(x: Array) -> Array:
    """(B, n, L, e) to (B, L, n e)."""
    B, n, L, e = x.shape
    merged: Array = x.transpose(0, 2, 1, 3).reshape(B, L, n * e)
    return merged


def multi_head_attention_forward(
    query: Array,
    key: Array,
    value: Array,
    in_weight: Array,
    in_bias: Array | None,
    out_weight: Array,
    out_bias: Array | None,
    heads: int,
    mask: Array | None = None,
) -> Array:
    """torch.nn.MultiheadAttention, batch first; ``in_weight`` (3E, E); mask as (B, heads, L, S)."""
    weights = np.split(in_weight, 3)
    biases = [None] * 3 if in_bias is None else list(np.split(in_bias, 3))
    q, k, v = (
        _heads(linear_forward(x, w, b), heads)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    return linear_forward(_merge(attention_forward(q, k, v, None, mask)), out_weight, out_bias)


def multi_head_attention(
    query: Array,
    key: Array,
    value: Array,
    in_weight: Array,
    in_bias: Array | None,
    out_weight: Array,
    out_bias: Array | None,
    heads: int,
    R: Array,
    mask: Array | None = None,
    packed: str | None = None,
    step: Step = plain_step,
) -> tuple[Array, Array, Array]:
    """Multi-head attention, batch first, decomposed; (R_query, R_key, R_value).

    ``packed`` says which input projections are one linear operation, which matters to
    conservation only: "qkv" (self-attention: query, key and value are one tensor, whose whole
    relevance is returned as R_query, with zeros for the other two), "kv" (key and value are one
    tensor; its relevance is R_key, R_value is zero), or None (three operations).
    """
    weights = np.split(in_weight, 3)
    biases = [None] * 3 if in_bias is None else list(np.split(in_bias, 3))
    q, k, v = (
        _heads(linear_forward(x, w, b), heads)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    merged = _merge(attention_forward(q, k, v, None, mask))
    (R_merged,) = step(lambda r: [linear(merged, out_weight, out_bias, r)], R)
    R_q, R_k, R_v = (
        _merge(r) for r in attention(q, k, v, _heads(R_merged, heads), None, mask, step)
    )
    if packed == "qkv":
        together = np.concatenate([R_q, R_k, R_v], axis=-1)
        (R_x,) = step(lambda r: [linear(query, in_weight, in_bias, r)], together)
        return R_x, np.zeros_like(key), np.zeros_like(value)
    (R_query,) = step(lambda r: [linear(query, weights[0], biases[0], r)], R_q)
    if packed == "kv":
        E = len(weights[0])
        together = np.concatenate([R_k, R_v], axis=-1)
        kv_bias = None if in_bias is None else in_bias[E:]
        (R_x,) = step(lambda r: [linear(key, in_weight[E:], kv_bias, r)], together)
        return R_query, R_x, np.zeros_like(value)
    (R_key,) = step(lambda r: [linear(key, weights[1], biases[1], r)], R_k)
    (R_value,) = step(lambda r: [linear(value, weights[2], biases[2], r)], R_v)
    return R_query, R_key, R_value
