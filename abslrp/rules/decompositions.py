"""Attention and other composites, written out by calls that have rules."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from abslrp.plan.blocks import Stages
from abslrp.registry import COMMON

aten = torch.ops.aten


@COMMON.staged(aten.scaled_dot_product_attention)
def attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
) -> Stages:  # fmt: skip
    """Two products and a softmax."""
    if dropout_p > 0:
        raise ValueError(
            f"model: attention drops weights at random (dropout_p={dropout_p}), in evaluation "
            "mode, too; expected dropout_p=0 there"
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale

    def heads(one: Tensor) -> Tensor:
        repeats = query.shape[-3] // one.shape[-3] if enable_gqa else 1
        return one.repeat_interleave(repeats, -3) if repeats > 1 else one

    def masked(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        mask = attn_mask[..., rows, :] if attn_mask.shape[-2] > 1 else attn_mask
        closed = ~mask if mask.dtype == torch.bool else mask == float("-inf")
        return mask, closed, closed.all(-1, keepdim=True)

    def weights(query: Tensor, key: Tensor, rows: slice) -> Tensor:
        scores = (query @ heads(key).transpose(-2, -1)) * scale
        if is_causal:
            ones = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
            scores = scores.masked_fill(~ones.tril(rows.start or 0), float("-inf"))
        if attn_mask is not None:
            mask, closed, blind = masked(rows)
            # Rows that may see nothing are opened, or the softmax would give NaN.
            if mask.dtype == torch.bool:
                scores = scores.masked_fill(closed & ~blind, float("-inf"))
            else:
                scores = scores + mask.masked_fill(blind, 0.0)
        return torch.softmax(scores, dim=-1)

    stages: list[Any] = [(weights, key), (lambda made, value, rows: made @ heads(value), value)]
    if attn_mask is not None:
        stages.append((lambda made, _, rows: made.masked_fill(masked(rows)[2], 0.0), None))
    return query, stages


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


@COMMON.decomposition(aten.addcmul)
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``input + value * tensor1 * tensor2``."""
    return input + tensor1 * tensor2 * value


@COMMON.decomposition(aten.lerp)
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """``(1 - weight) * input + weight * end``."""
    return input * (1 - weight) + end * weight


def plus(product: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    """Return ``beta * input + alpha * product(left, right)``."""

    def written(input: Any, left: Any, right: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        made = product(left, right)
        made = made if alpha == 1 else made * alpha
        # If beta is 0 torch ignores the input, even NaN.
        return made + (input if beta == 1 else input * beta) if beta else made

    return written


COMMON.decomposition(aten.baddbmm)(plus(torch.bmm))
COMMON.decomposition(aten.addmv)(plus(torch.mv))
COMMON.decomposition(aten.addbmm)(plus(lambda left, right: torch.bmm(left, right).sum(0)))


@COMMON.decomposition(aten.bilinear)
def bilinear(left: Tensor, right: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Make a layer of the first for each unit, and a product of that and the second."""
    result: Tensor = torch.einsum("...i,oij,...j->...o", left, weight, right)
    return result if bias is None else result + bias


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
    return apart.abs().pow(p).sum(-1).pow(1 / p)


@COMMON.decomposition(aten.linalg_solve_triangular)
def solved(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Substitute row by row: an unknown is what its equation leaves once others are known."""
    if not left:
        return solved(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    b = b.expand(*shape, *b.shape[-2:])
    found = b[..., :0, :]
    for i in sorted(range(a.shape[-1]), reverse=upper):
        known = a[..., [i], i + 1 :] if upper else a[..., [i], :i]
        row = b[..., [i], :] - known @ found
        row = row if unitriangular else row / a[..., [i], i : i + 1]
        found = torch.cat([row, found] if upper else [found, row], -2)
    return found


@COMMON.decomposition(aten.embedding)
def embedding(weight: Tensor, indices: Tensor, *options: Any) -> Tensor:
    """Take rows of a table that depends on the input; no gradient reaches the padding's."""
    return weight[indices]


@COMMON.decomposition("embedding_bag _embedding_bag _embedding_bag_forward_only")
def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Tensor | None = None, last: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Add up the rows of each bag, or take their mean or maximum."""
    starts = offsets[: len(offsets) - last]
    kept = indices != (-1 if padding_idx is None else padding_idx % len(weight))
    places = torch.arange(len(indices), device=kept.device)
    bags = torch.searchsorted(starts, places, right=True) - 1
    rows = weight[indices]
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[:, None]
    rows, into = rows[kept], bags[kept]
    zeros = torch.zeros(len(starts), weight.shape[1], dtype=weight.dtype, device=weight.device)
    counts = torch.bincount(into, minlength=len(starts))
    if mode == 2:
        where = into[:, None].expand(rows.shape)
        result = zeros.scatter_reduce(0, where, rows, "amax", include_self=False)
    else:
        result = zeros.index_add(0, into, rows)
    if mode == 1:
        result = result / counts.clamp(min=1)[:, None]
    return result, bags, counts, counts


@COMMON.decomposition("_convolution")
def convolution(*args: Any) -> Any:
    """Leave out which kernels are allowed: so traced modules call it."""
    return aten.convolution(*args[:9])


# Whose padding is said by a word: torch writes it out.
for _overload in (aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding):
    COMMON.decomposition(_overload)(_overload.decompose)
