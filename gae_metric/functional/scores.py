"""Equations 13 to 18: from maps, outputs and score maps to scores."""

import torch
from torch import Tensor

from gae_metric.functional.precision import EPSILON, at_least_single, sum_per_sample


def positive_map(a: Tensor) -> Tensor:
    """Positive part of attribution maps, scaled per sample to maximum 1.

    Every map of GAE goes through this first. The scale is exact for maps of any magnitude, so
    that scores do not change when a map is multiplied by a positive number.

    Parameters
    ----------
    a
        (B, ...) attributions of any real dtype.

    Returns
    -------
    Tensor
        Same shape, float32 (float64 where ``a`` is), in [0, 1]. A map without a positive value
        becomes 0; a map with a NaN or infinite value becomes NaN.

    Examples
    --------
    >>> positive_map(torch.tensor([[-1.0, 1e-30, 2e-30]]))
    tensor([[0.0000, 0.5000, 1.0000]])
    """
    a = at_least_single(a)
    flat = a.flatten(1)
    finite = flat.isfinite().all(dim=1, keepdim=True)
    positive = flat.clamp(min=0)
    peak = positive.amax(dim=1, keepdim=True)
    scaled = positive / torch.where(peak > 0, peak, torch.ones_like(peak))
    return torch.where(finite, scaled, torch.nan).reshape(a.shape)


def similarity(a_init: Tensor, a: Tensor) -> Tensor:
    """Similarity of two maps (eq. 13).

    Parameters
    ----------
    a_init, a
        (B, ...) results of :func:`positive_map`. Shapes that broadcast are broadcast first.

    Returns
    -------
    Tensor
        (B,), in [0, 1]: ``1 - |a_init - a| / (|a_init| + |a|)`` in L1 norms; 1 where both are 0.

    Examples
    --------
    >>> similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    tensor([0.5000], dtype=torch.float64)
    """
    a_init, a = _broadcast(a_init, a)
    distance = sum_per_sample((a_init - a).abs())
    return 1 - distance / (sum_per_sample(a_init) + sum_per_sample(a) + EPSILON)


def output_difference(lerf: Tensor, morf: Tensor, initial: Tensor) -> Tensor:
    """Difference of the two output curves, relative to the initial output (d^o).

    Parameters
    ----------
    lerf, morf
        (B, T) target outputs along the least and the most relevant first orders.
    initial
        (B,) target outputs of the unmasked inputs. Not expected to be positive.

    Returns
    -------
    Tensor
        (B, T).

    Examples
    --------
    >>> output_difference(torch.tensor([[4.0]]), torch.tensor([[1.0]]), torch.tensor([6.0]))
    tensor([[0.5000]])
    """
    return (lerf - morf) / (initial[:, None] + EPSILON)


def local_robustness(output_diff: Tensor, similarity_diff: Tensor) -> Tensor:
    """Local robustness LC_R (eq. 14): whether the map changes as the output does.

    Parameters
    ----------
    output_diff, similarity_diff
        (B, T-1): d^o and d^A, LeRF less MoRF, at states 1 to T-1.

    Returns
    -------
    Tensor
        (B,), in [-1, 1].

    Examples
    --------
    >>> local_robustness(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.0]]))
    tensor([0.3333])
    """
    distance = (output_diff - similarity_diff).abs().sum(1)
    largest = output_diff.abs().sum(1) + similarity_diff.abs().sum(1) + EPSILON
    # Rounding alone may leave the range, and only below.
    return (1 - 2 * distance / largest).clamp(min=-1)


def local_faithfulness(a_init: Tensor, impact_sign: Tensor) -> Tensor:
    """Local faithfulness LC_F (eq. 15): whether the map is where the impact is.

    Parameters
    ----------
    a_init
        (B, ...) result of :func:`positive_map` for the unmasked inputs. One channel is broadcast.
    impact_sign
        (B, ...) sign of the impact map I_c, see :func:`masking_trajectory`.

    Returns
    -------
    Tensor
        (B,), in [-1, 1]; 0 where the map is 0.

    Examples
    --------
    >>> local_faithfulness(torch.tensor([[1.0, 0.5, 0.5]]), torch.tensor([[1, -1, 0]]))
    tensor([0.2500], dtype=torch.float64)
    """
    a, sign = _broadcast(a_init, impact_sign.to(a_init.dtype))
    # Rounding alone may leave the range.
    return (sum_per_sample(a * sign) / (sum_per_sample(a) + EPSILON)).clamp(-1, 1)


def local_consistency(robustness: Tensor, faithfulness: Tensor) -> Tensor:
    """Local consistency LC (eq. 16): the mean of LC_R and LC_F, at least 0.

    Parameters
    ----------
    robustness, faithfulness
        (B,) each.

    Returns
    -------
    Tensor
        (B,), in [0, 1].

    Examples
    --------
    >>> local_consistency(torch.tensor([0.5, -1.0]), torch.tensor([0.25, 0.5]))
    tensor([0.3750, 0.0000])
    """
    return ((robustness + faithfulness) / 2).clamp(min=0)


def contrastiveness(a_mosaic: Tensor, scores: Tensor) -> Tensor:
    """Contrastiveness C (eq. 17): the map's mean of S, at least 0.

    Parameters
    ----------
    a_mosaic
        (B, ...) result of :func:`positive_map` for the mosaics.
    scores
        (B, ...) score maps S, see :func:`score_map`. Shapes are broadcast.

    Returns
    -------
    Tensor
        (B,), in [0, 1]; 0 where the map is 0.

    Examples
    --------
    >>> contrastiveness(torch.tensor([[1.0, 0.5, 0.5]]), torch.tensor([[1.0, -1.0, 0.0]]))
    tensor([0.2500], dtype=torch.float64)
    """
    a, s = _broadcast(a_mosaic, scores.to(a_mosaic.dtype))
    return (sum_per_sample(a * s) / (sum_per_sample(a) + EPSILON)).clamp(0, 1)


def global_attribution(consistency: Tensor, contrast: Tensor) -> Tensor:
    """Global attribution evaluation GAE (eq. 18): LC times C.

    Parameters
    ----------
    consistency, contrast
        (B,) each.

    Returns
    -------
    Tensor
        (B,), in [0, 1].

    Examples
    --------
    >>> global_attribution(torch.tensor([0.5]), torch.tensor([0.5]))
    tensor([0.2500])
    """
    return consistency * contrast


def _broadcast(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    shape = [max(sides) for sides in zip(a.shape, b.shape, strict=True)]
    return a.expand(shape), b.expand(shape)
