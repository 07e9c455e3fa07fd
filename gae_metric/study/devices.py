"""Values on their way to a GPU, without the host and the GPU waiting for each other; and models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["on_device", "sent"]


def sent(values: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """Put values on a device.

    A plain copy to a GPU waits until all that was asked of it before is done. This one has a queue
    of its own, which what is asked for next waits for.

    Examples
    --------
    >>> sent(torch.arange(3), torch.device("cpu"))
    tensor([0, 1, 2])
    """
    tensor = torch.as_tensor(values)
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
def on_device(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Move a model for a while, if it is not there."""
    home = next((value.device for value in model.parameters()), device)
    if home == device or (home.type == device.type and device.index is None):
        yield
        return
    model.to(device)
    try:
        yield
    finally:
        model.to(home)
