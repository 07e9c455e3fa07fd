"""The command ``python -m benchmarks``; every subcommand registers itself on :data:`app`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.commands import run, status, tables
from benchmarks.figures.command import figures
from benchmarks.report.command import report
from benchmarks.tables.cost import cost

if TYPE_CHECKING:
    from benchmarks.methods.matrix import Cell

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
    trials: Annotated[
        bool,
        typer.Option("--try/--no-try", help="Try every method, or take the registry's word."),
    ] = True,
    details: Annotated[
        bool, typer.Option("--details", help="Also defaults and citations.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Write everything to a CSV file, too.")] = None,
) -> None:
    """List the methods, and which of them explains which network."""
    # Imported here, so that --help and a mistyped option need no torch.
    from benchmarks.methods.matrix import DIGITS, compatibility
    from gae_metric.commands.terminal import Terminal, report_errors

    terminal = Terminal()
    with report_errors(terminal):
        names = model or list(DIGITS)
        with terminal.err.status("") as status:
            matrix = compatibility(
                names,
                trials=trials,
                progress=lambda spec, name: status.update(f"{spec}: {name}"),
            )
        if csv is not None:
            _write(csv, matrix)
        terminal.out.print(_table(matrix, names, details))
        for line in _reasons(matrix):
            terminal.out.print(line, markup=False, soft_wrap=True)
        if any(cell.failed for row in matrix.values() for cell in row.values()):
            raise typer.Exit(1)


def _table(matrix: dict[str, dict[str, Cell]], models: list[str], details: bool) -> object:
    from rich import box
    from rich.table import Table

    from benchmarks.methods import METHODS

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("method", "models", "source"):
        table.add_column(column, no_wrap=True)
    for spec in models:
        table.add_column(spec, overflow="fold")
    if details:
        table.add_column("defaults")
        table.add_column("citation")
    for name, row in matrix.items():
        method = METHODS[name]
        more = [_options(method.defaults), method.citation] if details else []
        table.add_row(
            name, method.family, method.source, *(str(row[spec]) for spec in models), *more
        )
    return table


def _options(defaults: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in defaults.items())


def _reasons(matrix: dict[str, dict[str, Cell]]) -> list[str]:
    """Say once for each reason which methods do not apply to which models."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, row in matrix.items():
        for spec, cell in row.items():
            if not cell.applies:
                what = f"failed, {cell.reason}" if cell.failed else cell.reason
                reasons.setdefault((spec, what), []).append(name)
    return [f"{spec}: {', '.join(names)}: {what}" for (spec, what), names in reasons.items()]


def _write(path: Path, matrix: dict[str, dict[str, Cell]]) -> None:
    import pandas as pd

    from benchmarks.methods import METHODS
    from gae_metric.commands.escaping import csv_text

    rows = []
    for name, row in matrix.items():
        method = METHODS[name]
        common = {
            "method": name,
            "models": method.family,
            "source": method.source,
            "defaults": _options(method.defaults),
            "citation": method.citation,
            "paper_name": method.paper_name if method.paper else "",
        }
        rows += [
            {**common, "model": spec, "applies": cell.applies, "reason": cell.reason}
            for spec, cell in row.items()
        ]
    path.write_text(csv_text(pd.DataFrame(rows), index=False), encoding="utf-8", newline="")


app.command()(run)
app.command()(status)
app.command()(tables)
app.command()(figures)
app.command()(report)
app.command()(cost)
