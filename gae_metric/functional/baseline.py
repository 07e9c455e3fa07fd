"""What masked features become, and inputs with some of their features masked."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from gae_metric.functional.precision import at_least_single

#: A number, ``"mean"``, ``"blur"``, or values that broadcast to one sample.
MaskValue = float | Literal["mean", "blur"] | ArrayLike


def mask_baseline(x: Tensor, mask_value: MaskValue = 0.0) -> Tensor:
    """Values that masked features take.

    Parameters
    ----------
    x
        (B, C, ...) inputs.
    mask_value
        A number; ``"mean"``, the mean of the sample's channel; ``"blur"``, the sample blurred by a
        Gaussian with a standard deviation of 1/22.4 of its shortest side (10 pixels of 224); or an
        array that broadcasts to one sample.

    Returns
    -------
    Tensor
        Values that broadcast to ``x``, of its dtype and device.

    Raises
    ------
    ValueError
        If ``mask_value`` is none of these, not finite, or needs positions that ``x`` lacks.

    Examples
    --------
    >>> mask_baseline(torch.tensor([[[1.0, 3.0], [0.0, 1.0]]]), "mean")
    tensor([[[2.0000],
             [0.5000]]])
    """
    if isinstance(mask_value, str):
        if mask_value not in ("mean", "blur"):
            raise ValueError(
                f'mask_value: expected a number, "mean", "blur" or an array, got {mask_value!r}'
            )
        positions = tuple(range(2, x.ndim))
        if not positions:
            raise ValueError(
                f'mask_value: "{mask_value}" is over the positions of a channel, which samples of '
                f"shape {tuple(x.shape[1:])} do not have; give the values as an array"
            )
        if mask_value == "mean":
            return x.mean(dim=positions, keepdim=True)
        from scipy.ndimage import gaussian_filter

        sigma = min(x.shape[2:]) / 22.4
        blurred = gaussian_filter(at_least_single(x).cpu().numpy(), sigma, axes=positions)
        return torch.from_numpy(blurred).to(x.dtype).to(x.device)
    if isinstance(mask_value, Tensor):
        # NumPy has no bfloat16, and float32 holds all its numbers.
        held = mask_value.detach().cpu()
        mask_value = held.float() if held.dtype == torch.bfloat16 else held
    values = np.asarray(mask_value)
    real = values.dtype.kind in "iuf"
    values = values.astype(np.float64) if real else values  # of any width and byte order
    if not real or not (np.abs(values) <= torch.finfo(x.dtype).max).all():
        raise ValueError(f"mask_value: expected finite numbers of {x.dtype}, got {mask_value!r}")
    try:
        np.broadcast_to(values, tuple(x.shape[1:]))
    except ValueError:
        raise ValueError(
            f"mask_value: expected an array that broadcasts to one sample, {tuple(x.shape[1:])}, "
            f"got shape {values.shape}"
        ) from None
    if values.ndim == 0:  # filled in there: a copy to a GPU would wait for it
        return torch.full((), values.item(), dtype=x.dtype, device=x.device)
    # In this order, as not every device has float64.
    return torch.from_numpy(values).to(x.dtype).to(x.device)


def masked_inputs(
    x: Tensor, masked_from: Tensor, state: int | Tensor, baseline: Tensor | float = 0.0
) -> Tensor:
    """Mask inputs as they are at a state of the trajectory.

    Parameters
    ----------
    x
        (B, ...) inputs.
    masked_from
        uint8 (B, ...) of one order, see :class:`gae_metric.functional.Trajectory`.
    state
        State, or the states of the B samples.
    baseline
        What masked features become, see :func:`mask_baseline`.

    Returns
    -------
    Tensor
        (B, ...), a new tensor.

    Examples
    --------
    >>> masked_inputs(torch.ones(1, 3), torch.tensor([[1, 2, 3]], dtype=torch.uint8), 2)
    tensor([[0., 0., 1.]])
    """
    if isinstance(state, Tensor):
        state = state.reshape(-1, *[1] * (x.ndim - 1))
    value = baseline if isinstance(baseline, Tensor) else x.new_tensor(baseline)
    return torch.where(masked_from > state, x, value)
