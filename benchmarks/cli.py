"""The command ``python -m benchmarks``; every subcommand registers itself on :data:`app`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.commands import run, status, tables
from benchmarks.figures.command import figures
from benchmarks.rehearse import rehearse
from benchmarks.report.command import report
from benchmarks.tables.cost import cost
from benchmarks.tables.evidence import evidence_command

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="benchmarks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="The paper's experiments.",
)


@app.callback()
def main() -> None:
    """Run the paper's experiments."""


@app.command()
def methods(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model of the matrix; may be repeated. Default: the three of digits."),
    ] = None,
) -> None:
    """List the methods, and which of them explains which network."""
    # Imported here, so that --help and a mistyped option need no torch.
    from benchmarks.methods.matrix import DIGITS, compatibility
    from gae_metric.commands.terminal import Terminal, report_errors

    terminal = Terminal()
    with report_errors(terminal):
        names = model or list(DIGITS)
        with terminal.err.status("") as status:
            matrix = compatibility(names, lambda spec, name: status.update(f"{spec}: {name}"))
        terminal.out.print(_table(matrix, names))
        lacking = matrix[~matrix["applies"]]
        for (spec, reason), part in lacking.groupby(["model", "reason"], sort=False):
            what = f"failed, {reason}" if part["failed"].any() else reason
            line = f"{spec}: {', '.join(part['method'])}: {what}"
            terminal.out.print(line, markup=False, soft_wrap=True)
        if matrix["failed"].any():
            raise typer.Exit(1)


def _table(matrix: pd.DataFrame, models: list[str]) -> object:
    from rich import box
    from rich.table import Table

    from benchmarks.methods import METHODS

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("method", "models", "source"):
        table.add_column(column, no_wrap=True)
    for column in models:
        table.add_column(column, overflow="fold")
    for name, part in matrix.groupby("method", sort=False):
        method = METHODS[str(name)]
        table.add_row(method.name, method.family, method.source, *part["cell"])
    return table


for _command in (run, status, tables, figures, report, cost, rehearse):
    app.command()(_command)
app.command("evidence")(evidence_command)
