"""Where a tensor holds its samples: relevance is conserved per sample, whatever the axes mean.

Sequence-first attention, windows and heads move the batch axis or fold other axes into it. A
:class:`Layout` follows it: along axis ``axis``, sample ``b`` owns the entries
``b * group .. (b + 1) * group - 1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


class LayoutError(RuntimeError):
    """The axis that holds the samples could not be followed through an operation."""


@dataclass(frozen=True)
class Layout:
    """The samples' place in a tensor.

    Along axis ``axis``, entry ``(o * batch + b) * group + g`` belongs to sample ``b``, for every
    ``o < outer`` and ``g < group``.

    Parameters
    ----------
    batch
        Number of samples.
    axis
        Axis along which they lie.
    group
        Consecutive entries of that axis which belong to one sample.
    outer
        How often the sequence of samples repeats along the axis.
    """

    batch: int
    axis: int = 0
    group: int = 1
    outer: int = 1

    @property
    def size(self) -> int:
        """Size of the axis."""
        return self.outer * self.batch * self.group

    def fits(self, tensor: Tensor) -> bool:
        """Whether the tensor's size along the axis is what the layout says."""
        return tensor.ndim > self.axis and tensor.shape[self.axis] == self.size

    def totals(self, tensor: Tensor) -> Tensor:
        """Sum per sample: shape (batch,), in float32 at least."""
        wide = tensor.dtype if tensor.dtype.itemsize >= 4 else torch.float32
        if self.batch == 1:
            return tensor.sum(dtype=wide).reshape(1)
        if self.axis == 0 and self.outer == 1:
            return tensor.reshape(self.batch, -1).sum(1, dtype=wide)
        others = [axis for axis in range(tensor.ndim) if axis != self.axis]
        sums = tensor.sum(others, dtype=wide) if others else tensor.to(wide)
        return sums.reshape(self.outer, self.batch, self.group).sum((0, 2))

    def spread(self, values: Tensor, like: Tensor) -> Tensor:
        """Shape per-sample ``values`` (batch,) so that they broadcast against ``like``."""
        shape = [1] * like.ndim
        if self.batch > 1:
            values = values.repeat_interleave(self.group) if self.group > 1 else values
            values = values.repeat(self.outer) if self.outer > 1 else values
            shape[self.axis] = self.size
        return values.reshape(shape).to(like.dtype)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


REARRANGING = _names(
    "permute transpose swapaxes swapdims movedim moveaxis t T mT H mH adjoint unbind select "
    "squeeze unsqueeze expand expand_as unflatten stack repeat_interleave split chunk "
    "tensor_split narrow __getitem_ broadcast_to diagonal unfold rot90 flip repeat tile"
)
RESHAPING = _names("reshape view flatten reshape_as view_as unsafe_chunk")
REDUCING = _names("mean sum amax amin max min logsumexp prod")


def _companion(layout: Layout, size: torch.Size) -> Tensor:
    """Sample indices in the shape of the source, expanded from a line of them."""
    line = torch.arange(layout.batch, dtype=torch.float32)
    line = line.repeat_interleave(layout.group).repeat(layout.outer)
    shape = [1] * len(size)
    shape[layout.axis] = layout.size
    return line.reshape(shape).expand(size)


class _Source:
    """Stands for the source among the arguments of a call."""


_SOURCE = _Source()


def _probe(
    layout: Layout, source: Tensor, function: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Layout, ...] | None:
    """Follow the samples by doing the same to a tensor of sample indices.

    A model makes the same calls every time, so what has been found out is remembered.
    """
    try:
        constants = _constant(args, source), _constant(tuple(kwargs.items()), source)
        return _probe_alone(layout, source.shape, function, *constants)
    except TypeError:  # other tensors, which may hold indices, or what has no hash
        pass
    companion = _companion(layout, source.shape)
    swapped = [_swap(value, source, companion) for value in args]
    options = {key: _swap(value, source, companion) for key, value in kwargs.items()}
    return _read_all(function(*swapped, **options), layout.batch)


@lru_cache(maxsize=4096)
def _probe_alone(
    layout: Layout, size: torch.Size, function: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Layout, ...] | None:
    companion = _companion(layout, size)
    swapped, options = _restored(args, companion), dict(_restored(kwargs, companion))
    return _read_all(function(*swapped, **options), layout.batch)


