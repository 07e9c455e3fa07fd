"""The classes of samples: one of each, or several."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.functional.masking import check_classes
from gae_metric.study.conversion import as_tensor
from gae_metric.study.samples import is_held, items

#: What fills lists of classes that are shorter than others.
NONE = -1


class Labels:
    """Classes of N samples.

    Parameters
    ----------
    values
        int64 (N,), a class of each; or bool (N, K), which of K classes each has. On the CPU.
    whole
        Whether K is the number of the model's outputs.

    Examples
    --------
    >>> labels = as_labels([[0, 2], [1]], 2)
    >>> labels.likeliest(np.array([0, 1]), torch.tensor([[1.0, 3.0, 2.0]]))
    array([2, 1])
    >>> labels.has(np.array([0, 1]), 2)
    array([ True, False])
    """

    def __init__(self, values: Tensor, whole: bool = False) -> None:
        self.values, self._whole = values, whole

    @property
    def table(self) -> NDArray[np.bool_] | None:
        """Which classes each sample has, (N, K); None where each has one."""
        return self.values.numpy() if self.values.ndim == 2 else None

    def check(self, outputs: int) -> None:
        """Refuse classes that a model with so many outputs has none for."""
        if self.table is None:
            check_classes(self.values, outputs, "y_batch")
        elif self.values.shape[1] > outputs or (self._whole and self.values.shape[1] < outputs):
            raise ValueError(
                f"y_batch: expected 0 or 1 for each of the model's {outputs} outputs, (N, {outputs}"
                f"), or lists of classes below {outputs}, got (N, {self.values.shape[1]})"
            )

    def has(self, samples: NDArray[np.int64], classes: Any) -> NDArray[np.bool_]:
        """Whether samples (...) have classes (...)."""
        values = self.values.numpy()
        found: NDArray[np.bool_] = (
            values[samples, classes] if self.values.ndim == 2 else values[samples] == classes
        )
        return found

    def likeliest(self, samples: NDArray[np.int64], logits: Tensor) -> NDArray[np.int64]:
        """Return the class of samples (...), or that of theirs with the highest logit, (..., K)."""
        values = self.values[torch.from_numpy(samples)]
        if self.values.ndim == 2:
            own = logits[..., : values.shape[-1]].masked_fill(~values, -torch.inf)
            values = own.argmax(-1)
        classes: NDArray[np.int64] = values.numpy()
        return classes


def as_labels(values: Any, count: int) -> Labels:
    """Check the classes of so many samples.

    Parameters
    ----------
    values
        (N,) whole numbers; (N, K) 0 or 1; or N lists of whole numbers. A Dataset's items are these,
        or tuples whose second entry is.
    count
        N.

    Raises
    ------
    ValueError
        If they are none of these, or a sample has no class.
    """
    if values is None:
        raise ValueError(
            f"y_batch: expected {count} integer classes, got None; metrics that have "
            'targets="predicted" explain the model\'s own predictions'
        )
    if not (is_held(values) or hasattr(values, "shape")):
        values = list(items(values, 1, range(len(values))))
    lists = isinstance(values, (list, tuple)) and all(np.ndim(row) for row in values)
    if lists and len(set(map(len, values))) > 1:
        values = list(zip(*zip_longest(*values, fillvalue=NONE), strict=True))
    y = as_tensor(values, "y_batch").cpu()
    real = not y.is_complex() and (not y.is_floating_point() or bool((y == y.round()).all()))
    table = real and y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all())
    listed = y.ndim == 2 and (lists or y.shape[1] == 1)
    known = real and (table or ((listed or y.ndim == 1) and y.dtype != torch.bool))
    if not known or len(y) != count:
        raise ValueError(
            f"y_batch: expected integer classes of shape ({count},), one for each sample of "
            f"x_batch, or 0 and 1 of shape ({count}, classes), or {count} lists of classes, got "
            f"{y.dtype} {tuple(y.shape)}"
            + ("; one sample has a batch axis, too: x[None]" if y.numel() == 1 else "")
        )
    y = y.long()
    if y.ndim == 1:
        return Labels(y)
    has = y.bool()
    if not table:
        row, place = (y != NONE).nonzero(as_tuple=True)
        has = torch.zeros(count, int(y.max().clamp(min=0)) + 1, dtype=torch.bool)
        has[row, y[row, place]] = True
    if not bool(has.any(1).all()):
        none = (~has.any(1)).nonzero()[:, 0].tolist()
        raise ValueError(
            f"y_batch: expected at least one class for each sample, got none for {len(none)} "
            f"samples, the first of which is {none[0]}; leave them out"
        )
    # Lists of one class each, or a column, are classes.
    return Labels(has, table) if table or bool((has.sum(1) > 1).any()) else Labels(y.amax(1))
