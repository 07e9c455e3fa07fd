"""The terminal: progress, tables and errors."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.text import Text

from gae_metric.commands.escaping import visible
from gae_metric.commands.tables import Evaluation, messages, table
from gae_metric.errors import EvaluationError, InputError

__all__ = ["Terminal", "report_errors"]


class _Console(Console):
    """A terminal to which texts do nothing but to be read."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render, with what would be hidden or obeyed made visible."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


class Terminal:
    """Where a command writes: results to the standard output, progress to the standard error."""

    def __init__(self) -> None:
        # Made anew for each command, as tests and notebooks redirect the streams.
        self.out = _Console(highlight=False)
        self.err = _Console(stderr=True, highlight=False)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[str, int, int], None]]:
        """Show progress: a bar on a terminal, a line for each method in a log."""
        if not self.err.is_terminal:
            seen: list[str] = []

            def line(what: str, done: int, wanted: int) -> None:
                method = what.split(",", maxsplit=1)[0]
                if method not in seen:
                    seen.append(method)
                    self.err.print(f"{title}: {method} ({done} of {wanted})", markup=False)

            yield line
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(escape(title), total=None)

            def update(what: str, done: int, wanted: int) -> None:
                bar.update(
                    task, completed=done, total=wanted, description=escape(f"{title}: {what}")
                )

            yield update

    def say(self, text: str) -> None:
        """Print a line about the work."""
        self.err.print(text, markup=False)

    def show(self, evaluation: Evaluation) -> None:
        """Print an evaluation's table, and what is missing from it."""
        self.out.print(
            f"\n[bold]{escape(evaluation.name)}[/]: {len(evaluation.x)} images, "
            "mean ± standard error; [bold]best[/], * not told apart from the best "
            "(Wilcoxon, p = 0.05)"
        )
        self.out.print(table(evaluation, self.out.width))
        for line in messages(evaluation.results):
            self.out.print(Padding(Text(line, style="yellow"), (0, 0, 0, 2)))
        self.out.print()


@contextmanager
def report_errors(terminal: Terminal) -> Iterator[None]:
    """Turn errors that are the caller's to mend into a message and exit status 2, others into 1.

    The environment variable ``GAE_TRACEBACK`` shows where an error that nobody expected came from.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except InputError as error:
        terminal.err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from error
    except (EvaluationError, OSError, MemoryError) as error:
        text = str(error) or "out of memory"
        terminal.err.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
        raise typer.Exit(1) from error
    except Exception as error:
        if os.environ.get("GAE_TRACEBACK"):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        terminal.err.print(
            f"[bold red]error:[/] unexpected {type(error).__name__}: {escape(str(error))} "
            f"({escape(frame.filename)}, line {frame.lineno}); please report it, with what "
            "GAE_TRACEBACK=1 shows",
            soft_wrap=True,
        )
        raise typer.Exit(1) from error
