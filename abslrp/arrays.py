"""Arrays, tensors and sequences of numbers, of any kind, as tensors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Integers that torch can hold but not compute with.
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def as_tensor(values: Any, name: str, expected: str = "an array or a tensor of numbers") -> Tensor:
    """Return arrays, tensors and sequences alike as a tensor, without a copy where possible.

    Any byte order, strides and width of the numbers. Sparse values become dense ones, and what a
    mask hides, or a table lacks, becomes NaN: it is not known.

    Parameters
    ----------
    values
        What was given.
    name
        The argument, for the error.
    expected
        What it should be, for the error.

    Raises
    ------
    ValueError
        If it holds no numbers.

    Examples
    --------
    >>> as_tensor(np.arange(3, dtype=">i2")[::-1], "x")
    tensor([2, 1, 0], dtype=torch.int16)
    >>> as_tensor(np.ma.masked_equal([1, 2], 2), "x")
    tensor([1., nan], dtype=torch.float64)
    """
    try:
        if isinstance(values, (list, tuple)) and values and isinstance(values[0], Tensor):
            values = torch.stack([value.detach() for value in values])
        tensor = values.detach() if isinstance(values, Tensor) else _from_array(values)
        if tensor.is_nested or tensor.is_quantized:
            raise TypeError("its samples have several shapes, or scales")
        tensor = tensor.to_dense().resolve_conj().resolve_neg()  # NumPy has no such views
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            tensor = tensor.clone()  # or else it could not be kept for a gradient
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        kind = getattr(values, "dtype", type(values).__name__)
        if isinstance(values, (list, tuple)) and values:
            kind = f"{kind} of {' and '.join(dict.fromkeys(type(v).__name__ for v in values))}"
            if len({getattr(value, "shape", None) for value in values}) > 1:
                kind += " of several shapes"
        elif getattr(values, "is_nested", False):
            kind = "a nested tensor"
        raise ValueError(f"{name}: expected {expected}, got {kind}") from error
    return tensor.to(_WIDER.get(tensor.dtype, tensor.dtype))


def integers(values: Any, name: str, expected: str = "integers") -> Tensor:
    """Return integers of any width as int64; arguments as of :func:`as_tensor`.

    Raises
    ------
    ValueError
        If they are others, or truth values.

    Examples
    --------
    >>> integers(np.array([1, 2], "u1"), "targets")
    tensor([1, 2])
    """
    found = as_tensor(values, name, expected)
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise ValueError(f"{name}: expected integers, got {found.dtype}")
    return found.long()


def as_numbers(values: Any, name: str, expected: str = "real numbers") -> NDArray[np.float64]:
    """Return arrays, tensors and sequences alike as an array, with NaN for None.

    Raises
    ------
    ValueError
        If it holds other things than real numbers.

    Examples
    --------
    >>> as_numbers([1, None], "x"), as_numbers(torch.ones(1, requires_grad=True), "x")
    (array([ 1., nan]), array([1.]))
    """
    try:
        if isinstance(values, (Tensor, np.ma.MaskedArray)):
            values = as_tensor(values, name).cpu()
            values = values if values.is_complex() else values.double().numpy()
        if np.iscomplexobj(values):
            raise TypeError("numbers with an imaginary part")
        return np.asarray(_of_table(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        got = f"{type(values).__name__}: {error}"
        raise ValueError(f"{name}: expected {expected}, got {got}") from error


def _of_table(values: Any) -> Any:
    """Return what pandas holds, with NaN in place of its own marks of what is missing."""
    if not hasattr(values, "isna"):
        return values
    array = np.asarray(values)
    return np.where(values.isna(), np.nan, array) if array.dtype == object else array


def _from_array(values: Any) -> Tensor:
    """Return a tensor on the CPU, whatever torch's default device."""
    several = values if isinstance(values, (list, tuple)) else [values]
    if any(isinstance(one, np.ma.MaskedArray) for one in several):
        hidden: Any = np.ma.asarray(values)
        array = hidden.astype(np.result_type(hidden.dtype, np.float32)).filled(np.nan)
    else:  # scipy's sparse arrays say how they become dense
        array = np.asarray(values.toarray() if hasattr(values, "toarray") else _of_table(values))
    if array.dtype == object and array is not values:  # a table's columns of several types
        array = np.asarray(array.tolist())
    kind = np.dtype(np.float64) if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
    if array.dtype != kind or not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.astype(kind)
    return torch.from_numpy(array)
