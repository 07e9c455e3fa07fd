"""Finished cells of a run, one file each, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import io
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
        return self.folder / f"{quote(f'{method}.{metric}', safe='+')}.npz"

    def put(self, method: str, metric: str, cell: Cell) -> None:
        """Keep a cell; its file is whole or not there."""
        groups: dict[str, Any] = {
            "part": {} if cell.components is None else cell.components.to_dict("series"),
            "curve": cell.curves or {},
            "mosaic": dict(enumerate(cell.mosaics or ())),
        }
        arrays = {
            f"{kind} {name}": values for kind in groups for name, values in groups[kind].items()
        }
        arrays |= {"scores": cell.scores, "notes": np.array(cell.notes, dtype=str)}
        self.folder.mkdir(parents=True, exist_ok=True)
        file, stream = self._file(method, metric), io.BytesIO()
        np.savez(stream, seconds=cell.seconds, **arrays)
        content = stream.getvalue()
        part = file.with_suffix(".part")
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
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)

        def named(kind: str) -> dict[str, Any]:
            return {k.partition(" ")[2]: v for k, v in arrays.items() if k.startswith(f"{kind} ")}

        return Cell(
            arrays["scores"],
            float(arrays["seconds"]),
            arrays["notes"].tolist(),
            pd.DataFrame(named("part")) if named("part") else None,
            named("curve") or None,
            tuple(named("mosaic").values()) or None,
        )
