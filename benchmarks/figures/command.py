"""The command ``figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result_files import folders_of, outputs_of


def figures(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of results; by default all in benchmarks/results."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the figures; by default figures/ in that of the results."),
    ] = None,
    figure: Annotated[
        list[int] | None,
        typer.Option(help="Figure of the paper, 2-8 or 10-16; may be repeated. Default: all."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="Image of several classes for figures 7, 8 and 16, by the model's numbers, such "
            "as both.png:243,281; may be repeated. Default: those of the run."
        ),
    ] = None,
) -> None:
    """Draw figures 2 to 8 and 10 to 16 for a run: PNG and PDF.

    A line for each says what stands in it for the paper's network, data and methods. What a run
    has nothing to show for is skipped, with a line that says why. Ends with status 1 where nothing
    could be drawn.
    """
    # Imported here, so that --help and a mistyped option need no torch.
    from benchmarks.figures.write import check_numbers, write_figures
    from gae_metric.commands.terminal import Terminal, report_errors

    terminal = Terminal()
    with report_errors(terminal):
        numbers = check_numbers(figure or [])
        folders = folders_of(results)
        count = 0
        for folder, where in zip(folders, outputs_of(folders, output, "figures"), strict=True):
            others = [other for other in folders if other != folder]
            written = write_figures(folder, where, numbers, terminal.say, others, image or ())
            count += len(written)
        if not count:
            raise typer.Exit(1)
