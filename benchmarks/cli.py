"""The command ``python -m benchmarks``."""

import typer

from benchmarks.commands.of_results import cost, evidence, figures, report, tables
from benchmarks.commands.of_runs import methods, run, status
from benchmarks.rehearse import rehearse

app = typer.Typer(
    name="benchmarks",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="The paper's experiments.",
)


for _command in (methods, run, status, tables, figures, report, cost, evidence, rehearse):
    app.command()(_command)
