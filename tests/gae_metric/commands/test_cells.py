"""Cells are taken as they were written, or not at all."""

import os

import numpy as np
import pandas as pd

from gae_metric.commands.quantus_evaluation import Cells
from gae_metric.comparison.results import Cell


def test_cells_that_are_damaged_or_another_ones_are_not_taken(tmp_path):
    cells = Cells(tmp_path / "cells", "made")
    parts = pd.DataFrame({"LC": [0.25, 0.5]})
    cell = Cell(np.array([0.5, np.nan]), 2.0, ["a note"], parts, {"morf": np.ones((2, 3))}, None)
    assert cells.get("A", "GAE") is None
    cells.put("A", "GAE", cell)
    file, again = tmp_path / "cells" / "A.GAE.json", cells.get("A", "GAE")
    assert (again.seconds, again.notes) == (2.0, ["a note"])
    pd.testing.assert_frame_equal(again.components, parts)
    (tmp_path / "cells" / "B.GAE.json").write_bytes(file.read_bytes())
    (tmp_path / "cells" / "A.C.json").write_bytes(file.read_bytes())
    assert cells.get("B", "GAE") is None
    assert cells.get("A", "C") is None
    assert Cells(tmp_path / "cells", "other").get("A", "GAE") is None
    whole = file.read_bytes()
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        assert cells.get("A", "GAE") is None
    for size in (0, 1, 63, 64, 65, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert cells.get("A", "GAE") is None
    file.unlink()
    os.mkfifo(file)
    assert cells.get("A", "GAE") is None
