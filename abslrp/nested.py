"""Tensors within the lists and tuples that torch functions take and return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def replaced(value: Any, values: dict[int, Tensor]) -> Any:
    """Exchange tensors, found by identity, within nested lists and tuples."""
    if isinstance(value, Tensor):
        return values.get(id(value), value)
    if isinstance(value, (list, tuple)) and value and not isinstance(value, torch.Size):
        items = [replaced(item, values) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def detached(value: Any) -> Any:
    """Cut a result, a tensor or several, off its history."""
    if isinstance(value, Tensor):
        return value.detach()
    return type(value)(detached(item) for item in value)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Iterate over the tensors within a value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
