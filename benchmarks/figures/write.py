"""Figures by number, drawn and written for a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.figures import sample, sheets
from benchmarks.figures.material import Draw, Material
from benchmarks.figures.plan import FIGURES, Skipped
from benchmarks.result_files import replace_file
from gae_metric.errors import InputError

DRAW: dict[str, Draw] = {
    "curves": sample.curves,
    "impact": sample.impact,
    "mosaic": sample.mosaic,
    "maps": sheets.maps,
    "classes": sheets.classes,
    "ranked": sheets.ranked,
}
"""What draws each kind of figure."""

#: Dots per inch of the PNG files; the PDF files beside them are for print.
DPI = 150


def check_numbers(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return figures in ascending order, each once; all of them where none is named.

    Raises
    ------
    InputError
        If there is no such figure; the message gives the nearest.

    Examples
    --------
    >>> check_numbers([16, 2, 2])
    (2, 16)
    >>> check_numbers([9])
    Traceback (most recent call last):
        ...
    gae_metric.errors.InputError: figure: expected one of 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, \
15, 16, got 9; the nearest is 8 or 10
    """
    for number in numbers:
        if number not in FIGURES:
            distance = min(abs(number - known) for known in FIGURES)
            near = [str(known) for known in FIGURES if abs(number - known) == distance]
            raise InputError(
                f"figure: expected one of {', '.join(map(str, FIGURES))}, got {number}; the "
                f"nearest is {' or '.join(near)}"
            )
    return tuple(sorted(set(numbers or FIGURES)))


def write_figures(
    results: str | Path,
    output: str | Path,
    numbers: Sequence[int] = (),
    say: Callable[[str], None] = lambda line: None,
    beside: Sequence[str | Path] = (),
    named: Sequence[str] = (),
) -> list[Path]:
    """Draw a run's figures, each as PNG and as PDF: ``figure02-digits-vgg.png``.

    Parameters
    ----------
    results
        Folder of the run, finished or not.
    output
        Folder of the figures; files of the same names are replaced.
    numbers
        The paper's figures that are wanted; all of them by default.
    say
        Takes a line on each figure as soon as there is one.
    beside
        Folders of other runs, for the figure that shows two data sets.
    named
        Images of several classes that are to be shown, ``FILE:CLASS,CLASS``.

    Returns
    -------
    The files.

    Raises
    ------
    InputError
        If there is no such figure, there are no results, or the data or a model is not there.
    OSError
        If a file cannot be written.
    """
    wanted = check_numbers(numbers)
    material = Material(results, named)
    others = (
        [Material(one) for one in beside] if any(len(FIGURES[n].data) > 1 for n in wanted) else []
    )
    files: list[Path] = []
    for number in wanted:
        plan = FIGURES[number]
        for outcome in material.drawn(plan, DRAW[plan.kind], others):
            if isinstance(outcome, Skipped):
                say(f"figure {number}: skipped: {outcome.reason}")
                continue
            stem = f"figure{number:02d}-{outcome.name}"
            files += _save(outcome.figure, Path(output), stem)
            instead = f" ({outcome.instead})" if outcome.instead else ""
            say(f"wrote {files[-2]} and .pdf{instead}")
    for problem in material.problems:
        say(f"left out: {problem}")
    return files


def _save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    paths = []
    # Type 42 fonts: what publishers take. No date, so that the same run gives the same file.
    with mpl.rc_context({"pdf.fonttype": 42}):
        for ending, metadata in (("png", None), ("pdf", {"CreationDate": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, dpi=DPI, metadata=metadata)
            path = folder / f"{stem}.{ending}"
            replace_file(path, buffer.getvalue())
            paths.append(path)
    return paths
