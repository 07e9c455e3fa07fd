"""Count what crosses between a device and the host, and what waits for the device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Operations whose result the host must wait for: a number, or a size that depends on values.
WAITS = frozenset(
    {
        *("_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select"),
        *("unique_consecutive", "_unique2", "bincount", "repeat_interleave"),
    }
)


class Crossings(TorchDispatchMode):
    """Context that counts crossings, also in backward passes and within other modes.

    Parameters
    ----------
    kind
        The device whose tensors the host waits for.

    Attributes
    ----------
    copies
        Number of copies between devices, by (from, to).
    nbytes
        Their bytes, likewise.
    waits
        Number of operations that the host waits for, by name.
    """

    def __init__(self, kind: str = "cuda") -> None:
        super().__init__()
        self.kind = kind
        self.copies: Counter[tuple[str, str]] = Counter()
        self.nbytes: Counter[tuple[str, str]] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_") and isinstance(result, Tensor):
            # copy_ gives its target back; its source is the second argument.
            source = args[1] if name == "copy_" else args[0]
            way = source.device.type, result.device.type
            if way[0] != way[1]:
                self.copies[way] += 1
                self.nbytes[way] += result.numel() * result.element_size()
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if not any(one.device.type == self.kind for one in tensors):
            return result
        masks = name == "index" and any(
            isinstance(one, Tensor) and one.dtype == torch.bool for one in tree_leaves(args[1])
        )
        if name in WAITS or masks:
            self.waits["index by mask" if masks else name] += 1
        return result
