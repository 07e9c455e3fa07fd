"""The transpose of any linear torch function, by its own gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from abslrp.precision import working


def transpose_of(
    function: Callable[..., Any], input: Tensor, args: Any, kwargs: Any
) -> Callable[[Tensor], Tensor]:
    """Return ``s -> W^T s`` for a function that is linear in its first argument.

    The function runs once on an expanded scalar, which keeps no memory of the input alive.
    """
    with torch.enable_grad():
        dtype = working(input.dtype)
        probe = torch.zeros((), dtype=dtype, device=input.device).expand(input.shape)
        probe = probe.detach().requires_grad_()
        output = function(probe, *args, **kwargs)

    def transpose(s: Tensor) -> Tensor:
        (result,) = torch.autograd.grad(output, probe, s.to(output.dtype), retain_graph=True)
        return result

    return transpose
