"""The commands ``run``, ``status`` and ``tables``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.result_files import folders_of, outputs_of
from gae_metric._names import nearest
from gae_metric.commands.terminal import Terminal, report_errors
from gae_metric.errors import InputError

if TYPE_CHECKING:
    from benchmarks.runner.run import Summary


CONFIGS = Path(__file__).parent / "configs"


#: Options that may be repeated, and the keys of a configuration that they replace.
_KEYS = {"model": "models", "method": "methods", "metric": "metrics"}


def run(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file, or the name of one in benchmarks/configs."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model, such as timm:resnet50; may be repeated.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Local safetensors FILE of the model, or MODEL=FILE; may be repeated."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data, such as imagenet:DIR.")] = None,
    samples: Annotated[int | None, typer.Option(help="Number of images.")] = None,
    first: Annotated[int | None, typer.Option(help="Of these, how many are scored.")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method, or all, cnn, vit, paper-cnn, paper-vit; may be repeated."),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Metric; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of images, mosaics and noise.")] = None,
    block: Annotated[int | None, typer.Option(help="Samples of a shard.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Inputs that are evaluated at once.")] = (
        None
    ),
    engine: Annotated[str | None, typer.Option(help="local or ray.")] = None,
    devices: Annotated[
        str | None, typer.Option(help="A worker for each: cpu, or cuda:0,cuda:1 (by Ray).")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each worker.")] = None,
    readers: Annotated[int | None, typer.Option(help="Processes that read images.")] = None,
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
    output: Annotated[str | None, typer.Option(help="Folder of the results.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute what failed before again.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace/--resume",
            help="Replace finished results that are not part of this run, or only go on.",
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check the configuration, data and weights, say what it costs, and stop.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Evaluate methods on models; the same command goes on where a run stopped.

    Flags replace the configuration's keys. Without --config and --model it is digits.yaml.
    """
    # Imported here, so that --help and a mistyped option need no torch.
    from benchmarks.config.runs import Run, parse, read, weighted

    given = {_KEYS.get(name, name): value for name, value in context.params.items()}
    changes = {key: given[key] for key in Run.model_fields if given.get(key) not in (None, ())}
    if devices is not None:
        changes["devices"] = devices.split(",")
    terminal = Terminal()
    with report_errors(terminal):
        alone = config is None and model
        settings = parse(changes) if alone else read(config_of(config), **changes)
        settings = weighted(settings, weights or ())
        if check:
            from benchmarks.check import check_run

            check_run(settings, terminal.say)
            terminal.out.print("the configuration is right", markup=False)
            return
        from benchmarks.runner.run import execute

        with _ended_by_sigterm(terminal):
            summary = execute(
                settings,
                address=address,
                retry_failed=retry_failed,
                replace=replace,
                quiet=quiet,
                say=terminal.say,
            )
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


def config_of(given: Path | None) -> Path:
    """Return a file, or one of ours by its name."""
    if given is None:
        return CONFIGS / "digits.yaml"
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
    from benchmarks.runner.status import status as described

    terminal = Terminal()
    with report_errors(terminal):
        lines, whole = described(results)
        terminal.out.print("\n".join(lines), markup=False, soft_wrap=True)
        if not whole:
            raise typer.Exit(1)


def tables(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of results; by default all in benchmarks/results."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the tables, or of folders of them where there are several results; "
            "by default that of the results."
        ),
    ] = None,
) -> None:
    """Write tables 1 to 13 beside the paper's numbers: Markdown, CSV and LaTeX.

    Those of a run that is not finished go to tables-incomplete.md and so on.
    """
    from benchmarks.runner.collected import newer
    from benchmarks.tables.against_paper import write_tables

    terminal = Terminal()
    with report_errors(terminal):
        folders = folders_of(results)
        for folder, where in zip(folders, outputs_of(folders, output), strict=True):
            text, files = write_tables(folder, where)
            terminal.out.print(text, markup=False, soft_wrap=True)
            for path in files:
                terminal.say(f"wrote {path}")
            if newer(folder):
                terminal.say(
                    f"{folder}: a newer run is not finished, and the tables are of the finished "
                    f"one; `python -m benchmarks status {folder}` says what is missing"
                )
