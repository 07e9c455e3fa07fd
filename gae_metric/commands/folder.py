"""A run's folder: whose it is, and its finished cells, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from gae_metric.comparison.results import Cell
from gae_metric.errors import InputError
from gae_metric.inputs.files import read_bytes

#: Bytes of a cell that are read: more than curves and mosaics of any data set have.
_LARGEST = 1 << 36
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
    """Make a run's folder, or find it as a run left it; nothing in it is changed.

    Parameters
    ----------
    path
        The folder.
    settings
        What the run is of, as :func:`begin` keeps it in ``run.json``.
    overwrite
        Whether what another run wrote may be removed.

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
            "another folder, or --overwrite"
        )
    if before not in (None, settings) and not overwrite:
        keys = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
        raise InputError(
            f"out: {str(folder)!r} holds a run with another {', '.join(keys)}; give another "
            "folder, or --overwrite to replace it"
        )
    return folder


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Remove what another run wrote, now that nothing is wrong with this one."""
    before = _settings(folder)
    if before not in (None, settings):
        for name in _TABLES:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "cells", ignore_errors=True)
    if before != settings:
        run = json.dumps({"settings": settings}, indent=2)
        (folder / "run.json").write_text(run, encoding="utf-8")


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


class Cells:
    """Cells in a folder.

    Parameters
    ----------
    folder
        It is made with the first cell.
    digest
        Of all that scores depend on but method and metric; cells of others are not taken.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder, self.digest = folder, digest

    def _file(self, method: str, metric: str) -> Path:
        return self.folder / f"{quote(f'{method}.{metric}', safe='+')}.json"

    def put(self, method: str, metric: str, cell: Cell) -> None:
        """Keep a cell; its file is whole or not there."""
        parts = None if cell.components is None else cell.components.to_dict("list")
        kept = {**vars(cell), "components": parts}
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(method, metric)
        part = file.with_suffix(".part")
        # Floating-point numbers come back as they were, NaN too.
        content = json.dumps(kept, default=lambda array: array.tolist()).encode()
        part.write_bytes(content + self._seal(method, metric, content))
        part.replace(file)

    def _seal(self, method: str, metric: str, content: bytes) -> bytes:
        key = repr((self.digest, method, metric)).encode()
        return hashlib.sha256(key + content).hexdigest().encode()

    def get(self, method: str, metric: str) -> Cell | None:
        """Return a cell, or None where it is not there, damaged, or another one."""
        try:
            sealed = read_bytes(self._file(method, metric), "cells", _LARGEST)
        except InputError:
            return None
        content, seal = sealed[:-64], sealed[-64:]
        if seal != self._seal(method, metric, content):
            return None
        kept = json.loads(content)
        parts, curves, mosaics = kept["components"], kept["curves"], kept["mosaics"]
        kept["scores"] = np.array(kept["scores"])
        kept["components"] = parts and pd.DataFrame(parts)
        kept["curves"] = curves and {name: np.array(values) for name, values in curves.items()}
        kept["mosaics"] = mosaics and tuple(map(np.array, mosaics))
        return Cell(**kept)
