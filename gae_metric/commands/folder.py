"""The folder that a run writes: whose it is, before any work is done for it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gae_metric.errors import InputError

#: What a run writes.
_TABLES = ("scores.csv", "summary.csv", "components.csv", "report.html", "run.json")


def new_folder(path: str | Path) -> Path:
    """Make a folder and see that it can be written to, before any work is done for it.

    Raises
    ------
    InputError
        If it cannot.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"out: cannot write to {str(folder)!r}: {reason}") from error
    return folder


def claim(path: Path, settings: Mapping[str, Any], overwrite: bool) -> Path:
    """Make a run's folder, or find it as the same run left it, which then goes on.

    Parameters
    ----------
    path
        The folder.
    settings
        What the run is of; kept in ``run.json``.
    overwrite
        Whether to remove what another run wrote.

    Raises
    ------
    InputError
        If there is something else in it, or it cannot be written to.
    """
    folder = new_folder(path)
    asked = json.loads(json.dumps(settings, default=str))
    try:
        before = json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]
        before.pop("skipped", None)
    except FileNotFoundError:
        before = None
        if any(folder.iterdir()) and not overwrite:
            raise InputError(
                f"out: {str(folder)!r} has something in it that is no run of gae-metric; give "
                "another folder, or --overwrite"
            ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        before = {"run.json": str(error)}
    if before not in (None, asked):
        if not overwrite:
            keys = [key for key in {**before, **asked} if before.get(key) != asked.get(key)]
            raise InputError(
                f"out: {str(folder)!r} holds a run with another {', '.join(keys)}; give another "
                "folder, or --overwrite to replace it"
            )
        for name in _TABLES:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "cells", ignore_errors=True)
    run = json.dumps({"settings": asked}, indent=2)
    if before != asked:
        (folder / "run.json").write_text(run, encoding="utf-8")
    return folder
