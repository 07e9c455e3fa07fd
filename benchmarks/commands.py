"""The commands of ``python -m benchmarks``.

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

from benchmarks.result_files import RESULTS, folders_of, outputs_of
from gae_metric._names import nearest
from gae_metric.commands.declared import taking
from gae_metric.commands.terminal import Terminal, report_errors
from gae_metric.errors import InputError

if TYPE_CHECKING:
    from benchmarks.runner.run import Summary


CONFIGS = Path(__file__).parent / "configs"
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
    from benchmarks.config.runs import Run, parse, read, weighted

    given = {_KEYS.get(name, name): value for name, value in vars(request).items()}
    changes = {key: given[key] for key in Run.model_fields if given.get(key) not in (None, ())}
    if request.devices is not None:
        changes["devices"] = request.devices.split(",")
    with report_errors(Terminal()) as terminal:
        alone = request.config is None and request.model
        settings = parse(changes) if alone else read(config_of(request.config), **changes)
        settings = weighted(settings, request.weights or ())
        if request.check:
            from benchmarks.check import check_run

            check_run(settings, terminal.say)
            terminal.out.print("the configuration is right", markup=False)
            return
        from benchmarks.runner.run import execute

        with _ended_by_sigterm(terminal):
            summary = execute(
                settings,
                address=request.address,
                retry_failed=request.retry_failed,
                replace=request.replace,
                quiet=request.quiet,
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

    with report_errors(Terminal()) as terminal:
        lines, whole = described(results)
        terminal.done("\n".join(lines))
        if not whole:
            raise typer.Exit(1)


@dataclass(frozen=True)
class ResultsRequest:
    """Of which runs something is made.

    Attributes
    ----------
    results
        Folders of results; by default all in benchmarks/results.
    """

    results: list[Path] | None = field(default=None, metadata={"kind": typer.Argument})


@dataclass(frozen=True)
class TablesRequest(ResultsRequest):
    """Where tables go.

    Attributes
    ----------
    output
        Folder of the tables, or of folders of them where there are several results; by default
        that of the results.
    """

    output: Path | None = None


@taking(TablesRequest)
def tables(request: TablesRequest) -> None:
    """Write tables 1 to 13 beside the paper's numbers: Markdown, CSV and LaTeX.

    Those of a run that is not finished go to tables-incomplete.md and so on.
    """
    from benchmarks.runner.collected import newer
    from benchmarks.tables.against_paper import write_tables

    with report_errors(Terminal()) as terminal:
        folders = folders_of(request.results)
        for folder, where in zip(folders, outputs_of(folders, request.output), strict=True):
            text, files = write_tables(folder, where)
            terminal.done(text)
            for path in files:
                terminal.say(f"wrote {path}")
            if newer(folder):
                terminal.say(
                    f"{folder}: a newer run is not finished, and the tables are of the finished "
                    f"one; `python -m benchmarks status {folder}` says what is missing"
                )


@dataclass(frozen=True)
class FiguresRequest(ResultsRequest):
    """Which figures are drawn.

    Attributes
    ----------
    output
        Folder of the figures; by default figures/ in that of the results.
    figure
        Figure of the paper, 2-8 or 10-16; may be repeated. Default: all.
    image
        Image of several classes for figures 7, 8 and 16, by the model's numbers, such as
        both.png:243,281; may be repeated. Default: those of the run.
    """

    output: Path | None = None
    figure: list[int] | None = None
    image: list[str] | None = None


@taking(FiguresRequest)
def figures(request: FiguresRequest) -> None:
    """Draw figures 2 to 8 and 10 to 16 for a run: PNG and PDF.

    A line for each says what stands in it for the paper's network, data and methods. What a run
    has nothing to show for is skipped, with a line that says why. Ends with status 1 where nothing
    could be drawn.
    """
    from benchmarks.figures.write import check_numbers, write_figures

    with report_errors(Terminal()) as terminal:
        numbers, images = check_numbers(request.figure or []), request.image or ()
        folders = folders_of(request.results)
        places = outputs_of(folders, request.output, "figures")
        count = 0
        for folder, where in zip(folders, places, strict=True):
            others = [other for other in folders if other != folder]
            count += len(write_figures(folder, where, numbers, terminal.say, others, images))
        if not count:
            raise typer.Exit(1)


@dataclass(frozen=True)
class ReportRequest(ResultsRequest):
    """What the page shows.

    Attributes
    ----------
    output
        The page; one that is there already is replaced.
    samples
        Images of each run to browse, spread evenly over it.
    maps
        Whether to show images and maps of them.
    """

    output: Path = RESULTS / "report.html"
    samples: int = 32
    maps: bool = True


@taking(ReportRequest)
def report(request: ReportRequest) -> None:
    """Write a page: tables that sort, figures, samples to browse, settings.

    It needs nothing but itself: no server, no network.

    Maps are made anew, as a run keeps none: models and data are needed.

    The page holds the images: who may see them may see it.
    """
    from benchmarks.report.build import write_report

    with report_errors(Terminal()) as terminal:
        folders = folders_of(request.results, RESULTS)
        with terminal.err.status("") as status:
            size, problems = write_report(
                folders,
                request.output,
                samples=request.samples,
                maps=request.maps,
                progress=lambda what: status.update(what.replace("[", r"\[")),
            )
        for line in problems:
            terminal.say(line)
        terminal.say(f"wrote {request.output} ({size / 1e6:.1f} MB)")


def cost(
    results: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    images: Annotated[int, typer.Option(min=1, help="Images to extrapolate to.")] = 50_000,
    workers: Annotated[int, typer.Option(min=1, help="Devices that share the work.")] = 1,
) -> None:
    """Extrapolate a run's measured time to more images and more devices of the same kind."""
    from benchmarks.runner.collected import collect
    from benchmarks.tables.cost import costs

    with report_errors(Terminal()) as terminal:
        table = costs(collect(results).seconds, images)
        if table.empty:
            raise InputError(f"results: no method of {str(results)!r} has been timed yet")
        names = {"per_image": "s / image"}
        text = table.rename(columns=names).to_markdown(
            index=False, tablefmt="github", floatfmt=".3g"
        )
        total = float(table["hours"].sum())
        shared = total / workers
        text += f"\n\n{images} images: {total:.3g} hours of one worker, {shared:.3g} of {workers}."
        terminal.done(text)


def evidence(
    results: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    score: Annotated[str, typer.Option(help="GAE, LC_R, LC_F, LC, C or another score.")] = "GAE",
) -> None:
    """Say what a run's networks show together, of all images and of those predicted right."""
    from benchmarks.runner.collected import collect
    from benchmarks.tables import evidence as compared

    with report_errors(Terminal()) as terminal:
        collected = collect(results)
        text = [compared.LEGEND]
        for title, right in (("All images", False), ("Images predicted as labelled", True)):
            for name, table in compared.evidence(collected, score, right=right).items():
                text += [f"## {title}: {name}", table.to_markdown(tablefmt="github")]
        terminal.done("\n\n".join(text))


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
