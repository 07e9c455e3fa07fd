"""Finished cells of a run, one file each, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from torch import nn

from gae_metric.comparison.results import Cell


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
        return self.folder / f"{quote(f'{method}.{metric}', safe='+')}.npz"

    def put(self, method: str, metric: str, cell: Cell) -> None:
        """Keep a cell; its file is whole or not there."""
        parts = {} if cell.components is None else cell.components.to_dict("series")
        arrays: dict[str, Any] = {
            "digest": np.array(self.digest),
            "scores": cell.scores,
            "seconds": np.array(cell.seconds),
            "notes": np.array(cell.notes, dtype=str),
            **{f"part {name}": column.to_numpy() for name, column in parts.items()},
            **{f"curve {name}": values for name, values in (cell.curves or {}).items()},
            **{f"mosaic {i}": values for i, values in enumerate(cell.mosaics or ())},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(method, metric)
        part = file.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, **arrays)
        part.replace(file)

    def get(self, method: str, metric: str) -> Cell | None:
        """Return a cell, or None where it is not there or of another run."""
        try:
            with np.load(self._file(method, metric), allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError):
            return None
        if str(arrays.get("digest")) != self.digest:
            return None

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
