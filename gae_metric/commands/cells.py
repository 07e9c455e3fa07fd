"""A run's finished cells, so that a run that was stopped goes on."""

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from gae_metric.commands.folder import replace_file
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
        return self.folder / f"{quote(f'{method}.{metric}', safe='+')}.json"

    def put(self, method: str, metric: str, cell: Cell) -> None:
        """Keep a cell; its file is whole or not there."""
        parts = None if cell.components is None else cell.components.to_dict("list")
        kept = {**vars(cell), "components": parts}
        # Floating-point numbers come back as they were, NaN too.
        content = json.dumps(kept, default=lambda array: array.tolist()).encode()
        replace_file(self._file(method, metric), content + self._seal(method, metric, content))

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
