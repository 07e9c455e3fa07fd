"""A Ray cluster: one actor for each GPU, or for as many CPUs as a worker has threads."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import exceptions

import abslrp
import benchmarks
import gae_metric
from benchmarks.runner.addresses import check_address
from benchmarks.runner.worker import Outcome, Task, Worker
from gae_metric.errors import InputError

__all__ = ["RayEngine"]


class RayEngine:
    """Actors of a cluster.

    The project's own packages go to the cluster with the run; what they need, the data and the
    weights have to be on every node.

    Parameters
    ----------
    device
        ``"cuda"`` for an actor on every GPU, ``"cpu"`` for actors on CPUs.
    threads
        Threads of an actor.
    modules
        Modules that register more methods; every node must have them.
    address
        Of the cluster; by default the one that Ray finds (``RAY_ADDRESS``), or else a new one on
        this machine. Where this process has called ``ray.init`` already, that is used as it is.

    Raises
    ------
    InputError
        If there is no cluster there, or it has not one such device.
    """

    lost: tuple[type[BaseException], ...] = (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
    )

    def __init__(
        self,
        device: str = "cpu",
        threads: int = 1,
        modules: tuple[str, ...] = (),
        address: str | None = None,
    ) -> None:
        if not ray.is_initialized():
            check_address(address)
            packages = [str(Path(str(m.__file__)).parent) for m in (abslrp, benchmarks, gae_metric)]
            try:
                ray.init(
                    address=address,
                    log_to_driver=False,
                    runtime_env={"py_modules": packages, "excludes": ["results"]},
                    **({} if address else {"include_dashboard": False}),
                )
            except ConnectionError as error:
                raise InputError(f"address: no Ray cluster at {address!r}: {error}") from error
        self._options: dict[str, Any] = {
            "num_cpus": threads,
            "num_gpus": int(device.startswith("cuda")),
            # Not Ray's: the driver gives the shard to a new actor.
            "max_restarts": 0,
        }
        self._arguments = ("cuda" if device.startswith("cuda") else device, threads, modules)
        resources = ray.cluster_resources()
        if device.startswith("cuda"):
            slots = int(resources.get("GPU", 0))
        else:
            slots = int(resources.get("CPU", 0)) // threads
        if slots < 1:
            raise InputError(
                f"engine: the Ray cluster has {resources.get('CPU', 0):g} CPUs and "
                f"{resources.get('GPU', 0):g} GPUs, and a worker needs "
                f"{'one GPU' if device.startswith('cuda') else f'{threads} CPUs'}"
            )
        self._actors: list[Any] = [None] * slots

    @property
    def slots(self) -> int:
        """Number of actors."""
        return len(self._actors)

    def submit(self, slot: int, task: Task) -> Future[Outcome]:
        """Have an actor compute a shard."""
        if self._actors[slot] is None:
            actor = ray.remote(Worker).options(**self._options)
            self._actors[slot] = actor.remote(*self._arguments)
        future: Future[Outcome] = Future()
        self._actors[slot].run.remote(task).future().add_done_callback(partial(_pass_on, future))
        return future

    def restart(self, slot: int) -> None:
        """Let a new actor take the place of one that died."""
        self.release(slot)

    def release(self, slot: int) -> None:
        """End an actor, so that its CPUs or its GPU are free."""
        actor, self._actors[slot] = self._actors[slot], None
        if actor is not None:
            ray.kill(actor)


def _pass_on(future: Future[Outcome], theirs: Future[Outcome]) -> None:
    """Pass on what a worker raised itself, without Ray's wrapping."""
    error = theirs.exception()
    if error is None:
        future.set_result(theirs.result())
    elif isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, BaseException):
        future.set_exception(error.cause)
    else:
        future.set_exception(error)
