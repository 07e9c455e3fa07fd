"""Which family of methods explains a model: found by looking for attention over tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.methods.attention_maps import Attentions, tokens_of
from benchmarks.methods.registry import InapplicableError


def family(model: nn.Module, x: Tensor) -> Literal["cnn", "vit"]:
    """Return ``"vit"`` for a model with attention over one sequence of tokens, else ``"cnn"``.

    Parameters
    ----------
    model
        Classifier in evaluation mode.
    x
        One image (1, C, H, W) of a size that it takes.

    Examples
    --------
    >>> from benchmarks.models import load
    >>> family(load("digits:vit").model, torch.zeros(1, 3, 48, 48))
    'vit'
    """
    with torch.no_grad(), Attentions() as found:
        model(x)
    try:
        tokens_of(found, (x.shape[2], x.shape[3]), len(x))
    except InapplicableError:
        return "cnn"
    return "vit"
