"""What the compatibility table says of one model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
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
        Relevance, of 1 at the target, that reaches the input, and that is lost in the ways of
        SPEC 1.3 which are known: the mean over samples.
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
        leaks = torch.stack([leak(model, x[i : i + 1], int(targets[i])) for i in range(BATCH)])
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


def leak(model: nn.Module, x: Tensor, target: int) -> Tensor:
    """Relevance lost in the two known ways (SPEC 1.3), for one sample.

    Summed over the graph's nodes: what a structural operation does not hand on, which is what
    lies on constants, and the whole of what an operation receives that hands on nothing, for none
    of its inputs contributes positively. Anything else that is lost is not counted.
    """
    leaf = x.clone().requires_grad_()
    # Relevance is normalised at every operation, which one of both signs makes the engine do.
    with abslrp.propagation(inputs=[leaf], signed=True):
        logits = _tensor(model(leaf.clone()))
    found: list[float] = []

    def watch(node: Any) -> Any:
        rule = hasattr(node, "operation")
        active = [one is not None for one, _ in node.next_functions]

        def after(sent: tuple[Any, ...], received: tuple[Any, ...]) -> None:
            # A concatenation works out gradients of constants, too.
            given = _total(received)
            kept = _total(one for one, goes in zip(sent, active, strict=True) if goes)
            if not rule or kept == 0:
                found.append(given - kept)

        return node.register_hook(after)

    handles = [watch(node) for node in _nodes(logits, leaf)]
    start = torch.zeros_like(logits)
    start[0, target] = 1
    torch.autograd.grad(logits, leaf, start)
    for handle in handles:
        handle.remove()
    return torch.tensor(sum(found), dtype=torch.float64)


def _total(tensors: Iterable[Any]) -> float:
    return sum(float(one.double().sum()) for one in tensors if isinstance(one, Tensor))


def _nodes(logits: Tensor, leaf: Tensor) -> list[Any]:
    """Return the nodes of a graph without the input's own."""
    waiting, seen = [logits.grad_fn], {logits.grad_fn}
    while waiting:
        node: Any = waiting.pop()
        for one, _ in node.next_functions:
            if one is not None and one not in seen and getattr(one, "variable", None) is None:
                seen.add(one)
                waiting.append(one)
    return list(seen)


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
