"""Commands that run methods on models, and say what a run has and what could be run.

What they call is imported when it is, so that ``--help`` and a mistyped option need no torch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.result_files import folders_of
from gae_metric.commands.declared import taking
from gae_metric.commands.terminal import Terminal, report_errors
from gae_metric.errors import InputError, nearest

if TYPE_CHECKING:
    from benchmarks.runner.run import Summary


CONFIGS = Path(__file__).parents[1] / "configs"
#: Options that may be repeated, and the keys of a configuration that they replace.
_KEYS = {"model": "models", "method": "methods", "metric": "metrics"}


@dataclass(frozen=True)
class RunRequest:
    """What to run; flags replace the configuration's keys.

    Attributes
    ----------
    config
        YAML file, or the name of one in benchmarks/configs.
    model
        Model, such as timm:resnet50; may be repeated.
    weights
        Local safetensors FILE of the model, or MODEL=FILE; may be repeated.
    data
        Data, such as imagenet:DIR.
    samples
        Number of images.
    first
        Of these, how many are scored.
    method
        Method, or all, cnn, vit, paper-cnn, paper-vit; may be repeated.
    metric
        Metric; may be repeated.
    seed
        Of images, mosaics and noise.
    block
        Samples of a shard.
    batch_size
        Inputs that are evaluated at once.
    engine
        local or ray.
    devices
        A worker for each: cpu, or cuda:0,cuda:1 (by Ray).
    threads
        Threads of each worker.
    readers
        Processes that read images.
    address
        Of the Ray cluster.
    output
        Folder of the results.
    retry_failed
        Compute what failed before again.
    replace
        Replace finished results that are not part of this run, or only go on.
    check
        Check the configuration, data and weights, say what it costs, and stop.
    quiet
        Show no progress.
    """

    config: Path | None = None
    model: list[str] | None = None
    weights: list[str] | None = None
    data: str | None = None
    samples: int | None = None
    first: int | None = None
    method: list[str] | None = None
    metric: list[str] | None = None
    seed: int | None = None
    block: int | None = None
    batch_size: int | None = None
    engine: str | None = None
    devices: str | None = None
    threads: int | None = None
    readers: int | None = None
    address: str | None = None
    output: str | None = None
    retry_failed: bool = False
    replace: bool = field(default=False, metadata={"flags": ["--replace/--resume"]})
    check: bool = False
    quiet: bool = False


@taking(RunRequest)
def run(request: RunRequest) -> None:
    """Evaluate methods on models; the same command goes on where a run stopped.

    Flags replace the configuration's keys. Without --config and --model it is digits.yaml.
    """
    with report_errors(Terminal()) as terminal:
        file = config_of(request.config or CONFIGS / "digits.yaml")
        from benchmarks.config.runs import Run, parse, read, weighted

        given = {_KEYS.get(name, name): value for name, value in vars(request).items()}
        changes = {key: given[key] for key in Run.model_fields if given.get(key) not in (None, ())}
        if request.devices is not None:
            changes["devices"] = request.devices.split(",")
        alone = request.config is None and request.model
        settings = parse(changes) if alone else read(file, **changes)
        settings = weighted(settings, request.weights or ())
        if request.address and settings.engine != "ray":
            raise InputError("address: it is of a Ray cluster, which --engine ray makes use of")
        if request.check:
            from benchmarks.check import check_run

            check_run(settings, terminal.say)
            terminal.out.print("the configuration is right", markup=False)
            return
        from benchmarks.runner.run import execute

        with _ended_by_sigterm(terminal):
            options = {key: given[key] for key in ("address", "retry_failed", "replace", "quiet")}
            summary = execute(settings, **options, say=terminal.say)
        _tell(terminal, summary, settings.output)
        if summary.failed:
            raise typer.Exit(1)


@contextmanager
def _ended_by_sigterm(terminal: Terminal) -> Iterator[None]:
    """Stop in an orderly way, with status 143, at what batch systems end a job by."""
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        raise SystemExit

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException as error:
        # Ray makes of it another status where it waits and where it starts, or another error.
        if not (stopped or isinstance(error, SystemExit)):
            raise
        terminal.say("stopped; finished shards are kept: the same command goes on from there")
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def config_of(given: Path) -> Path:
    """Return a file, or one of ours by its name."""
    if os.path.exists(given) or given.parent != Path():
        return given
    name = given.name.removesuffix(".yaml")
    ours = CONFIGS / f"{name}.yaml"
    if not ours.exists():
        known = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
        raise InputError(
            f"config: there is no file {str(given)!r}, and in benchmarks/configs no {name!r}; "
            f"{nearest(name, known)}"
        )
    return ours


def _tell(terminal: Terminal, summary: Summary, output: str) -> None:
    terminal.say(f"{output}: {summary.computed} shards computed, {summary.found} were there")
    for file, reason in summary.skipped.items():
        terminal.say(f"left out: {repr(file)[1:-1]}: {reason}")  # a name may have lines
    if summary.skipped:
        terminal.say(f"{len(summary.skipped)} images were left out")
    for text, count in summary.inapplicable.items():
        terminal.say(f"does not apply: {text} ({count} shards)")
    for text, count in summary.failed.items():
        terminal.say(f"failed: {text} ({count} shards)")
    if summary.failed:
        terminal.say("--retry-failed computes them again")


def status(
    results: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
) -> None:
    """Say what is there, missing or damaged, by whom and with which versions.

    Ends with status 1 unless all is there and whole.
    """
    with report_errors(Terminal()) as terminal:
        folders_of([results])
        from benchmarks.runner.status import status as described

        lines, whole = described(results)
        terminal.done("\n".join(lines))
        if not whole:
            raise typer.Exit(1)


def methods(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model of the matrix; may be repeated. Default: the three of digits."),
    ] = None,
) -> None:
    """List the methods, and which of them explains which network."""
    from benchmarks.methods.matrix import DIGITS, compatibility

    with report_errors(Terminal()) as terminal:
        names = model or list(DIGITS)
        with terminal.err.status("") as status:
            matrix = compatibility(names, lambda spec, name: status.update(f"{spec}: {name}"))
        rows = ["method", "models", "source"]
        wide = matrix.pivot_table("cell", rows, "model", "first", sort=False).reset_index()
        terminal.done(wide.to_markdown(index=False, tablefmt="simple"))
        lacking = matrix[~matrix["applies"]]
        for (spec, reason), part in lacking.groupby(["model", "reason"], sort=False):
            what = f"failed, {reason}" if part["failed"].any() else reason
            terminal.done(f"{spec}: {', '.join(part['method'])}: {what}")
        if matrix["failed"].any():
            raise typer.Exit(1)
