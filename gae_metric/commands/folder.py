"""A run's folder: whose it is, and what of another run is removed."""

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gae_metric.errors import InputError, refusing
from gae_metric.inputs.files import read_bytes

#: A run's own folder, and those that a demo has for its networks.
_FOLDERS = (".", "vgg", "resnet", "vit")
#: What a probe set writes into a folder.
_PROBE = re.compile(r"manifest\.json|(?!maps-)[a-z_]+-\d{5,}\.npy")
#: What a run writes beside its cells.
_FIGURES = ("bars", "curves", "extremes", "impact", "maps", "mosaic", "scatter")
_WRITTEN = (
    *("scores.csv", "summary.csv", "components.csv", "report.html", "run.json"),
    *(f"{name}.png" for name in _FIGURES),
)


def new_folder(folder: Path, argument: str = "out") -> Path:
    """Make a folder and see that it can be written to, before any work is done for it.

    Raises
    ------
    InputError
        If it cannot.
    """
    with refusing(f"{argument}: cannot write to {str(folder)!r}", OSError):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    return folder


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another, or of none, so that it is never there in part.

    Raises
    ------
    OSError
        If there is no room or no permission; the message names the file, and what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        if os.name == "posix":  # have the new name outlive a power cut
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {str(path)!r}: {error.strerror}. What was finished is kept: the same "
            "command goes on from there",
        ) from error
    finally:
        with suppress(OSError):
            new.unlink()


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to write over what is there, before any work is done.

    Raises
    ------
    InputError
        If there is something, and it is not to be replaced.
    """
    if os.path.lexists(path) and not overwrite:
        raise InputError(
            f"out: {str(path)!r} is there already; give another name, or --overwrite to replace it"
        )


def probe_files(folder: Path) -> list[Path]:
    """List the files of the probe set in a folder, if it has one; maps are none of them."""
    every = folder.iterdir() if (folder / "manifest.json").is_file() else ()
    return [path for path in every if _PROBE.fullmatch(path.name)]


def claim(path: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Make a run's folder, or find it as a run left it; nothing in it is changed.

    Parameters
    ----------
    path
        The folder.
    settings
        What the run is of, as :func:`begin` keeps it in ``run.json``.
    overwrite
        Whether what another run wrote may be removed. A run that has all methods and metrics of
        the one that is there, and more, goes on with it.

    Raises
    ------
    InputError
        If there is something else in it, or it cannot be written to.
    """
    folder = new_folder(path)
    before = _settings(folder)
    if before is None and any(folder.iterdir()) and not overwrite:
        raise InputError(
            f"out: {str(folder)!r} has something in it that is no run of gae-metric; give "
            "another folder, or --overwrite, which replaces files of the same names"
        )
    if not overwrite and not _goes_on(before, settings):
        keys = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
        raise InputError(
            f"out: {str(folder)!r} holds a run that differs in {', '.join(keys)}; give "
            "another folder, or --overwrite to replace it"
        )


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Remove what another run wrote, now that nothing is wrong with this one."""
    before = _settings(folder)
    if not _goes_on(before, settings):
        for part in (folder / name for name in _FOLDERS):
            for name in _WRITTEN:
                (part / name).unlink(missing_ok=True)
            shutil.rmtree(part / "cells", ignore_errors=True)
    if before != settings:
        replace_file(folder / "run.json", json.dumps({"settings": settings}, indent=2).encode())


def without_figures(folder: Path, images: Iterable[str]) -> list[str]:
    """Return the images of a folder that no run has drawn, as runs may lie in it, too."""

    def drawn(path: Path) -> bool:
        run = path.parent.parent if path.parent.name in _FOLDERS else path.parent
        return path.name in _WRITTEN and (run / "run.json").is_file()

    return [image for image in images if not drawn(folder / image)]


def tidy(folders: Iterable[Path], written: Collection[Path]) -> None:
    """Remove what a run left earlier in its folders and has not written again: it is of others."""
    for path in (folder / name for folder in folders for name in _WRITTEN):
        if path not in written:
            path.unlink(missing_ok=True)


def _goes_on(before: Any, settings: Mapping[str, Any]) -> bool:
    """Whether a run keeps what is there: nothing, or less of the same."""
    if before is None:
        return True
    return all(
        {*str(before.get(key)).split(",")} <= {*str(settings.get(key)).split(",")}
        if key in ("methods", "metrics")
        else before.get(key) == settings.get(key)
        for key in {**before, **settings}
    )


def _settings(folder: Path) -> Any:
    """Return what the run in a folder is of, as far as that can be read; None: there is none."""
    if not (folder / "run.json").exists():
        return None
    try:
        before = json.loads(read_bytes(folder / "run.json", "out", 1 << 24))["settings"]
        before.pop("skipped", None)
        return before
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return {"run.json": str(error)}
