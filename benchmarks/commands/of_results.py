"""Commands that make tables, figures and pages of a run's results.

What they call is imported when it is, so that ``--help`` and a mistyped option need no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result_files import RESULTS, check_page, folders_of, outputs_of
from gae_metric.commands.declared import taking
from gae_metric.commands.terminal import Terminal, report_errors
from gae_metric.errors import InputError
from gae_metric.inputs.files import check_file


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
    with report_errors(Terminal()) as terminal:
        folders = folders_of(request.results)
        from benchmarks.runner.collected import newer
        from benchmarks.tables.against_paper import write_tables

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
    from benchmarks.figures.plan import check_numbers

    with report_errors(Terminal()) as terminal:
        numbers, images = check_numbers(request.figure or []), request.image or []
        for image in images:
            check_file(image.rpartition(":")[0] or image, "image")
        folders = folders_of(request.results)
        places = outputs_of(folders, request.output, "figures")
        from benchmarks.figures.write import write_figures

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
    with report_errors(Terminal()) as terminal:
        check_page(request.output, request.samples)
        folders = folders_of(request.results, RESULTS)
        from benchmarks.report.build import write_report

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
    with report_errors(Terminal()) as terminal:
        folders_of([results])
        from benchmarks.runner.collected import collect
        from benchmarks.tables.cost import costs

        table = costs(collect(results).seconds, images)
        if table.empty:
            raise InputError(f"results: no method of {str(results)!r} has been timed yet")
        shown = table.rename(columns={"per_image": "s / image"})
        text = shown.to_markdown(index=False, tablefmt="github", floatfmt=".3g")
        total = float(table["hours"].sum())
        shared = total / workers
        text += f"\n\n{images} images: {total:.3g} hours of one worker, {shared:.3g} of {workers}."
        terminal.done(text)


def evidence(
    results: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    score: Annotated[str, typer.Option(help="GAE, LC_R, LC_F, LC, C or another score.")] = "GAE",
) -> None:
    """Say what a run's networks show together, of all images and of those predicted right."""
    with report_errors(Terminal()) as terminal:
        folders_of([results])
        from benchmarks.runner.collected import collect
        from benchmarks.tables import evidence as compared

        collected = collect(results)
        text = [compared.LEGEND]
        for title, right in (("All images", False), ("Images predicted as labelled", True)):
            for name, table in compared.evidence(collected, score, right=right).items():
                text += [f"## {title}: {name}", table.to_markdown(tablefmt="github")]
        terminal.done("\n\n".join(text))
