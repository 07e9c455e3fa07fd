"""Arrays, tensors and sequences of any kind as tensors that a model can compute with, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gae_metric.functional.precision import at_least_single, wide_dtype

__all__ = ["as_input", "as_maps", "as_targets", "as_tensor", "like"]

#: Integers that torch can hold but not compute with.
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.float64}


def as_tensor(values: Any, name: str, expected: str = "an array or a tensor of numbers") -> Tensor:
    """Return arrays, tensors and sequences alike as a tensor, without a copy where possible.

    Any byte order, strides and width of the numbers. Sparse values become dense ones, and what a
    mask hides becomes NaN: it is not known.

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
        if tensor.layout != torch.strided:
            tensor = tensor.to_dense()
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            tensor = tensor.clone()  # or else it could not be kept for a gradient
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        kind = getattr(values, "dtype", type(values).__name__)
        raise ValueError(f"{name}: expected {expected}, got {kind}") from error
    return tensor.to(_WIDER.get(tensor.dtype, tensor.dtype))


def _from_array(values: Any) -> Tensor:
    """Return a tensor on the CPU, whatever torch's default device."""
    masked = isinstance(values, np.ma.MaskedArray) or (
        isinstance(values, (list, tuple)) and any(isinstance(v, np.ma.MaskedArray) for v in values)
    )
    if masked:
        hidden: Any = np.ma.asarray(values)
        array = hidden.astype(np.result_type(hidden.dtype, np.float32)).filled(np.nan)
    else:  # scipy's sparse arrays say how they become dense
        array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    kind = np.dtype(np.float64) if array.dtype == np.longdouble else array.dtype.newbyteorder("=")
    if array.dtype != kind or not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.astype(kind)
    return torch.from_numpy(array)


def as_input(model: nn.Module, inputs: Any) -> Tensor:
    """Return inputs (B, ...) on the model's device, in its floating-point type.

    Raises
    ------
    ValueError
        If they are not real numbers with a batch axis and at least one sample.
    """
    x = as_tensor(inputs, "inputs")
    if x.ndim < 2 or len(x) == 0 or x.is_complex():
        raise ValueError(
            f"inputs: expected real values of shape (B, ...), got {x.dtype} {tuple(x.shape)}"
        )
    values = (*model.parameters(), *model.buffers())
    weights = next((value for value in values if value.is_floating_point()), None)
    if weights is not None:
        return x.to(weights.dtype).to(weights.device)
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def as_targets(targets: Any, samples: int) -> Tensor:
    """Return targets as int64 (B,): one for each sample, or one for all.

    Raises
    ------
    ValueError
        If they are not integers of that shape.
    """
    chosen = as_tensor(targets, "targets")
    if chosen.ndim == 0:
        chosen = chosen.expand(samples)
    if chosen.shape != (samples,) or chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise ValueError(
            f"targets: expected integers of shape ({samples},), "
            f"got {chosen.dtype} {tuple(chosen.shape)}"
        )
    return chosen.long()


def like(maps: Tensor, inputs: Any) -> Any:
    """Return maps as the inputs were: array or tensor, device, and dtype where it is floating."""
    if isinstance(inputs, Tensor):
        kind = inputs.dtype if inputs.is_floating_point() else maps.dtype
        return maps.detach().to(device=inputs.device, dtype=kind)
    host = maps.detach().cpu()
    array = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
    dtype = getattr(inputs, "dtype", array.dtype)
    native = np.dtype(dtype).newbyteorder("=")
    return array.astype(native if native.kind == "f" else array.dtype, copy=False)


def as_maps(
    values: Any, shape: torch.Size, source: str, device: torch.device | None = None
) -> Tensor:
    """Check attributions of inputs of a shape and give them a channel axis.

    Parameters
    ----------
    values
        Array or tensor.
    shape
        (B, C, ...) or (B, F).
    source
        Whose result it is, for the error.
    device
        Where to put them; by default they stay.

    Returns
    -------
    Tensor
        (B, C, ...) or (B, 1, ...); (B, F) for tabular inputs. At least float32.

    Raises
    ------
    ValueError
        If it has another shape.
    """
    maps = as_tensor(values, source, "an array of maps")
    if maps.is_complex():
        raise ValueError(f"{source}: expected real maps, got {maps.dtype}")
    if len(shape) > 2 and maps.shape == (shape[0], *shape[2:]):
        maps = maps.unsqueeze(1)
    single = torch.Size([shape[0], 1, *shape[2:]])
    if maps.shape != shape and (len(shape) == 2 or maps.shape != single):
        options = [tuple(shape)]
        if len(shape) > 2:
            options += [tuple(single), (shape[0], *shape[2:])]
        raise ValueError(
            f"{source}: expected maps of shape {' or '.join(map(str, options))}, got "
            f"{tuple(maps.shape)}"
        )
    maps = at_least_single(maps)
    if device is not None:
        # float64 stays float64 where the device has it.
        maps = maps.to(device, wide_dtype(device) if maps.dtype == torch.float64 else maps.dtype)
    return maps
