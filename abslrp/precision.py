"""Half precision: what float16 and bfloat16 can hold of relevance, and what they cannot.

Relevance adds positives, so bfloat16's few digits do no harm. float16 ends at 65504 and at 6e-8:
``1 / (|h| + epsilon)`` and what is multiplied with it are float32 there, and relevance of sum 1,
which spreads over thousands of entries, starts larger.
"""

from __future__ import annotations

import torch
from torch import Tensor

START = 2.0**12
"""Factor of the start where logits are float16; the largest relevance stays below 65504."""


def working(dtype: torch.dtype) -> torch.dtype:
    """Return the type that gains and products have for activations of a type.

    Examples
    --------
    >>> import torch
    >>> working(torch.float16), working(torch.bfloat16)
    (torch.float32, torch.bfloat16)
    """
    return torch.float32 if dtype == torch.float16 else dtype


def alike(first: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return tensors in the working type of the first; under autocast they may differ."""
    dtype = working(first.dtype)
    return tuple(one.to(dtype) for one in (first, *others))
