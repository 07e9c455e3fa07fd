"""Call any explain_func on tensors, and check what it returns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import quantus
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gae_metric.functional.precision import at_least_single, wide_dtype

__all__ = ["Explainer", "as_maps", "tensor_explainer"]

Function = TypeVar("Function", bound=Callable[..., Any])


def tensor_explainer(function: Function) -> Function:
    """Mark an explain_func that takes and returns tensors.

    Metrics then pass inputs and targets as tensors on the model's device; maps never leave it.
    Other functions get NumPy arrays, as in Quantus.

    Parameters
    ----------
    function
        ``function(model, inputs, targets, **kwargs)``: inputs (B, ...) and targets (B,) as tensors
        or arrays, maps of the same kind.

    Returns
    -------
    callable
        The function, with the attribute ``accepts_tensors``.

    Notes
    -----
    Cost: none. GAE calls an explainer for 2T - 1 + K inputs a sample, 20 with the defaults; on a
    GPU the mark saves that many copies of inputs to the host, and of maps back.

    Examples
    --------
    >>> @tensor_explainer
    ... def brightness(model, inputs, targets, **kwargs):
    ...     return inputs.mean(1, keepdim=True)
    >>> brightness.accepts_tensors
    True
    """
    function.accepts_tensors = True  # type: ignore[attr-defined]
    return function


def _as_arrays(function: Callable[..., Any], x: Tensor) -> bool:
    """Whether a function is to get inputs as arrays.

    ``quantus.explain`` takes tensors too, and would turn float64 arrays into float32 ones.
    """
    if function is quantus.explain and x.dtype == torch.float64:
        return False
    return not accepts_tensors(function)


def accepts_tensors(function: Callable[..., Any]) -> bool:
    """Whether a function, or what a ``functools.partial`` holds, is marked as taking tensors."""
    while isinstance(function, functools.partial) and not hasattr(function, "accepts_tensors"):
        function = function.func
    return bool(getattr(function, "accepts_tensors", False))


@dataclass(frozen=True)
class Explainer:
    """An explain_func with all that a call of it needs."""

    function: Callable[..., Any]
    kwargs: Mapping[str, Any]
    model: nn.Module
    #: What Quantus's ``normalise`` and ``abs`` do to the maps.
    post_process: Callable[[Tensor], Tensor] = lambda a: a

    def __call__(self, x: Tensor, targets: Tensor) -> Tensor:
        """Attributions (B, 1 or C, ...) of inputs (B, C, ...), on their device."""
        inputs: Tensor | NDArray[Any] = x
        classes: Tensor | NDArray[Any] = targets
        if _as_arrays(self.function, x):
            # NumPy has no bfloat16.
            inputs = (x.float() if x.dtype == torch.bfloat16 else x).cpu().numpy()
            classes = targets.cpu().numpy()
        elif self.function is quantus.explain:
            inputs = x.requires_grad_()  # as it does with arrays
        with torch.enable_grad():
            maps = self.function(model=self.model, inputs=inputs, targets=classes, **self.kwargs)
        return self.post_process(as_maps(maps, x.shape, "explain_func", x.device))


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
    if not isinstance(values, Tensor):
        try:
            array = np.ascontiguousarray(values)
            if array.dtype == np.longdouble:  # torch has no more than double precision
                array = array.astype(np.float64)
            values = torch.as_tensor(array)
        except (TypeError, ValueError):
            kind = getattr(values, "dtype", type(values).__name__)
            raise ValueError(f"{source}: expected an array of maps, got {kind}") from None
    maps: Tensor = values.detach()
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
