"""Which floating-point type sums are taken in."""

from functools import lru_cache

import torch
from torch import Tensor

#: Added to every denominator.
EPSILON = 1e-9


@lru_cache
def wide_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 where the device has no float64 (Apple's mps)."""
    try:
        return torch.zeros(1, device=device).to(torch.float64).dtype
    except (TypeError, RuntimeError):
        return torch.float32


def at_least_single(values: Tensor) -> Tensor:
    """Floats of at least single precision: float32 and float64 stay, the rest become float32."""
    if values.dtype in (torch.float32, torch.float64):
        return values
    return values.to(torch.float32)


def sum_per_sample(values: Tensor) -> Tensor:
    """Sum of all features of each sample, (B,), in the wide type."""
    return values.flatten(1).sum(1, dtype=wide_dtype(values.device))
