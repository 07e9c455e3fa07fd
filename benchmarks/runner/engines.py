"""Where shards are computed: in this process, by default, or by workers of Ray.

Ray is for more than one worker, on this machine or a cluster. Which it is makes no difference to a
score.
"""

from collections.abc import Generator, Sequence

import torch

from benchmarks.config.runs import Run
from benchmarks.runner.worker import Outcome, Task, Worker
from gae_metric.errors import InputError
from gae_metric.study.conversion import usable_device


def compute(
    run: Run, jobs: Sequence[Sequence[Task]], address: str | None = None
) -> Generator[tuple[Task, Outcome], None, None]:
    """Have shards computed; those of one job by one worker, which keeps their trajectories.

    Parameters
    ----------
    run
        The run, which says by what.
    jobs
        Shards of the same block, in order.
    address
        Address of a Ray cluster; by default the one that Ray finds, or else a new one here.

    Yields
    ------
    Each shard with its outcome, as they come. A worker's next shard begins when it is asked for.

    Raises
    ------
    InputError
        If a device is not there, or Ray is not installed.
    """
    threads = run.threads or torch.get_num_threads()
    local = run.engine == "local"
    for device in run.devices if local else ():
        usable_device(device)
    if local and len(run.devices) == 1:
        worker = Worker(run.devices[0], threads, run.modules)
        yield from ((task, worker.run(task)) for job in jobs for task in job)
        return
    try:
        from benchmarks.runner.ray_engine import actor_outcomes, actors, connected
    except ImportError as error:
        what = "engine" if run.engine == "ray" else "devices: more than one worker needs Ray"
        raise InputError(f"{what}: ray is not installed: pip install 'gae-metric[ray]'") from error
    with connected("local" if local else address):
        workers = actors(run.devices, threads, run.modules, run.retries, local=local)
        yield from actor_outcomes(workers, jobs, run.retries)
