"""Timing and memory, measured the same way for everything that is compared."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

import torch


def seconds(function: Callable[[], object], repeats: int, device: str = "cpu") -> float:
    """Median wall time of ``function`` over ``repeats`` calls, after one to warm up."""
    function()
    taken = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def interleaved(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[str, float]:
    """Median wall time of each function, one after the other in every round.

    Rounds share the machine's moods between what is compared, so that ratios mean something.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for name, function in functions.items():
        function()
        del name
    for _ in range(repeats):
        for name, function in functions.items():
            synchronize(device)
            start = time.perf_counter()
            function()
            synchronize(device)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def synchronize(device: str) -> None:
    """Wait for a CUDA device to finish."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_bytes(function: Callable[[], object], device: str = "cpu") -> int:
    """Peak memory of one call beyond what was there before.

    On a CPU this reads the process's resident size while the call runs, so it is meant for a
    fresh process (:func:`in_a_fresh_process`).
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before, peak, done = _resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(peak[0], _resident()) - before


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def in_a_fresh_process(*arguments: str) -> str:
    """Run ``python -m benchmarks.speed`` with these arguments and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
