"""Which share of the time a device computes, and which share of it for the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.speed.measure import synchronize

_LABEL = "benchmarks: model"


@dataclass(frozen=True)
class Shares:
    """Parts of the wall time of some work, 0 to 1.

    Attributes
    ----------
    model
        In which the model is evaluated, differentiated or propagated through. On a GPU: of its
        kernels' time; on a CPU: of the calls'.
    busy
        In which the device computes anything. On a CPU: 1.
    """

    model: float
    busy: float


def shares(work: Callable[[], object], model: nn.Module, device: str = "cpu") -> Shares:
    """Measure one call, after one to warm up.

    Parameters
    ----------
    work
        What is measured.
    model
        Whose evaluations are looked for; those within one another count once.
    device
        Where it computes.
    """
    work()
    synchronize(device)
    if not device.startswith("cuda"):
        with _marked(model) as marks:
            start = time.perf_counter()
            work()
            wall = time.perf_counter() - start
        return Shares(min(1.0, covered(marks) / wall), 1.0)
    with (
        _marked(model),
        _replays() as replayed,
        profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded,
    ):
        start = time.perf_counter()
        work()
        synchronize(device)
        wall = time.perf_counter() - start
    found = of_events(recorded.events() or [], wall * 1e6)
    # A profile does not say whose the kernels of a recording are.
    replays = sum(before.elapsed_time(after) for before, after in replayed) / 1e3
    return Shares(min(1.0, found.model + replays / wall), found.busy)


def of_events(events: Iterable[Any], wall: float) -> Shares:
    """Return the shares that a profile of a GPU shows.

    Parameters
    ----------
    events
        Of ``torch.profiler``; times in microseconds.
    wall
        How long all took, in microseconds.
    """
    own = [event for event in events if "CPU" in str(event.device_type)]
    every = [e.time_range for e in events if "CPU" not in str(e.device_type)]
    marks = [event.time_range for event in own if event.name == _LABEL]
    # A backward pass launches its kernels from a thread of its own, while the mark lasts.
    of_model = [
        kernel.duration
        for event in own
        if event.kernels and any(m.start <= event.time_range.start <= m.end for m in marks)
        for kernel in event.kernels
    ]
    busy = covered((span.start, span.end) for span in every)
    return Shares(min(1.0, sum(of_model) / wall), min(1.0, busy / wall))


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of what some spans cover together.

    Examples
    --------
    >>> covered([(0, 2), (1, 3), (5, 6), (5, 5.5)])
    4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


@contextmanager
def _replays() -> Iterator[list[tuple[Any, Any]]]:
    """Note when a GPU begins and ends to replay recorded kernels."""
    spans: list[tuple[Any, Any]] = []
    replay = torch.cuda.CUDAGraph.replay

    def noted(graph: Any) -> None:
        before: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        after: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        before.record()
        replay(graph)
        after.record()
        spans.append((before, after))

    graphs: Any = torch.cuda.CUDAGraph
    graphs.replay = noted
    try:
        yield spans
    finally:
        graphs.replay = replay


@contextmanager
def _marked(model: nn.Module) -> Iterator[list[tuple[float, float]]]:
    """Mark what is evaluated and differentiated of a model, in a profile and by the clock."""
    opened: list[tuple[Any, float]] = []
    spans: list[tuple[float, float]] = []

    def begin(*arguments: Any) -> None:
        mark: Any = record_function(_LABEL)
        mark.__enter__()
        opened.append((mark, time.perf_counter()))

    def end(*arguments: Any) -> None:
        mark, start = opened.pop()
        spans.append((start, time.perf_counter()))
        mark.__exit__(None, None, None)

    grad = torch.autograd.grad

    def marked(*args: Any, **kwargs: Any) -> Any:
        begin()
        try:
            return grad(*args, **kwargs)
        finally:
            end()

    hooks = [
        model.register_forward_pre_hook(begin),
        model.register_forward_hook(end, always_call=True),
    ]
    torch.autograd.grad = marked
    try:
        yield spans
    finally:
        torch.autograd.grad = grad
        for hook in hooks:
            hook.remove()
