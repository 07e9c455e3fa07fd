"""Targets: functions from a model's output, of any shape, to one number for each sample, (B,).

:func:`abslrp.explain` takes them as ``target``. Classes, positions and masks that differ between
samples are given as tensors with a row for each sample, and are split with the inputs. A class or
position below 0 counts from the end. If one does not fit the output, the call is a ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from abslrp.arrays import as_tensor, integers

__all__ = ["Target", "box", "difference", "logit", "number_of", "region", "token"]


@dataclass(frozen=True, eq=False)
class Target:
    """A target whose arguments may differ between samples.

    Attributes
    ----------
    function
        From an output (B, ...) and what is ``given``, one for each of these samples, to (B,).
    given
        One for all samples, or with a row for each.
    cuts
        Which samples the output is of: slices, one of the other.
    samples
        How many there are in all, where the output is of some.
    """

    function: Callable[..., Tensor]
    given: tuple[Any, ...]
    cuts: tuple[slice | list[int], ...] = ()
    samples: int | None = None

    def rows(self, rows: slice | list[int], samples: int | None = None) -> Target:
        """Return the target of some of the ``samples``, by their indices or a slice."""
        return replace(self, cuts=(*self.cuts, rows), samples=self.samples or samples)

    def __call__(self, output: Tensor) -> Tensor:
        """Return one number for each sample."""
        return self.function(output, *(self._own(one, output) for one in self.given))

    def _own(self, given: Any, output: Tensor) -> Tensor:
        values = as_tensor(given, "target", "integers").to(output.device)
        mask = values.dtype == torch.bool or values.is_floating_point()
        # Whether there is a row for each sample is known from the rank, not from a size.
        if values.ndim != (output.ndim - 1 if mask else 1):
            return values
        if self.samples not in (None, len(values)):
            raise ValueError(
                f"target: expected one integer or mask, or one for each of {self.samples} samples, "
                f"along the first axis, got {tuple(values.shape)}"
            )
        for cut in self.cuts:
            values = values[cut]
        return values


def logit(classes: Any) -> Target:
    """Output of a class, or of one label, or one number of several: of an output (B, N).

    Parameters
    ----------
    classes
        One integer, or (B,).

    Returns
    -------
    Target
        From outputs (B, N) to (B,).

    Examples
    --------
    >>> import torch
    >>> logit([0, 2])(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    tensor([1., 6.])
    """
    return Target(_entry, (classes,))


def difference(classes: Any, others: Any) -> Target:
    """Difference of the logits of two classes, of an output (B, N).

    Parameters
    ----------
    classes, others
        One integer, or (B,): the second is subtracted from the first.

    Returns
    -------
    Target
        From outputs (B, N) to (B,).

    Examples
    --------
    >>> import torch
    >>> difference(2, 0)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([2.])
    """
    return Target(lambda output, a, b: _entry(output, a) - _entry(output, b), (classes, others))


def region(mask: Any, classes: Any) -> Target:
    """Output of a class, added up over a region: of dense outputs (B, N, ...).

    Parameters
    ----------
    mask
        Boolean, or weights: (...), the same for all samples, or (B, ...).
    classes
        One integer, or (B,).

    Returns
    -------
    Target
        From outputs (B, N, ...) to (B,).

    Examples
    --------
    >>> import torch
    >>> left = torch.tensor([[True, False], [True, False]])
    >>> region(left, 1)(torch.arange(8.0).reshape(1, 2, 2, 2))
    tensor([10.])
    """
    weights = as_tensor(mask, "mask")
    weights = weights if weights.is_floating_point() else weights.bool()
    return Target(_within, (weights, classes))


def token(positions: Any, tokens: Any) -> Target:
    """Output of a token at a position of the text, of an output (B, T, V).

    Parameters
    ----------
    positions, tokens
        One integer, or (B,).

    Returns
    -------
    Target
        From outputs (B, T, V) to (B,).

    Examples
    --------
    >>> import torch
    >>> token(-1, 2)(torch.arange(6.0).reshape(1, 2, 3))
    tensor([5.])
    """
    return Target(_entry, (positions, tokens))


def box(boxes: Any, classes: Any) -> Target:
    """Score of a class in a box or query of a detector, of an output (B, boxes, N).

    Parameters
    ----------
    boxes, classes
        One integer, or (B,).

    Returns
    -------
    Target
        From outputs (B, boxes, N) to (B,).

    Examples
    --------
    >>> import torch
    >>> box(0, 2)(torch.arange(6.0).reshape(1, 2, 3))
    tensor([2.])
    """
    return Target(_entry, (boxes, classes))


def _entry(output: Tensor, *indices: Tensor) -> Tensor:
    """Take each sample's entry along the axes after the first."""
    every = [torch.arange(len(output), device=output.device)]
    for axis, one in enumerate(indices, 1):
        chosen = integers(one, "target")
        size = output.shape[axis] if axis < output.ndim else 0
        if chosen.shape not in ((), (len(output),)) or not size:
            raise ValueError(
                f"target: expected one integer, or one for each of {len(output)} samples, for each "
                f"of {len(indices)} axes of the output after the first, got {tuple(chosen.shape)} "
                f"for axis {axis} of an output {tuple(output.shape)}"
            )
        wrong = (chosen < -size) | (chosen >= size)
        if wrong.any():
            raise ValueError(
                f"target: expected integers from 0 to {size - 1} for axis {axis} of an output "
                f"{tuple(output.shape)}, got {int(chosen[wrong][0])}"
            )
        every.append(chosen.expand(len(output)))
    return output[tuple(every)]


def _within(output: Tensor, weights: Tensor, classes: Tensor) -> Tensor:
    """Add each sample's entries up over a region."""
    shown = _entry(output, classes)
    if weights.shape not in (shown.shape[1:], shown.shape):
        raise ValueError(
            f"mask: expected shape {tuple(shown.shape[1:])} or {tuple(shown.shape)}, got "
            f"{tuple(weights.shape)}"
        )
    return (shown * weights).flatten(1).sum(1)


def number_of(target: Callable[[Any], Tensor], output: Any, samples: int | None) -> Tensor:
    """Return what a target makes of an output, (B, 1), and check it.

    Raises
    ------
    ValueError
        If it is not one floating-point number for each sample.

    Examples
    --------
    >>> import torch
    >>> number_of(lambda output: output.square().sum(1), torch.ones(2, 3), 2)
    tensor([[3.],
            [3.]])
    """
    found: Any = target(output)
    fits = isinstance(found, Tensor) and found.is_floating_point() and found.ndim == 1
    if not fits or samples not in (None, len(found)):
        got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
        count = "each" if samples is None else f"each of {samples}"
        raise ValueError(
            f"target: expected one floating-point number for {count} of the samples, got {got}; a "
            "function that holds data of single samples sees a part of them at a time, unless "
            "batch_size is their number"
        )
    numbers: Tensor = found[:, None]
    return numbers
