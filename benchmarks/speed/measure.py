"""Timing and memory, measured the same way for everything that is compared, however it is run."""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import torch
from torch import nn

import abslrp

Mode = Literal["plain", "compiled", "autocast", "recorded"]
MODES: tuple[Mode, ...] = get_args(Mode)
Work: TypeAlias = Callable[[], object]
"""What is timed."""


def prepared(model: nn.Module, mode: Mode) -> nn.Module:
    """Return the model, or one that is compiled when it is called first."""
    return cast("nn.Module", torch.compile(model)) if mode == "compiled" else model


def context(mode: Mode, device: str) -> torch.autocast:
    """Return the context of its calls: bfloat16, if any.

    In float16 relevance leaves the type's range, so that absLRP's products are float32 there.

    Examples
    --------
    >>> with context("autocast", "cpu"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mode == "autocast")


def explainer(mode: Mode) -> Callable[..., Any]:
    """Return absLRP, or what records its kernels and replays them.

    Examples
    --------
    >>> explainer("plain").__name__
    'explain'
    """
    return abslrp.GraphExplainer() if mode == "recorded" else abslrp.explain


def within(work: Work, mode: Mode, device: str) -> Work:
    """Return work to be done in the context of a mode."""
    wrapped: Work = context(mode, device)(work)
    return wrapped


K = TypeVar("K")


def interleaved(functions: Mapping[K, Work], repeats: int, device: str = "cpu") -> dict[K, float]:
    """Least wall time of each function, one after the other in every round.

    Rounds share the machine's moods between what is compared, so that ratios mean something.
    """
    taken: dict[K, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        for _ in range(3 if device.startswith("cuda") else 1):  # also for what is recorded
            function()
    for _ in range(repeats):
        for name, function in functions.items():
            synchronize(device)
            start = time.perf_counter()
            function()
            synchronize(device)
            taken[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in taken.items()}


def synchronize(device: str) -> None:
    """Wait for a CUDA device to finish."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_bytes(function: Work, device: str = "cpu") -> int:
    """Peak memory of one call beyond what was there before.

    On a CPU it is the process's resident size, as the kernel counts it, so it is meant for a fresh
    process (:func:`in_a_fresh_process`).
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the most so far counts no more
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def peak(function: Work, device: str, work: Callable[..., Work], *arguments: Any) -> float:
    """Peak memory of some work in bytes: on a CPU, in a fresh process that ``work`` makes it in.

    A GPU's allocator counts exactly, whatever ran before.
    """
    if device.startswith("cuda"):
        return float(peak_bytes(function, device))
    return float(in_a_fresh_process(work, *arguments))


def _resident(what: str) -> int:
    """Return the memory of this process: VmRSS, what it has, or VmHWM, the most that it had."""
    (kibibytes,) = re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kibibytes) << 10


def in_a_fresh_process(work: Callable[..., Work], *arguments: Any) -> int:
    """Measure the function that ``work`` returns for these arguments, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measured, work, *arguments).result()


def _measured(work: Callable[..., Work], *arguments: Any) -> int:
    return peak_bytes(work(*arguments))
