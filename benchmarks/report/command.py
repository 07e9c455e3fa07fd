"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result_files import RESULTS, folders_of


def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of results; by default all in benchmarks/results."),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="The page; one that is there already is replaced.")
    ] = RESULTS / "report.html",
    samples: Annotated[
        int, typer.Option(help="Images of each run to browse, spread evenly over it.")
    ] = 32,
    maps: Annotated[
        bool, typer.Option("--maps/--no-maps", help="Whether to show images and maps of them.")
    ] = True,
) -> None:
    """Write a page: tables that sort, figures, samples to browse, settings.

    It needs nothing but itself: no server, no network.

    Maps are made anew, as a run keeps none: models and data are needed.

    The page holds the images: who may see them may see it.
    """
    # Imported here, so that --help and a mistyped option need no torch.
    from benchmarks.report.build import write_report
    from gae_metric.commands.terminal import Terminal, report_errors

    terminal = Terminal()
    with report_errors(terminal):
        folders = folders_of(results, RESULTS)
        with terminal.err.status("") as status:
            size, problems = write_report(
                folders,
                output,
                samples=samples,
                maps=maps,
                progress=lambda what: status.update(what.replace("[", r"\[")),
            )
        for line in problems:
            terminal.say(line)
        terminal.say(f"wrote {output} ({size / 1e6:.1f} MB)")
