"""Where shards are computed: in this process, in one for each device, or on a Ray cluster.

An engine lends slots, each a worker that computes one shard at a time. What a slot is makes no
difference to a score.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

import torch

from benchmarks.config.runs import Run
from benchmarks.runner.worker import Outcome, Task, Worker, failure, rows
from gae_metric.errors import InputError

__all__ = ["Engine", "LocalEngine", "ProcessEngine", "WorkerLostError", "open_engine", "schedule"]


class WorkerLostError(RuntimeError):
    """A worker died while it computed a shard."""


class Engine(Protocol):
    """Slots that compute."""

    #: Errors that mean that the worker is no more, not that it failed.
    lost: tuple[type[BaseException], ...]

    @property
    def slots(self) -> int:
        """Number of workers."""

    def submit(self, slot: int, task: Task) -> Future[Outcome]:
        """Have a slot compute a shard."""

    def restart(self, slot: int) -> None:
        """Put a new worker in the place of one that died."""

    def release(self, slot: int) -> None:
        """Let a worker go for which there is no more to do."""


class LocalEngine:
    """The process itself."""

    lost: tuple[type[BaseException], ...] = ()
    slots = 1

    def __init__(self, device: str, threads: int, modules: tuple[str, ...]) -> None:
        self._worker = Worker(device, threads, modules)

    def submit(self, slot: int, task: Task) -> Future[Outcome]:
        """Compute a shard at once."""
        del slot
        future: Future[Outcome] = Future()
        try:
            future.set_result(self._worker.run(task))
        except Exception as error:
            future.set_exception(error)
        return future

    def restart(self, slot: int) -> None:
        """Never asked for."""

    def release(self, slot: int) -> None:
        """Nothing to let go."""


class ProcessEngine:
    """A process for each device of this machine."""

    lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, devices: Sequence[str], threads: int, modules: tuple[str, ...]) -> None:
        self._arguments = [(device, threads, modules) for device in devices]
        self._pools: list[ProcessPoolExecutor | None] = [None] * len(devices)

    @property
    def slots(self) -> int:
        """Number of devices."""
        return len(self._pools)

    def submit(self, slot: int, task: Task) -> Future[Outcome]:
        """Have a device's process compute a shard."""
        pool = self._pools[slot]
        if pool is None:
            pool = self._pools[slot] = ProcessPoolExecutor(
                1,
                # Not forked: CUDA does not live through it.
                multiprocessing.get_context("spawn"),
                initializer=_start,
                initargs=self._arguments[slot],
            )
        return pool.submit(_run, task)

    def restart(self, slot: int) -> None:
        """Put a new process in the place of one that died."""
        self.release(slot)

    def release(self, slot: int) -> None:
        """End a device's process."""
        pool, self._pools[slot] = self._pools[slot], None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


#: The worker of a process of :class:`ProcessEngine`.
_WORKER: list[Worker] = []


def _start(device: str, threads: int, modules: tuple[str, ...]) -> None:
    _WORKER[:] = [Worker(device, threads, modules)]


def _run(task: Task) -> Outcome:
    return _WORKER[0].run(task)


def open_engine(run: Run, address: str | None = None) -> Engine:
    """Return the engine that a run asks for.

    Parameters
    ----------
    run
        The run.
    address
        Address of a Ray cluster; by default the one that Ray finds, or else a new one here.

    Raises
    ------
    InputError
        If a device is not there, or Ray is not installed.
    """
    threads = run.threads or torch.get_num_threads()
    if run.engine == "ray":
        try:
            from benchmarks.runner.ray_engine import RayEngine
        except ImportError as error:
            raise InputError(
                "engine: ray is not installed: pip install 'gae-metric[ray]'"
            ) from error
        return RayEngine(run.devices[0], threads, run.modules, address)
    for device in run.devices:
        index = torch.device(device).index or 0
        if device.startswith("cuda") and index >= torch.cuda.device_count():
            raise InputError(
                f"devices: there is no {device}; this machine has {torch.cuda.device_count()} of "
                "CUDA's"
            )
    if len(run.devices) == 1:
        return LocalEngine(run.devices[0], threads, run.modules)
    return ProcessEngine(run.devices, threads, run.modules)


def schedule(
    engine: Engine, jobs: Sequence[Sequence[Task]], retries: int
) -> Generator[tuple[Task, Outcome], None, None]:
    """Have shards computed; those of one job by one worker, which keeps their trajectories.

    Parameters
    ----------
    engine
        Where.
    jobs
        Shards of the same block, in order.
    retries
        Times that a shard whose worker died is tried again, before that is its outcome.

    Yields
    ------
    Each shard with its outcome, as they come. The next shard of a slot begins when it is asked for.
    """
    waiting = deque(deque(job) for job in jobs if job)
    mine: dict[int, deque[Task]] = {slot: deque() for slot in range(engine.slots)}
    running: dict[Future[Outcome], tuple[int, Task]] = {}
    deaths: Counter[str] = Counter()

    def feed(slot: int) -> None:
        if not mine[slot] and waiting:
            mine[slot] = waiting.popleft()
        if mine[slot]:
            task = mine[slot].popleft()
            running[engine.submit(slot, task)] = (slot, task)
        else:
            engine.release(slot)

    try:
        for slot in range(engine.slots):
            feed(slot)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, task = running.pop(future)
                try:
                    yield task, future.result()
                except engine.lost as error:
                    engine.restart(slot)
                    deaths[task.shard.key] += 1
                    if deaths[task.shard.key] > retries:
                        times = deaths[task.shard.key]
                        dead = WorkerLostError(f"its worker died {times} times: {error}")
                        yield task, Outcome(rows({}, task.block), failures=[failure(dead)])
                    else:
                        mine[slot].appendleft(task)
                    # For whichever slot is free first.
                    if mine[slot]:
                        waiting.appendleft(mine[slot])
                        mine[slot] = deque()
                feed(slot)
    finally:
        for slot in range(engine.slots):
            engine.release(slot)
