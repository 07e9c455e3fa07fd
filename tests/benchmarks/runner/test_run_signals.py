"""A run that is ended by a signal: its status, what it says, and that no process is left of it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import typer

from benchmarks.commands import of_runs as commands
from benchmarks.runner.collected import collect
from gae_metric.commands.terminal import Terminal, report_errors

PROC = Path("/proc")
WAYS = {
    "here": ["--devices", "cpu"],
    "readers": ["--devices", "cpu", "--readers", "2"],
    "ray": ["--devices", "cpu,cpu"],
}


def left(mark):
    """Processes that have a mark in their environment."""
    found = []
    for entry in PROC.iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes()[:80])
        except OSError:  # noqa: PERF203 - gone, or another user's
            continue
    return found


def stopped_as(comes):
    """Go through a stop of which something else comes."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        raise comes


@pytest.mark.parametrize("comes", [SystemExit(1), RuntimeError("the stop went through something")])
def test_whatever_becomes_of_a_stop(comes):
    """Where Ray waits, it makes status 1 of it."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped, commands._ended_by_sigterm(Terminal()):
        stopped_as(comes)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


class Falls:
    """A signal arrives while this is destroyed, where Python drops what is raised."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)
        time.sleep(0.01)


def fall(number):
    Falls(number)
    time.sleep(60)


def test_a_stop_that_falls_into_a_destructor():
    end = commands._ended_by_sigterm(Terminal())
    with pytest.raises(SystemExit) as stopped, report_errors(Terminal()), end:
        fall(signal.SIGTERM)
    assert stopped.value.code == 143


@pytest.fixture
def heard():
    """What a shell starts in the background, such as a test run, ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_that_falls_into_a_destructor(capsys, heard):
    hook = sys.unraisablehook
    with pytest.raises(typer.Exit) as stopped, report_errors(Terminal(), "all is kept"):
        fall(signal.SIGINT)
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().err == "all is kept\n"
    assert sys.unraisablehook is hook


def test_what_is_no_stop():
    with pytest.raises(KeyError), commands._ended_by_sigterm(Terminal()):
        raise KeyError
    # Of Ray's own handler, which stands while Ray starts.
    with pytest.raises(SystemExit) as stopped, commands._ended_by_sigterm(Terminal()):
        raise SystemExit(15)
    assert stopped.value.code == 143


@pytest.mark.slow
@pytest.mark.skipif(not PROC.is_dir(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_ended(tmp_path, way, number):
    if way == "ray":
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
    mark = f"GAE_TEST_MARK={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    command = [sys.executable, "-m", "benchmarks", "run", "--model", "digits:vgg", "--quiet"]
    command += ["--samples", "200", "--block", "4", "--method", "absLRP"]
    command += ["--metric", "C", "--threads", "1", "--output", str(tmp_path), *WAYS[way]]
    # Ray's workers would come after everything else that the machine does.
    own = {name: value, "RAY_worker_niceness": "0"}
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **own})
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("shards/*/abslrp/*.parquet"))) < 2:
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert left(mark.encode())
    run.send_signal(number)
    # Ends once nothing holds the pipe any more.
    _, said = run.communicate(timeout=30)
    ended = time.monotonic()
    while there := left(mark.encode()):
        assert time.monotonic() < ended + 30, there
        time.sleep(0.1)
    stopped = number == signal.SIGTERM
    assert run.returncode == (143 if stopped else -number)
    assert ("stopped; finished shards are kept" in said) is stopped
    assert "Traceback" not in said
    found = collect(tmp_path)
    assert found.failures.empty
    assert found.missing > 0
    assert not stopped or not list(tmp_path.rglob("*.tmp"))
