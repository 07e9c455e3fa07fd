"""Workers of Ray: one for each device of this machine, or for each GPU or CPUs of a cluster."""

import logging
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import exceptions

import abslrp
import benchmarks
import gae_metric
from benchmarks.runner.addresses import check_address
from benchmarks.runner.worker import Outcome, Task, Worker, failure, rows
from gae_metric.errors import InputError, refusing

#: Errors that mean that the worker is no more, not that it failed.
_LOST = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
)


class WorkerLostError(RuntimeError):
    """A worker died while it computed a shard."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use a Ray; what is started or connected to here is let go in the end.

    The project's own packages go there; what they need, the data and the weights have to be on
    every node.

    Parameters
    ----------
    address
        Of a cluster, or ``"local"`` for a new Ray on this machine; by default the one that Ray
        finds (``RAY_ADDRESS``), or else a new one. Where this process has called ``ray.init``
        already, that is used as it is.

    Raises
    ------
    InputError
        If there is no cluster there.
    """
    if ray.is_initialized():
        yield
        return
    check_address(address)
    packages = [str(Path(str(m.__file__)).parent) for m in (abslrp, benchmarks, gae_metric)]
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    if address == "local":
        # Its actors ask for no CPUs, and none are made beforehand.
        options = {"include_dashboard": False, "num_cpus": 0}
    handler = signal.getsignal(signal.SIGTERM)
    others = _children()
    with refusing(f"address: no Ray cluster at {address!r}", ConnectionError):
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"py_modules": packages, "excludes": ["results"]},
            **options,
        )
    if threading.current_thread() is threading.main_thread() and callable(handler):
        # Ray's own would abort a run that stops in an orderly way.
        signal.signal(signal.SIGTERM, handler)
    watch = _killed_with_this_process(_children() - others) if address == "local" else None
    try:
        yield
    finally:
        ray.shutdown()
        if watch is not None:
            watch.communicate(b"over\n")


def _children() -> set[int]:
    return {each.pid for each in psutil.Process().children(recursive=True)}


def _killed_with_this_process(started: set[int]) -> subprocess.Popen[bytes]:
    """Have processes end soon after this one, if it is killed.

    Ray's agents would first look for its server, which is gone by then, for a minute.
    """
    script = 'read -r over || { sleep 10; kill -9 "$@"; }'
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *map(str, started)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def actors(
    devices: Sequence[str], threads: int, modules: tuple[str, ...], retries: int, *, local: bool
) -> list[Callable[[], Any]]:
    """Return what starts each worker.

    Parameters
    ----------
    devices
        Of this machine, a worker for each, one of which may be there several times; of a cluster
        ``"cuda"`` for a worker on every GPU, or ``"cpu"`` for workers on CPUs.
    threads
        Threads of a worker, and so its CPUs.
    modules
        Modules that register more methods; every node must have them.
    retries
        Times that a shard whose worker died is tried again.
    local
        Whether the workers are of this machine.

    Raises
    ------
    InputError
        If a cluster has not one such device.
    """
    if local:
        # Whoever names the devices has shared out the machine: Ray neither counts nor hides any.
        shown = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
        options: dict[str, Any] = {"num_cpus": 0, "runtime_env": shown}
    else:
        cuda = devices[0].startswith("cuda")
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
        number = int(gpus) if cuda else int(cpus) // threads
        if number < 1:
            raise InputError(
                f"engine: the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs, and a worker needs "
                f"{'one GPU' if cuda else f'{threads} CPUs'}"
            )
        devices = ["cuda" if cuda else devices[0]] * number
        options = {"num_cpus": threads, "num_gpus": int(cuda)}
    actor = ray.remote(Worker).options(max_restarts=-1, max_task_retries=retries, **options)
    return [partial(actor.remote, device, threads, modules) for device in devices]


def actor_outcomes(
    workers: Sequence[Callable[[], Any]], jobs: Sequence[Sequence[Task]], retries: int
) -> Generator[tuple[Task, Outcome], None, None]:
    """Have shards computed; those of one job by one worker, which keeps their trajectories.

    Parameters
    ----------
    workers
        What starts each worker.
    jobs
        Shards of the same block, in order.
    retries
        Times that a worker tries a shard again after its death.

    Yields
    ------
    Each shard with its outcome, as they come.
    """
    waiting = deque(deque(job) for job in jobs if job)
    running: dict[Any, tuple[Any, deque[Task], Task]] = {}

    def submit(actor: Any, job: deque[Task]) -> None:
        task = job.popleft()
        running[actor.run.remote(task)] = (actor, job, task)

    try:
        for start in workers:
            if waiting:
                submit(start(), waiting.popleft())
        while running:
            (done,), _ = ray.wait(list(running))
            actor, job, task = running[done]
            yield task, _outcome(done, task, retries)
            del running[done]
            if job or waiting:
                submit(actor, job or waiting.popleft())
            else:
                # Its CPUs or its GPU are free for a worker that has to be started anew.
                ray.kill(actor)
    finally:
        for actor, _, _ in running.values():
            ray.kill(actor)


def _outcome(reference: Any, task: Task, retries: int) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except exceptions.RayTaskError as error:
        # What the worker raised itself, without Ray's wrapping.
        raise (error.cause if isinstance(error.cause, BaseException) else error) from None
    except _LOST as error:
        lost = WorkerLostError(f"its worker died {retries + 1} times: {error}")
        return Outcome(rows({}, task.block), failures=[failure(lost)])
    return outcome