def _constant(value: Any, source: Tensor) -> Any:
    """Return arguments in a form that has a hash, without tensors."""
    if value is source:
        return _SOURCE
    if isinstance(value, (tuple, list)):
        return (type(value), *(_constant(item, source) for item in value))
    if isinstance(value, slice):
        return slice, value.start, value.stop, value.step
    if isinstance(value, Tensor):
        raise TypeError
    return value


def _restored(value: Any, companion: Tensor) -> Any:
    """Undo :func:`_constant`, with the companion in the source's place."""
    if value is _SOURCE:
        return companion
    if isinstance(value, tuple):
        kind, *items = value
        restored = [_restored(item, companion) for item in items]
        return slice(*restored) if kind is slice else tuple(restored)
    return value


def _read_all(result: Any, batch: int) -> tuple[Layout, ...] | None:
    outputs = result if isinstance(result, (tuple, list)) else [result]
    layouts = []
    for output in outputs:
        found = _read(output, batch)
        if found is None:
            return None
        layouts.append(found)
    return tuple(layouts)


def _swap(value: Any, source: Tensor, companion: Tensor) -> Any:
    if value is source:
        return companion
    if isinstance(value, Tensor):
        alike = value.is_floating_point() and value.shape == source.shape
        return companion if alike else value.detach().cpu()
    if isinstance(value, (tuple, list)):
        return type(value)(_swap(item, source, companion) for item in value)
    return value


def _read(companion: Tensor, batch: int) -> Layout | None:
    # Axes of stride 0 repeat one value, so one entry of each is enough to look at.
    companion = companion[
        tuple(slice(0, 1) if step == 0 else slice(None) for step in companion.stride())
    ]
    for axis, size in enumerate(companion.shape):
        if size < batch:
            continue
        line = companion[tuple(slice(None) if a == axis else 0 for a in range(companion.ndim))]
        group = int((line != line[0]).to(torch.int8).argmax()) or size
        if size % (batch * group):
            continue
        layout = Layout(batch, axis, group, size // (batch * group))
        shape = [1] * companion.ndim
        shape[axis] = size
        wanted = torch.arange(batch, dtype=companion.dtype).repeat_interleave(group)
        if bool((companion == wanted.repeat(layout.outer).reshape(shape)).all()):
            return layout
    return None


def follow(
    layout: Layout,
    source: Tensor,
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    outputs: list[Tensor],
) -> list[Layout | None]:
    """Layouts of an operation's outputs, given that of its active input ``source``.

    Returns None for an output whose samples cannot be told from one another.
    """
    name = getattr(function, "__name__", "").removesuffix("_")
    if layout.batch == 1:
        return [layout for _ in outputs]
    if name == "__get_":
        name = getattr(getattr(function, "__self__", None), "__name__", "")
    if name in RESHAPING and layout.axis == 0 and layout.outer == 1:
        if all(output.shape[:1].numel() % layout.batch == 0 for output in outputs if output.ndim):
            return [
                Layout(layout.batch, 0, output.shape[0] // layout.batch) if output.ndim else None
                for output in outputs
            ]
        return [None for _ in outputs]
    if name in RESHAPING:
        return [_reshaped(layout, source.shape, outputs[0].shape)]
    if name in REARRANGING:
        probed = _probe(layout, source, function, args, kwargs)
        return list(probed) if probed is not None else [None for _ in outputs]
    return [_kept(layout, source, output, name) for output in outputs]


@lru_cache(maxsize=4096)
def _reshaped(layout: Layout, size: torch.Size, wanted: torch.Size) -> Layout | None:
    # The companion's strides differ, so a view of it may have to be a copy.
    return _read(_companion(layout, size).reshape(wanted), layout.batch)


def _kept(layout: Layout, source: Tensor, output: Tensor, name: str) -> Layout | None:
    if output.ndim == source.ndim and layout.fits(output):
        return layout
    if name in REDUCING and layout.axis == 0 and layout.fits(output):
        return layout
    if output.ndim > source.ndim:  # broadcast against a tensor with leading axes, or a new axis
        moved = replace(layout, axis=layout.axis + output.ndim - source.ndim)
        if moved.fits(output):
            return moved
    if layout.axis == 0 and layout.fits(output):
        return layout
    return None
