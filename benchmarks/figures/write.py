"""Figures by number, drawn and written for a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.figures import across_models as models
from benchmarks.figures import classes, ranked, sample, sheets
from benchmarks.figures.material import Material
from benchmarks.figures.outcome import Outcome, Skipped
from benchmarks.figures.subject import Family, Subject
from benchmarks.runner.store import replace_file
from gae_metric.errors import InputError

Draw: TypeAlias = Callable[[Material], Iterator[Outcome]]


def _each(family: Family | None, draw: Callable[[Subject], Figure]) -> Draw:
    """Draw a figure for each model, or each of a family."""
    return lambda material: material.each(family, draw)


FIGURES: dict[int, Draw] = {
    2: _each(None, sample.curves),
    3: _each(None, sample.impact),
    4: _each(None, sample.mosaic),
    5: _each("cnn", sheets.main),
    6: _each("vit", sheets.main),
    7: _each("cnn", classes.first),
    8: _each("vit", classes.first),
    10: models.resolution,
    11: _each("cnn", ranked.ranked),
    12: _each("cnn", sheets.every),
    13: _each("vit", sheets.every),
    14: _each("vit", ranked.ranked),
    15: models.every_model,
    16: _each(None, classes.further),
}
"""What draws each figure."""

#: Dots per inch of the PNG files; the PDF files beside them are for print.
DPI = 150


@dataclass(frozen=True)
class Written:
    """What was written, and what was not and why."""

    files: tuple[Path, ...]
    skipped: tuple[str, ...]


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
) -> Written:
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

    Raises
    ------
    InputError
        If there is no such figure, there are no results, or the data or a model is not there.
    OSError
        If a file cannot be written.
    """
    wanted = check_numbers(numbers)
    material = Material(results)
    files: list[Path] = []
    skipped: list[str] = []
    for number in wanted:
        for outcome in FIGURES[number](material):
            if isinstance(outcome, Skipped):
                skipped.append(f"figure {number}: skipped: {outcome.reason}")
                say(skipped[-1])
                continue
            stem = f"figure{number:02d}-{outcome.name}"
            files += _save(outcome.figure, Path(output), stem)
            say(f"wrote {files[-2]} and .pdf")
    for problem in material.problems:
        say(f"left out: {problem}")
    return Written(tuple(files), tuple(skipped))


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
