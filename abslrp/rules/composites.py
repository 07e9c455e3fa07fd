"""Attention and other composites, written out by calls that have rules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from abslrp.registry import COMMON

aten = torch.ops.aten


@COMMON.decomposition(aten.scaled_dot_product_attention)
def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Two products and a softmax."""
    if dropout_p > 0:
        raise ValueError(
            f"model: attention drops weights at random (dropout_p={dropout_p}), in evaluation "
            "mode, too; expected dropout_p=0 there"
        )
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)) * scale
    if is_causal:
        ones = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(~ones.tril(), float("-inf"))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        else:
            scores = scores + attn_mask
    weights = torch.softmax(scores, dim=-1)
    if attn_mask is not None:
        closed = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask == float("-inf")
        # A query that may see nothing attends to nothing; the softmax alone would give NaN.
        weights = weights.masked_fill(closed.all(-1, keepdim=True), 0.0)
    result: Tensor = weights @ value
    return result


def grouped_mm(
    rows: Tensor, weights: Tensor, offs: Tensor | None = None, bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """Make a product for each expert with its own rows; ``offs`` tells where they end."""
    if bias is not None or (offs is not None and (rows.ndim, weights.ndim) != (2, 3)):
        raise ValueError("model: torch._grouped_mm has a bias, or groups of another axis than rows")
    if offs is None:
        result = rows @ weights
    else:
        ends = offs.tolist()
        pairs = zip(weights, [0, *ends], ends, strict=False)
        result = torch.cat([rows[start:end] @ one for one, start, end in pairs])
    return result if out_dtype is None else result.to(out_dtype)


if hasattr(aten, "_grouped_mm"):  # torch 2.8
    COMMON.decomposition(aten._grouped_mm)(grouped_mm)


def _times(term: Tensor, factor: Any) -> Tensor:
    return term if isinstance(factor, (int, float)) and factor == 1 else term * factor


def _plus(input: Any, term: Tensor, factor: Any) -> Tensor:
    result: Tensor = input + _times(term, factor)
    return result


@COMMON.decomposition(aten.addcmul)
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return _plus(input, tensor1 * tensor2, value)


@COMMON.decomposition(aten.addcdiv)
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return _plus(input, tensor1 / tensor2, value)


@COMMON.decomposition(aten.lerp)
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``(1 - weight) * input + weight * end``."""
    result: Tensor = input * (1 - weight) + end * weight
    return result


@COMMON.decomposition(aten.baddbmm)
def baddbmm(input: Tensor, left: Tensor, right: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * left @ right``."""
    term = torch.bmm(left, right)
    if beta == 0:  # torch then ignores the input, even NaN
        return torch.zeros((), dtype=term.dtype, device=term.device) + _times(term, alpha)
    return _plus(input if beta == 1 else input * beta, term, alpha)


@COMMON.decomposition(aten.cdist, aten._euclidean_dist)
def distances(left: Tensor, right: Tensor, p: float = 2.0, *options: Any) -> Tensor:
    """``(sum |a - b|^p)^(1/p)`` of each pair of rows."""
    apart = left.unsqueeze(-2) - right.unsqueeze(-3)
    if p == 2:
        return apart.square().sum(-1).sqrt()
    if p == float("inf"):
        return apart.abs().amax(-1)
    if p == 0:
        return (apart != 0).sum(-1).to(apart.dtype)
    result: Tensor = apart.abs().pow(p).sum(-1).pow(1 / p)
    return result


@COMMON.decomposition(aten.glu)
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """Write ``a * sigmoid(b)`` of the input's two halves."""
    a, b = input.chunk(2, dim)
    result: Tensor = a * torch.sigmoid(b)
    return result


@COMMON.decomposition(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)
def padded(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
    padding: str = "valid", dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Write a convolution out whose padding is said by a word."""
    dims = weight.ndim - 2
    steps = [dilation] if isinstance(dilation, int) else list(dilation)
    steps = steps * dims if len(steps) == 1 else steps
    width = [d * (k - 1) for d, k in zip(steps, weight.shape[2:], strict=True)]
    if padding == "valid":
        width = [0] * dims
    before = [one // 2 for one in width]
    if any(one % 2 for one in width):  # torch pads one more at the end
        pads = [(one // 2, one - one // 2) for one in reversed(width)]
        input = torch.nn.functional.pad(input, [one for pair in pads for one in pair])
        before = [0] * dims
    conv: Any = getattr(aten, f"conv{dims}d").default
    strides = [stride] * dims if isinstance(stride, int) else stride
    result: Tensor = conv(input, weight, bias, strides, before, steps, groups)
    return result
