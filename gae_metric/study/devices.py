"""Values on their way to a GPU, without the host and the GPU waiting for each other; and models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def sent(values: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """Put values on a device.

    A plain copy to a GPU waits until all that was asked of it before is done. This one has a queue
    of its own, which what is asked for next waits for.

    Examples
    --------
    >>> sent(torch.arange(3), torch.device("cpu"))
    tensor([0, 1, 2])
    """
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    side, current = _queue(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(side):
        there = tensor.to(device)
    current.wait_stream(side)
    # Its memory belongs to that queue, and is in use in this one.
    there.record_stream(current)
    return there


@lru_cache
def _queue(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def at_work(model: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Have a model where and as gradients can be taken of it, whatever the caller's modes.

    For the time of the context it is on the device, inference mode is off, and so is cuDNN where
    the model has recurrent layers: cuDNN refuses their gradients in evaluation mode.
    """
    home = next((value.device for value in model.parameters()), device)
    moved = device is not None and home is not None and home != device
    moved = moved and (home.type, device.index) != (device.type, None)  # type: ignore[union-attr]
    cudnn = torch.backends.cudnn.enabled
    recurrent = cudnn and any(isinstance(each, nn.RNNBase) for each in model.modules())
    with torch.inference_mode(False):
        try:
            if recurrent:
                torch.backends.cudnn.enabled = False
            if moved:
                model.to(device)
            yield
        finally:
            if moved:
                model.to(home)
            if recurrent:
                torch.backends.cudnn.enabled = cudnn
