"""A run that is killed at any point goes on where it stopped, and gives the same table."""

import io
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.config.runs import parse
from benchmarks.runner import store as storing
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute

#: Things a run does to its folder; killed before one of them, it has done those that came before.
STEPS = ("write", "fsync", "replace")


def settings(output):
    return parse(
        {
            "models": "digits:vgg",
            "samples": 8,
            "block": 2,
            "methods": ["Quick", "Constant", "Fails"],
            "metrics": "C",
            "modules": "tests.benchmarks.fakes",
            "output": str(output),
            "threads": 1,
        }
    )


def child(output, die_at):
    """Run in a process of its own; be killed at the n-th step, if there is one."""
    if die_at is not None:
        steps = iter(range(10**6))

        def die():
            if next(steps) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        def before(function):
            def call(*arguments, **options):
                die()
                return function(*arguments, **options)

            return call

        class Slow(io.FileIO):
            """A file that gets its content in two halves."""

            def write(self, content):
                half = len(content) // 2
                super().write(content[:half])
                die()
                return super().write(content[half:])

        def opened(path, mode="r", *arguments, **options):
            return Slow(path, "w") if mode == "wb" else whole(path, mode, *arguments, **options)

        whole, Path.open = Path.open, opened
        for name in STEPS[1:]:
            setattr(os, name, before(getattr(os, name)))
    execute(settings(output), quiet=True)


@pytest.fixture(scope="module")
def processes():
    # One process that has imported everything, of which the others are forked.
    context = multiprocessing.get_context("forkserver")
    names = ("test_run_kills", "warmed")
    context.set_forkserver_preload([f"tests.benchmarks.runner.{name}" for name in names])
    return context


def start(processes, output, die_at=None):
    process = processes.Process(target=child, args=(output, die_at))
    process.start()
    return process


@pytest.fixture(scope="module")
def unbroken(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    start(processes, folder / "warm").join()
    begin = time.perf_counter()
    process = start(processes, folder / "run")
    process.join()
    assert process.exitcode == 0
    return folder / "run", time.perf_counter() - begin


def contents(folder):
    """Files of the tables, byte by byte, and the names of the shards."""
    names = ("scores", "targets")
    shards = sorted(str(p.relative_to(folder)) for p in (folder / "shards").rglob("*.*"))
    return {name: (folder / f"{name}.parquet").read_bytes() for name in names} | {"shards": shards}


def finished(folder):
    """How many shards can be read; every file that has its final name can."""
    store = storing.Store(folder)
    files = [p for p in (folder / "shards").rglob("*.parquet") if not p.name.startswith(".")]
    keys = [str(p.relative_to(folder / "shards"))[: -len(".parquet")] for p in files]
    for key in keys:
        assert store.read(key)[1]["versions"]
    return len(keys)


def test_killed_twenty_times(processes, unbroken, tmp_path):
    """Ten times at a random step of writing, ten times at a random moment."""
    whole, seconds = unbroken
    rng = np.random.default_rng(0)
    kills, before, folder, rounds = 0, 0, tmp_path / "0", 0
    while kills < 20:
        at_step = kills % 2 == 0
        process = start(processes, folder, int(rng.integers(0, 40)) if at_step else None)
        if not at_step:
            process.join(rng.uniform(0.2, 1) * seconds)
            process.kill()
        process.join()
        after = finished(folder)
        assert after >= before  # nothing that was finished is lost
        before = after
        if process.exitcode == -signal.SIGKILL:
            kills += 1
        else:
            # It came to its end before it was killed: from the beginning.
            assert process.exitcode == 0
            assert contents(folder) == contents(whole)
            rounds += 1
            before, folder = 0, tmp_path / str(rounds)
    process = start(processes, folder)
    process.join()
    assert process.exitcode == 0
    assert contents(folder) == contents(whole)
    assert collect(folder).missing == 0
    assert not list(folder.rglob("*.tmp"))


def test_each_step_of_writing_a_shard(processes, unbroken, tmp_path):
    """Killed at three steps after one another, around the first shards of scores."""
    whole, _ = unbroken
    for step in range(16, 22):
        process = start(processes, tmp_path / "out", step)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        finished(tmp_path / "out")
    process = start(processes, tmp_path / "out")
    process.join()
    assert contents(tmp_path / "out") == contents(whole)
