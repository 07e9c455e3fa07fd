"""Samples and their classes, in whatever form they are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.functional.masking import check_classes
from gae_metric.study.conversion import as_tensor


class Samples:
    """Samples (N, ...), read when they are asked for.

    Parameters
    ----------
    values
        An array or tensor, a memory map, a ``torch.utils.data.Dataset`` whose items are samples,
        tuples that begin with one, or dictionaries that hold one, or anything with a length that
        gives items or slices.
    name
        The argument, for errors.

    Attributes
    ----------
    shape, ndim, dtype
        As of one tensor of them all.
    classes
        ``values`` if its items have classes, too; or None.
    made
        Whether a sample may be another one each time that it is read.

    Raises
    ------
    ValueError
        If they are no numbers, or, when they are read, if one has another shape than the first.

    Examples
    --------
    >>> from torch.utils.data import TensorDataset
    >>> samples = Samples(TensorDataset(torch.eye(3), torch.arange(3)), "x_batch")
    >>> samples.shape, samples[np.array([2, 0])].tolist()
    (torch.Size([3, 3]), [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    """

    def __init__(self, values: Any, name: str) -> None:
        if is_held(values):
            values = _held(values, name)
        self._values, self._name, self._turned = values, name, False
        self._slices = _is_array(values)
        self.made = not isinstance(values, (Tensor, np.ndarray))
        if self._slices and not values.shape:  # one number
            values = self._values = as_tensor(values, name)[None]
        self.classes = None
        if not self._slices and len(values) and _class(next(_rows(values, range(1)))) is not None:
            self.classes = values
        first = self._read(0, min(len(values), 1))
        self._form = first[0].shape if first else torch.Size(getattr(values, "shape", (0,))[1:])
        self.shape = torch.Size([len(values), *self._form])
        self.ndim = len(self.shape)
        self.dtype = first[0].dtype if first else torch.get_default_dtype()

    def __len__(self) -> int:
        return self.shape[0]

    def channels_first(self, channel_first: bool | None) -> Samples:
        """Have the channels of (N, ..., C) samples read as their first axis."""
        if channel_first not in (None, True, False):
            raise ValueError(f"channel_first: expected True, False or None, got {channel_first!r}")
        if channel_first is not None and not channel_first and self.ndim > 2:  # NumPy's, too
            self._turned = True
            self.shape = torch.Size([len(self), self.shape[-1], *self.shape[1:-1]])
        return self

    def __getitem__(self, samples: NDArray[np.int64]) -> Tensor:
        """Read samples (n, ...), a copy of them, where they lie."""
        rows: list[Tensor] = []
        for run in np.split(samples, np.flatnonzero(np.diff(samples) != 1) + 1):
            rows += self._read(int(run[0]), int(run[-1]) + 1)
        for i, row in zip(samples.tolist(), rows, strict=True):
            if row.shape != self._form:
                raise ValueError(
                    f"{self._name}: expected samples of one shape, got {tuple(row.shape)} for "
                    f"sample {i} and {tuple(self._form)} for sample 0"
                )
        found = torch.stack(rows)
        # In one order of memory, so that no score depends on the caller's.
        return (found.movedim(-1, 1) if self._turned else found).contiguous()

    def _read(self, start: int, stop: int) -> list[Tensor]:
        # A copy of what is read: some readers have one memory for all that they return.
        if self._slices:
            read = as_tensor(self._values[start:stop], self._name)
            return list(read.clone() if self.made else read)
        rows = _rows(self._values, range(start, stop))
        return [as_tensor(_sample(row, self._name), self._name).clone() for row in rows]


def is_held(values: Any) -> bool:
    """Whether values are made a tensor at once: lists, tables (whose items are columns), sparse."""
    if not _has_items(values):
        return True
    listed = isinstance(values, (list, tuple)) and bool(values)
    if listed and (isinstance(values[0], Mapping) or _begins_with_sample(values[0])):
        return False
    kinds = (Tensor, list, tuple, str, Mapping)
    return isinstance(values, kinds) or hasattr(values, "iloc") or hasattr(values, "toarray")


def _held(values: Any, name: str) -> Tensor:
    try:
        return as_tensor(values, name)
    except ValueError as error:
        remedy = ""
        if isinstance(values, Mapping):
            remedy = f"; pass the entry that holds them, out of {', '.join(map(str, values))}"
        elif isinstance(values, Iterable) and not _has_items(values):
            remedy = (
                "; samples are read by their index and more than once, so pass what has a length "
                "and gives items: of a DataLoader its data set, loader.dataset, of a generator a "
                "list of what it yields"
            )
        raise ValueError(f"{error}{remedy}") from error


def _has_items(values: Any) -> bool:
    return hasattr(values, "__len__") and hasattr(values, "__getitem__")


def _is_array(values: Any) -> bool:
    return hasattr(values, "shape") and hasattr(values, "dtype")


def _rows(values: Any, places: range) -> Iterator[Any]:
    for i in places:
        try:
            row = values[i]
        except (AttributeError, TypeError) as error:  # it may take slices alone
            try:
                row = values[i : i + 1][0]
            except Exception:
                raise error from None
        yield row


#: Entries of rows that are dictionaries: their classes.
_CLASSES = ("label", "labels")


def _is_pair(row: Any) -> bool:
    """Whether a row begins with a sample: a tuple, or a list of an array and its class."""
    return isinstance(row, tuple) or _begins_with_sample(row)


def _begins_with_sample(row: Any) -> bool:
    pair = isinstance(row, (list, tuple)) and len(row) > 1
    return pair and hasattr(row[0], "ndim") and row[0].ndim > getattr(row[1], "ndim", 0)


def _class(row: Any, alone: Any = None) -> Any:
    """Return the class of a row, or ``alone`` where it is no more than a sample or a class."""
    if isinstance(row, Mapping):
        return next((row[key] for key in _CLASSES if key in row), None)
    return row[1] if _is_pair(row) and len(row) > 1 else alone


def _sample(row: Any, name: str) -> Any:
    if isinstance(row, Mapping):
        found = [key for key in row if key not in _CLASSES and np.ndim(row[key])]
        if len(found) != 1:
            raise ValueError(
                f"{name}: expected one entry of each row beside its label that is an array, got "
                f"{', '.join(map(str, found)) or 'none'} of {', '.join(map(str, row))}; select the "
                "columns, or give rows that are tuples (sample, class)"
            )
        return row[found[0]]
    return row[0] if _is_pair(row) else row


#: What fills lists of classes that are shorter than others, and how many classes there may be.
NONE, _MOST = -1, 2**20


class Labels:
    """Classes of N samples.

    Parameters
    ----------
    values
        int64 (N,), a class of each; or bool (N, K), which of K classes each has. On the CPU.
    whole
        Number of the model's outputs, where the classes were given as 0 or 1 for each; or 0.

    Examples
    --------
    >>> labels = as_labels([[0, 2], [1]], 2)
    >>> labels.likeliest(np.array([0, 1]), torch.tensor([[1.0, 3.0, 2.0]]))
    array([2, 1])
    >>> labels.has(np.array([0, 1]), 2)
    array([ True, False])
    """

    def __init__(self, values: Tensor, whole: int = 0) -> None:
        self.values, self._whole = values, whole

    @property
    def table(self) -> NDArray[np.bool_] | None:
        """Which classes each sample has, (N, K); None where each has one."""
        return self.values.numpy() if self.values.ndim == 2 else None

    def check(self, outputs: int) -> None:
        """Refuse classes that a model with so many outputs has none for."""
        classes = self._whole or (0 if self.table is None else self.values.shape[1])
        if classes > outputs or self._whole not in (0, outputs):
            raise ValueError(
                f"y_batch: expected 0 or 1 for each of the model's {outputs} outputs, (N, {outputs}"
                f"), or lists of classes below {outputs}, got (N, {classes})"
            )
        if self.table is None:
            check_classes(self.values, outputs, "y_batch")

    def has(self, samples: NDArray[np.int64], classes: Any) -> NDArray[np.bool_]:
        """Whether samples (...) have classes (...)."""
        values = self.values.numpy()
        if values.ndim == 1:
            return np.asarray(values[samples] == classes)
        # A model may predict a class that no sample has.
        last = values.shape[1] - 1
        return np.asarray(values[samples, np.minimum(classes, last)] & (classes <= last))

    def likeliest(self, samples: NDArray[np.int64], logits: Tensor) -> NDArray[np.int64]:
        """Return the class of samples (...), or that of theirs with the highest logit, (..., K)."""
        values = self.values[torch.from_numpy(samples)]
        if self.values.ndim == 2:
            # A model may rule out all of a sample's classes, and these are its own still.
            known = logits[..., : values.shape[-1]].clamp(min=torch.finfo(logits.dtype).min)
            values = known.masked_fill(~values, -torch.inf).argmax(-1)
        return values.numpy()


def as_labels(values: Any, count: int, name: str = "y_batch") -> Labels:
    """Check the classes of so many samples.

    Parameters
    ----------
    values
        (N,) whole numbers; (N, K) 0 or 1; or N lists of whole numbers. A Dataset's items are these,
        tuples whose second entry is, or dictionaries with a ``label`` or ``labels``.
    count
        N.
    name
        The argument, for errors.

    Raises
    ------
    ValueError
        If they are none of these, or a sample has no class.
    """
    if values is None:
        raise ValueError(
            f"{name}: expected {count} integer classes, got None; to explain the classes that the "
            'model predicts, give GAE and its parts targets="predicted", as in '
            'GAE(targets="predicted"), and other metrics the classes, model(x).argmax(1)'
        )
    if is_held(values):
        values = values if isinstance(values, (list, tuple)) else _held(values, name)
    elif not _is_array(values):
        values = [deepcopy(_class(row, row)) for row in _rows(values, range(len(values)))]
    elif values.dtype == object:
        values = values.tolist()
    lists = isinstance(values, (list, tuple)) and all(np.ndim(row) for row in values)
    if lists and len(set(map(len, values))) > 1:
        values = list(zip(*zip_longest(*values, fillvalue=NONE), strict=True))
    y = as_tensor(values, name).cpu()
    odd = [] if y.is_complex() else y[y != y.long()].tolist()
    real = not (odd or y.is_complex())
    table = real and y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all())
    listed = y.ndim == 2 and (lists or y.shape[1] == 1)
    known = real and (table or ((listed or y.ndim == 1) and y.dtype != torch.bool))
    if not known or len(y) != count:
        raise ValueError(
            f"{name}: expected integer classes of shape ({count},), one for each sample of "
            f"x_batch, or 0 and 1 of shape ({count}, classes), or {count} lists of classes, got "
            f"{y.dtype} {tuple(y.shape)}"
            + (f" with {odd[0]} in it" if odd else "")
            + ("; one sample has a batch axis, too: x[None]" if y.numel() == 1 else "")
        )
    y = y.long()
    if y.ndim == 1:
        return Labels(y)
    has = y.bool()
    if not table:
        if len(wrong := y[(y < NONE) | (y >= _MOST)]):
            raise ValueError(
                f"{name}: expected lists of classes from 0 to {_MOST - 1}, got {int(wrong[0])}"
            )
        row, place = (y != NONE).nonzero(as_tuple=True)
        has = y.new_zeros(count, int(y.max().clamp(min=0)) + 1, dtype=torch.bool)
        has[row, y[row, place]] = True
    if not bool(has.any(1).all()):
        none = (~has.any(1)).nonzero()[:, 0].tolist()
        raise ValueError(
            f"{name}: expected at least one class for each sample, got none for {len(none)} "
            f"samples, the first of which is {none[0]}; leave them out"
        )
    # Lists of one class each, a column, or one-hot rows are classes.
    one = bool((has.sum(1) == 1).all())
    return Labels(has.long().argmax(1) if one else has, y.shape[1] if table else 0)
