"""The terminal: progress, tables and errors; and texts that nothing is to obey."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, requires
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import Progress
from rich.segment import Segment

from gae_metric.errors import EvaluationError, InputError

if TYPE_CHECKING:
    import pandas as pd


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
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # whose encoding may lack an arrow
                stream.reconfigure(errors="replace")
        # Made anew for each command, as tests and notebooks redirect the streams.
        # A width of 0, which shells without a terminal have, would leave nothing of a text.
        wide = {k: v for k, v in os.environ.items() if k != "COLUMNS" or v.strip("0")}
        self.out = _Console(highlight=False, _environ=wide)
        self.err = _Console(stderr=True, highlight=False, _environ=wide)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[str, float, float], None]]:
        """Show progress and the time left: a bar on a terminal; lines in a log, one in 30 s."""
        if self.err.is_terminal:
            with Progress(console=self.err, transient=True) as bar:
                task = bar.add_task(escape(title), total=None)
                yield lambda what, done, wanted: bar.update(
                    task, completed=done, total=wanted, description=escape(f"{title}: {what}")
                )
            return
        begun, last = 0.0, ("", 0.0)

        def line(what: str, done: float, wanted: float) -> None:
            nonlocal begun, last
            now = time.monotonic()
            begun = begun or now  # what was done before is no part of this work
            if what.partition(",")[0] == last[0] and now - last[1] < _BETWEEN:
                return
            last = what.partition(",")[0], now
            text = f"{title}: {what}, {done / wanted:.0%}" if wanted else f"{title}: {what}"
            # The first work tells little of the rest: one method's inputs serve the others, too.
            if 0.1 * wanted <= done < wanted and now - begun > 1:
                text += f", about {duration((now - begun) * (wanted - done) / done)} left"
            self.err.print(text, markup=False, soft_wrap=True)

        yield line

    def say(self, text: str) -> None:
        """Print a line about the work."""
        self.err.print(text, markup=False)

    def done(self, text: str) -> None:
        """Print what has come of it."""
        self.out.print(text, markup=False, soft_wrap=True)


def extra_of(package: str | None) -> str | None:
    """Return the extra that installs a package that is missing, or None.

    Examples
    --------
    >>> extra_of("numpy") is None
    True
    """
    module = (package or "").partition(".")[0]
    wanted = _PACKAGES.get(module, module.replace("_", "-")).lower()
    extras: dict[str, list[str]] = {}
    with suppress(PackageNotFoundError):  # run from a checkout
        for requirement in requires("gae-metric") or []:
            if found := re.match(r"([\w.-]+).*extra == ['\"](\w+)", requirement.lower()):
                extras.setdefault(found[2], []).append(found[1])
    # Of several the smallest: developers' tools have them all.
    having = [extra for extra, packages in extras.items() if wanted in packages]
    return min(having, key=lambda extra: len(extras[extra]), default=None)


@contextmanager
def report_errors(terminal: Terminal, stopped: str | None = None) -> Iterator[Terminal]:
    """Turn errors that are the caller's to mend into a message and exit status 2, others into 1.

    ``stopped`` is what to say of an interrupt, which is raised again by default. The environment
    variable ``GAE_TRACEBACK`` shows where an error that nobody expected came from.
    """

    def end(text: str, status: int) -> typer.Exit:
        terminal.err.print(f"[bold red]error:[/] {escape(text)}", soft_wrap=True)
        return typer.Exit(status)

    try:
        with _dropped_come_again():
            yield terminal
    except (typer.Exit, typer.Abort, BrokenPipeError):  # whoever reads has seen enough
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


@contextmanager
def _dropped_come_again() -> Iterator[None]:
    """Have an interrupt come again that fell into a destructor, where Python drops it."""
    before, numbers = sys.unraisablehook, {KeyboardInterrupt: SIGINT, SystemExit: SIGTERM}

    def hook(dropped: Any) -> None:
        if (number := numbers.get(dropped.exc_type)) is None:
            before(dropped)
        else:  # a little later, as an interrupt would be dropped here, too
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


#: What moves a terminal's cursor, turns the direction of a text, or is no character.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARKDOWN = re.compile(r"[\\`*\[\]|#~<>&]|(?<!\w)_|_(?!\w)")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def visible(text: str) -> str:
    r"""Return a text that does nothing to a terminal but to be read.

    Examples
    --------
    >>> visible("a\x1b[2Jb") == r"a\x1b[2Jb"
    True
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def csv_text(frame: pd.DataFrame, **options: Any) -> str:
    r"""Return a table as CSV in which no text is a formula: one is led by an apostrophe.

    Examples
    --------
    >>> import pandas as pd
    >>> csv_text(pd.DataFrame({"file": ["=1+2.png", "a.png"], "score": [-1.0, 2.0]}), index=False)
    "file,score\n'=1+2.png,-1.0\na.png,2.0\n"
    """

    def quoted(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return f"'{visible(value)}" if value.startswith(_FORMULA) else visible(value)

    return str(frame.map(quoted).to_csv(lineterminator="\n", **options))


def markdown_text(text: str) -> str:
    r"""Return a text on one line that GitHub's Markdown shows as it is.

    Examples
    --------
    >>> print(markdown_text("a|b <i>ROAD_MoRF</i> *"))
    a\|b &lt;i&gt;ROAD_MoRF&lt;/i&gt; \*
    """
    line = visible(" ".join(text.split()))
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)
