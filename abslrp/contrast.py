"""Starts of relevance at the logits, and how maps of several starts become one."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.outputs import ONE_OUTPUT
from abslrp.plan.arrivals import ratio

Start: TypeAlias = 'Literal["streams", "signed", "logits"] | None'
"""The contrasts of absLRP, and that of Gu et al.'s code: two streams that start at the logits."""

OWN: Literal["own"] = "own"
"""Value of ``contrast`` that asks for the rule set's own."""


def starts(
    logits: Tensor, targets: Tensor, contrast: Start, against: Tensor | None = None
) -> Tensor:
    """Relevance of the logits that a contrast starts from.

    Parameters
    ----------
    logits
        (B, N).
    targets
        (B,) int64.
    contrast
        ``"streams"``: one-hot and ``(1 - one-hot) / (N - 1)``; ``"signed"``: one pass from +1 at
        the target and ``-1/N`` elsewhere; None: one-hot; ``"logits"``: the absolute logit of the
        target, and those of all other classes.
    against
        (B,) int64: a class of each sample that takes the place of all others; in one pass it
        starts from -1.

    Returns
    -------
    (S, B, N): two starts for ``"streams"`` and ``"logits"``, else one.

    Examples
    --------
    >>> starts(torch.zeros(1, 3), torch.tensor([1]), "streams").tolist()
    [[[0.0, 1.0, 0.0]], [[0.5, 0.0, 0.5]]]
    """
    classes = logits.shape[1]
    hot = torch.zeros_like(logits).scatter_(1, targets[:, None], 1)
    other = None if against is None else torch.zeros_like(logits).scatter_(1, against[:, None], 1)
    if contrast is None:
        return (hot if other is None else hot - other)[None]
    if contrast == "signed":
        return (hot - ((1 - hot) / classes if other is None else other))[None]
    if contrast not in ("streams", "logits"):
        raise ValueError(
            f"contrast: expected 'streams', 'signed', 'logits', None or 'own', got {contrast!r}"
        )
    if classes < 2:
        raise ValueError(ONE_OUTPUT)
    weight = logits.detach().abs() if contrast == "logits" else 1
    other = (1 - hot) / (classes - 1) if other is None else other
    return torch.stack([hot, other]) * weight


def combine(maps: Tensor, contrast: Start) -> Tensor:
    """One map per sample from those of the starts: (S, B, ...) to (B, ...).

    Of two maps each is scaled to sum 1, and they are subtracted.
    """
    if contrast not in ("streams", "logits"):
        return maps[0]
    wide = torch.promote_types(maps.dtype, torch.float32)
    sums = maps.reshape(*maps.shape[:2], -1).sum(2, dtype=wide)
    # Not times 1 / sum, which leaves the range of the maps' type where little arrived.
    shares = ratio(maps, sums.reshape(*sums.shape, *[1] * (maps.ndim - 2)))
    return (shares[0] - shares[1]).to(maps.dtype)
