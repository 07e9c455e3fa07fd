"""The terminal: progress, tables and errors."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires
from typing import TYPE_CHECKING

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress
from rich.segment import Segment
from rich.text import Text

from gae_metric.commands.escaping import visible
from gae_metric.errors import EvaluationError, InputError

if TYPE_CHECKING:
    from gae_metric.commands.tables import Evaluation


#: Packages that are not called as what is imported of them.
_PACKAGES = {"skimage": "scikit-image"}
#: Seconds between two lines about the same thing in a log.
_BETWEEN = 30.0


def duration(seconds: float) -> str:
    """Say how long something takes, roughly.

    Examples
    --------
    >>> duration(0.3), duration(59), duration(100), duration(3 * 3600)
    ('1 s', '59 s', '2 min', '3.0 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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
    def progress(self, title: str) -> Iterator[Callable[[str, float, float], None]]:
        """Show progress and the time left: a bar on a terminal; lines in a log, one in 30 s."""
        if not self.err.is_terminal:
            begun, last = time.monotonic(), ("", 0.0)

            def line(what: str, done: float, wanted: float) -> None:
                nonlocal last
                now = time.monotonic()
                if what.partition(",")[0] == last[0] and now - last[1] < _BETWEEN:
                    return
                last = what.partition(",")[0], now
                text = f"{title}: {what}, {done / wanted:.0%}" if wanted else f"{title}: {what}"
                if 0 < done < wanted and now - begun > 1:
                    text += f", about {duration((now - begun) * (wanted - done) / done)} left"
                self.err.print(text, markup=False, soft_wrap=True)

            yield line
            return
        with Progress(console=self.err, transient=True) as bar:
            task = bar.add_task(escape(title), total=None)

            def update(what: str, done: float, wanted: float) -> None:
                bar.update(
                    task, completed=done, total=wanted, description=escape(f"{title}: {what}")
                )

            yield update

    def say(self, text: str) -> None:
        """Print a line about the work."""
        self.err.print(text, markup=False)

    def done(self, text: str) -> None:
        """Print what has come of it."""
        self.out.print(text, markup=False, soft_wrap=True)

    def show(self, evaluation: Evaluation) -> None:
        """Print an evaluation's table, and what is missing from it."""
        from gae_metric.commands.tables import caption, messages, table

        self.out.print(
            f"\n[bold]{escape(evaluation.name)}[/]: {len(evaluation.inputs.x)} images, "
            f"mean ± standard error; {caption(evaluation.results)}"
        )
        self.out.print(table(evaluation, self.out.width))
        for line in messages(evaluation.results):
            self.out.print(Padding(Text(line, style="yellow"), (0, 0, 0, 2)))
        self.out.print()


def extra_of(package: str | None) -> str | None:
    """Return the extra that installs a package that is missing, or None.

    Examples
    --------
    >>> extra_of("numpy") is None
    True
    """
    module = (package or "").partition(".")[0]
    wanted = _PACKAGES.get(module, module.replace("_", "-")).lower()
    try:
        for requirement in requires("gae-metric") or []:
            found = re.match(rf"{re.escape(wanted)}\b.*extra == ['\"](\w+)", requirement.lower())
            if wanted and found:
                return found[1]
    except PackageNotFoundError:  # run from a checkout
        pass
    return None


@contextmanager
def report_errors(terminal: Terminal, stopped: str | None = None) -> Iterator[None]:
    """Turn errors that are the caller's to mend into a message and exit status 2, others into 1.

    ``stopped`` is what to say of an interrupt, which is raised again by default. The environment
    variable ``GAE_TRACEBACK`` shows where an error that nobody expected came from.
    """

    def end(text: str, status: int) -> typer.Exit:
        terminal.err.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
        return typer.Exit(status)

    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except InputError as error:
        raise end(str(error), 2) from error
    except (EvaluationError, OSError, MemoryError) as error:
        raise end(str(error) or "out of memory", 1) from error
    except KeyboardInterrupt as error:
        if stopped is None:
            raise
        terminal.say(stopped)
        raise typer.Exit(130) from error
    except Exception as error:
        if os.environ.get("GAE_TRACEBACK"):
            raise
        if isinstance(error, ImportError) and (extra := extra_of(error.name)):
            text = f"{error.name} is not installed: pip install 'gae-metric[{extra}]'"
            raise end(text, 1) from error
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = (
            f"unexpected {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno}); "
            "please report it, with what GAE_TRACEBACK=1 shows"
        )
        raise end(text, 1) from error
