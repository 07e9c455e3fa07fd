"""Attention and other composites, decomposed into operations that have rules."""

from __future__ import annotations

import math
from string import ascii_uppercase

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.markers import Decomposed
from abslrp.operation import UncoveredError
from abslrp.registry import COMMON


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Write attention out as two products and a softmax."""
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
    return weights @ value


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Write an einsum as permutations and batched products, two operands at a time."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    if "..." in equation:
        equation = _without_ellipsis(equation, operands)
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = "".join(terms)
        right = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    current, tensor = terms[0], operands[0]
    if len(terms) == 1:
        return _reduce(tensor, current, right)
    for index in range(1, len(terms)):
        later = "".join(terms[index + 1 :]) + right
        wanted = "".join(
            letter for letter in dict.fromkeys(current + terms[index]) if letter in later
        )
        tensor = _pair(tensor, current, operands[index], terms[index], wanted)
        current = wanted
    return tensor.permute([current.index(letter) for letter in right])


def _without_ellipsis(equation: str, operands: tuple[Tensor, ...]) -> str:
    left, arrow, right = equation.partition("->")
    spare = [letter for letter in ascii_uppercase if letter not in equation]
    terms, widest = [], ""
    for term, operand in zip(left.split(","), operands, strict=True):
        extra = operand.ndim - len(term.replace("...", ""))
        letters = "".join(spare[len(spare) - extra :])
        terms.append(term.replace("...", letters))
        widest = max(widest, letters, key=len)
    if not arrow:
        flat = "".join(terms)
        single = sorted(c for c in set(flat) if flat.count(c) == 1 and c not in widest)
        return ",".join(terms) + "->" + widest + "".join(single)
    return ",".join(terms) + arrow + right.replace("...", widest)


def _reduce(tensor: Tensor, letters: str, wanted: str) -> Tensor:
    """Sum out the axes that are not wanted and order the rest."""
    if len(set(letters)) < len(letters):
        raise UncoveredError(f"einsum: a repeated index in one operand ({letters}) has no rule")
    gone = [axis for axis, letter in enumerate(letters) if letter not in wanted]
    if gone:
        tensor = tensor.sum(gone)
        letters = "".join(letter for letter in letters if letter in wanted)
    return tensor.permute([letters.index(letter) for letter in wanted])


def _pair(a: Tensor, a_letters: str, b: Tensor, b_letters: str, wanted: str) -> Tensor:
    """Contract two operands by one batched product."""
    shared = [c for c in a_letters if c in b_letters]
    batch = [c for c in shared if c in wanted]
    summed = [c for c in shared if c not in wanted]
    rows = [c for c in a_letters if c not in b_letters and c in wanted]
    columns = [c for c in b_letters if c not in a_letters and c in wanted]
    a = _reduce(a, a_letters, "".join(batch + rows + summed))
    b = _reduce(b, b_letters, "".join(batch + summed + columns))
    sizes = dict(zip(batch + rows + summed, a.shape, strict=True))
    for letter, size in zip(batch + summed + columns, b.shape, strict=True):
        sizes[letter] = max(size, sizes.get(letter, size))
    outer = [sizes[c] for c in batch]
    a = _broadcast(a, [sizes[c] for c in batch + rows + summed])
    b = _broadcast(b, [sizes[c] for c in batch + summed + columns])
    a = a.reshape(*outer, _prod(sizes, rows), _prod(sizes, summed))
    b = b.reshape(*outer, _prod(sizes, summed), _prod(sizes, columns))
    product = (a @ b).reshape((*outer, *(sizes[c] for c in rows), *(sizes[c] for c in columns)))
    order = batch + rows + columns
    return product.permute([order.index(c) for c in wanted])


def _broadcast(tensor: Tensor, sizes: list[int]) -> Tensor:
    """Repeat a tensor along axes of size one where the other operand's is larger."""
    return tensor if list(tensor.shape) == sizes else tensor.expand(sizes)


def _prod(sizes: dict[str, int], letters: list[str]) -> int:
    return math.prod(sizes[letter] for letter in letters)


COMMON.rule(F.scaled_dot_product_attention)(Decomposed(scaled_dot_product_attention))
COMMON.rule(torch.einsum)(Decomposed(einsum))
