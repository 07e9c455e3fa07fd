"""What the compatibility table says of one model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import abslrp
from benchmarks.compatibility.candidates import CLASSES, Entry

BATCH = 2
REPEATS = 3


@dataclass(frozen=True)
class Result:
    """One row.

    Attributes
    ----------
    error
        What went wrong, or None.
    relative_time
        CPU time of ``abslrp.explain`` over that of a forward pass and an input gradient.
    arriving, leaking
        Relevance, of 1 at the target, that reaches the input, and that calls do not hand on by
        :func:`abslrp.audit`: the mean over samples.
    deviation
        Largest ``|arriving + leaking - 1|`` over samples.
    """

    error: str | None = None
    relative_time: float | None = None
    arriving: float | None = None
    leaking: float | None = None
    deviation: float | None = None


def measure(entry: Entry, repeats: int = REPEATS) -> Result:
    """Explain a model, or say why that failed."""
    try:
        model, x = entry.make(BATCH)
        targets = torch.arange(BATCH) % CLASSES
        maps = abslrp.explain(model, x, targets)
        if not torch.isfinite(maps).all():
            return Result(error="maps are not finite")
        if not (maps.flatten(1).abs().amax(1) > 0).all():
            return Result(error="a map is all zeros")
        sums = abslrp.relevance(model, x, torch.eye(CLASSES)[targets]).flatten(1).double().sum(1)
        rows = [slice(i, i + 1) for i in range(BATCH)]
        leaks = torch.tensor([abslrp.audit(model, x[i], targets[i]).lost for i in rows])
        ratio = _ratio(
            lambda: abslrp.explain(model, x, targets), lambda: gradient(model, x, targets), repeats
        )
    except Exception as error:  # the table's subject
        return Result(error=f"{type(error).__name__}: {error}".split("\n")[0])
    return Result(
        None,
        ratio,
        float(sums.mean()),
        float(leaks.mean()),
        float((sums + leaks - 1).abs().max()),
    )


def gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """One forward pass and one input gradient: what a map is compared with."""
    leaf = x.clone().requires_grad_()
    logits = _tensor(model(leaf))
    (found,) = torch.autograd.grad(logits[torch.arange(len(x)), targets].sum(), leaf)
    return found


def _tensor(result: Any) -> Tensor:
    logits: Tensor = getattr(result, "logits", result)
    return logits


def _ratio(function: Callable[[], object], reference: Callable[[], object], repeats: int) -> float:
    """Ratio of the median process times, the two taken in turns after one round to warm up."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for one, times in zip((function, reference), taken, strict=True):
            start = time.process_time()
            one()
            if turn > 0:
                times.append(time.process_time() - start)
    return statistics.median(taken[0]) / statistics.median(taken[1])
