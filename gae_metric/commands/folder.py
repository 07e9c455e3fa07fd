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
import torch
from torch import nn

from gae_metric.comparison.results import Cell
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


def digest(model: nn.Module, *values: Any) -> str:
    """Return a hash of a model's weights, and of arrays or what is told of other values."""
    found = hashlib.sha256()
    for key, weights in model.state_dict().items():
        found.update(key.encode())
        found.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    for value in values:
        found.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return found.hexdigest()


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
        kept = {"digest": self.digest, **vars(cell), "components": parts}
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(method, metric)
        part = file.with_suffix(".part")
        # Floating-point numbers come back as they were, NaN too.
        part.write_text(json.dumps(kept, default=lambda array: array.tolist()), encoding="utf-8")
        part.replace(file)

    def get(self, method: str, metric: str) -> Cell | None:
        """Return a cell, or None where it is not there or of another run."""
        try:
            kept = json.loads(self._file(method, metric).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.pop("digest", None) != self.digest:
            return None
        parts, curves, mosaics = kept["components"], kept["curves"], kept["mosaics"]
        kept["scores"] = np.array(kept["scores"])
        kept["components"] = parts and pd.DataFrame(parts)
        kept["curves"] = curves and {name: np.array(values) for name, values in curves.items()}
        kept["mosaics"] = mosaics and tuple(map(np.array, mosaics))
        return Cell(**kept)
