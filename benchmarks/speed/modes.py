"""How a model is run: as it is, compiled, under autocast, or from recorded kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

import abslrp

Mode = Literal["plain", "compiled", "autocast", "recorded"]
MODES: tuple[Mode, ...] = get_args(Mode)


def prepared(model: nn.Module, mode: Mode) -> nn.Module:
    """Return the model, or one that is compiled when it is called first."""
    return cast("nn.Module", torch.compile(model)) if mode == "compiled" else model


def context(mode: Mode, device: str) -> AbstractContextManager[Any]:
    """Return the context of its calls: bfloat16, if any.

    In float16 relevance leaves the type's range, so that absLRP's products are float32 there.

    Examples
    --------
    >>> with context("autocast", "cpu"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    if mode != "autocast":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def explainer(mode: Mode) -> Callable[..., Any]:
    """Return absLRP, or what records its kernels and replays them.

    Examples
    --------
    >>> explainer("plain").__name__
    'explain'
    """
    return abslrp.GraphExplainer() if mode == "recorded" else abslrp.explain


def within(work: Callable[[], object], mode: Mode, device: str) -> Callable[[], object]:
    """Return work to be done in the context of a mode."""

    def run() -> object:
        with context(mode, device):
            return work()

    return run
