"""Folders and files of results: there as a whole, replaced only if asked; what fills templates."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gae_metric.commands.folder import new_folder
from gae_metric.errors import InputError, check_integer

RESULTS = Path(__file__).parent / "results"
#: What a run is of, in a folder of its results.
PLAN = "plan.json"
#: The plan of a run that is under way where another one has finished.
NEXT = "plan.next.json"


def folders_of(given: Sequence[Path] | None, root: Path = RESULTS) -> Sequence[Path]:
    """Return the folders of results that a command was given, or else all below a folder.

    Raises
    ------
    InputError
        If there are none, or one has no run in it.
    """
    folders = given or sorted(path.parent for path in root.glob(f"*/{PLAN}"))
    if not folders:
        raise InputError(
            "results: there are none in benchmarks/results; `python -m benchmarks run` makes some"
        )
    for folder in folders:
        if not any((folder / name).exists() for name in (PLAN, NEXT)):
            raise InputError(f"results: there is no run in {str(folder)!r}")
    return folders


def outputs_of(folders: Sequence[Path], output: Path | None, inner: str = "") -> Sequence[Path]:
    """Return where each folder's tables or figures go: by default into it, or below ``output``.

    Raises
    ------
    InputError
        If those of two folders would go into one.
    """
    if output is None:
        return [folder / inner for folder in folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise InputError(
            f"output: the {inner or 'tables'} of {len(names)} folders go into folders of their "
            f"names, and two are called {max(names, key=names.count)!r}"
        )
    return [output] if len(names) == 1 else [output / name for name in names]


def check_page(path: Path, samples: int) -> None:
    """Refuse a page that cannot be written, before minutes of work, or without images."""
    check_integer("samples", samples)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"output: expected a file that ends in .html, got {str(path)!r}")
    if path.is_dir():
        raise InputError(f"output: expected a file, got the folder {str(path)!r}")
    new_folder(path.parent, "output")


def refuse_finished(option: str, path: Path, replace: bool) -> None:
    """Refuse to write over what a command has finished, before anything is computed for it.

    Raises
    ------
    InputError
        If there is a file of that name, and it is not to be replaced.
    """
    if path.exists() and not replace:
        raise InputError(
            f"{option}: {str(path)!r} holds finished results; --replace replaces them, "
            f"--{option} names another place"
        )


def slug(name: str) -> str:
    """Return a name as a part of a file's name."""
    return re.sub(r"[^a-z0-9_.+]+", "-", name.lower()).strip("-.")


def templates(folder: Path, **options: Any) -> Environment:
    """Return the templates in a folder, in which every name has to be known."""
    loader = FileSystemLoader(folder)
    return Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, **options)


def number(value: float, digits: int = 3, minus: str = "−", nothing: str = "–") -> str:
    """Write a number with a minus sign that is one, where it does not round to 0.

    Examples
    --------
    >>> number(0.2718), number(-0.00001), number(-1.5, 1), number(float("nan"))
    ('0.272', '0.000', '−1.5', '–')
    """
    if not math.isfinite(value):
        return nothing
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", minus)
