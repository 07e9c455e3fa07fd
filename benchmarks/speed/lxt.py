"""LXT's efficient AttnLRP against the gradient that absLRP is measured against."""

from __future__ import annotations

import torch

from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed import measure

__all__ = ["lxt_ratio"]


def lxt_ratio(batch: int, repeats: int, device: str) -> float:
    """Time of LXT's efficient AttnLRP on ViT-B/16 as a multiple of the plain model's gradient.

    Call it in a process of its own: LXT changes torchvision's classes.

    Raises
    ------
    ImportError
        If LXT is not installed.
    """
    from lxt.efficient import monkey_patch
    from torchvision.models import vision_transformer

    model = abslrp_speed.build("ViT-B/16", device)
    reference = measure.seconds(
        abslrp_speed.tasks(model, batch, device)["gradient"], repeats, device
    )
    monkey_patch(vision_transformer)
    patched = abslrp_speed.build("ViT-B/16", device)
    x, targets = abslrp_speed.data(batch, device)

    def attnlrp() -> object:
        leaf = x.clone().requires_grad_()
        chosen = patched(leaf).gather(1, targets[:, None]).sum()
        return leaf * torch.autograd.grad(chosen, leaf)[0]

    return measure.seconds(attnlrp, repeats, device) / reference
