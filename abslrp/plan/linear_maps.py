"""Linear maps: a product with weights, and its transpose, for relevance of several starts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from abslrp.plan.entrywise import laid

aten = torch.ops.aten
_FEW = 16
"""Input channels of all weights together up to which a convolution is transposed at once."""
_MANY = 2**22
"""Weights that leave a processor's cache: what a rule makes of them is made of parts."""


@dataclass(frozen=True)
class LinearMap:
    """A linear map with weights, which may be a value; subclasses say which."""

    weight: Any

    @property
    def weights(self) -> Tensor:
        """The entries of the weights."""
        return self.weight if isinstance(self.weight, Tensor) else self.weight.tensor

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the map's value for an input, without bias."""
        raise NotImplementedError

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        raise NotImplementedError

    def each(self, relevance: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the transposed product with each of several weights."""
        return [self.transposed(relevance, weight) for weight in weights]

    def parts(self, weights: Tensor) -> Sequence[Tensor]:
        """Return the weights in parts, each of which makes some of the input's last axis."""
        return (weights,)


def _by_onednn(tensor: Tensor) -> bool:
    """Whether oneDNN multiplies it, which knows more processors than MKL does."""
    library: Any = torch.backends.mkldnn
    known = library.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and library.enabled and tensor.is_cpu and tensor.dtype == torch.float32


def _rows_product(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight``, (..., K) and (K, N)."""
    plain = weight.is_contiguous() or weight.mT.is_contiguous()
    if not (plain and rows.numel() and weight.numel() and _by_onednn(rows)):
        return rows @ weight
    # On AMD's processors this takes half of the time: MKL uses half of their registers.
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight.mT, None, "none", [], "")
    return result


def product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right``, one of which has starts (S, ...) and the other may have batches.

    Start by start: torch would repeat the batches for each.
    """
    starts, other = (left, right) if left.ndim > right.ndim else (right, left)
    if other.ndim < 3:
        return left @ right
    result = starts.new_empty((*starts.shape[:-2], left.shape[-2], right.shape[-1]))
    for index, into in enumerate(result):
        one, two = (left[index], right) if starts is left else (left, right[index])
        torch.matmul(one, two, out=into)
    return result


@dataclass(frozen=True)
class Adjoint(LinearMap):
    """A map without weights of its own, by its transpose."""

    route: Any = None

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        result: Tensor = self.route([relevance])[0]
        return result


@dataclass(frozen=True)
class Operand(LinearMap):
    """A function of an operand and of weights that is linear in both, by torch's own gradient."""

    function: Callable[[Tensor, Tensor], Tensor]
    shape: Sequence[int]

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the map's value for an input, without bias."""
        return self.function(x, weight)

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        with torch.inference_mode(False), torch.enable_grad():
            x = weight.new_zeros(self.shape).requires_grad_()
            h = self.function(x, weight)
            each = [torch.autograd.grad(h, x, one, retain_graph=True)[0] for one in relevance]
        return torch.stack(each)


@dataclass(frozen=True)
class Rows(LinearMap):
    """``h = x W^T`` over the last axis, ``W`` (out, in)."""

    def parts(self, weights: Tensor) -> Sequence[Tensor]:
        """Return the weights in parts, each of which makes some of the input's last axis."""
        if weights.numel() < _MANY or not weights.is_cpu:
            return (weights,)
        return torch.split(weights, max(1, _MANY // 4 // len(weights)), 1)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the map's value for an input, without bias."""
        return _rows_product(x, weight.mT)

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        if relevance.is_contiguous():
            return _rows_product(relevance, weight)
        # torch makes one product for each entry of the first axis of a permuted tensor.
        order = sorted(range(relevance.ndim - 1), key=lambda axis: -relevance.stride()[axis])
        moved = relevance.permute(*order, relevance.ndim - 1)
        if not moved.is_contiguous():  # repeated entries
            moved, order = relevance.contiguous(), list(range(relevance.ndim - 1))
        back = [order.index(axis) for axis in range(len(order))]
        return _rows_product(moved, weight).permute(*back, relevance.ndim - 1)


@dataclass(frozen=True)
class Left(LinearMap):
    """``h = A x``: weights from the left, ``A`` (..., out, in)."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the map's value for an input, without bias."""
        return weight @ x

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        return product(weight.mT, relevance)


@dataclass(frozen=True)
class Right(LinearMap):
    """``h = x B``, ``B`` (..., in, out), with axes of its own that go along with those of ``x``."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the map's value for an input, without bias."""
        return x @ weight

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        return product(relevance, weight.mT)


@dataclass(frozen=True)
class Convolution(LinearMap):
    """A convolution of any dimension, transposed or not, of a batch (B, C, ...)."""

    shape: tuple[int, ...] = ()
    stride: Sequence[int] = ()
    padding: Sequence[int] = ()
    dilation: Sequence[int] = ()
    backwards: bool = False
    output_padding: Sequence[int] = ()
    groups: int = 1

    def _options(self) -> tuple[Any, ...]:
        return (
            self.stride, self.padding, self.dilation, self.backwards, self.output_padding,
            self.groups,
        )  # fmt: skip

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the map's value for an input, without bias."""
        result: Tensor = aten.convolution(x, weight, None, *self._options())
        return result

    @property
    def pointwise(self) -> bool:
        """Whether it is a matrix product at each place that it looks at."""
        plain = not self.backwards and self.groups == 1 and not any(self.padding)
        return plain and all(one == 1 for one in self.weight.shape[2:])

    def each(self, relevance: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return the transposed product with each of several weights.

        Few channels of an image do not fill a processor's registers, so all are computed as one.
        """
        alone = len(weights) == 1 or self.shape[1] * len(weights) > _FEW
        if alone or self.backwards or self.groups > 1:
            return super().each(relevance, weights)
        batch, channels, *space = self.shape
        whole = replace(self, shape=(batch, channels * len(weights), *space))
        return list(whole.transposed(relevance, torch.cat([*weights], 1)).chunk(len(weights), 2))

    def transposed(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """(S, *output's shape) to (S, *input's shape)."""
        starts, batch = relevance.shape[:2]
        flat = relevance.flatten(0, 1)
        if self.pointwise and any(one > 1 for one in self.stride):
            seen = relevance.new_zeros(starts, *self.shape)
            one = [1] * len(self.stride)
            dense = replace(self, shape=(*self.shape[:2], *flat.shape[2:]), stride=one)
            places: list[Any] = [..., *(slice(None, None, step) for step in self.stride)]
            seen[tuple(places)] = dense.transposed(relevance, weight)
            return seen
        if self.pointwise and flat.is_contiguous() and not _by_onednn(flat):
            rows = flat.flatten(2)
            across = weight.flatten(1).t().expand(len(rows), -1, -1)
            return torch.bmm(across, rows).view(starts, *self.shape)
        # No entry of it is read. A CPU copies what is laid otherwise; memory of a GPU is scarce.
        whole = (starts * batch, *self.shape[1:])
        like = laid(whole, flat) if flat.is_cpu else flat.new_empty(1).expand(whole)
        result: Tensor = aten.convolution_backward(
            flat, like, weight, None, *self._options(), [True, False, False]
        )[0]
        return result.view(starts, *self.shape)
