"""Cells are taken as they were written, or not at all."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from torch import nn

from gae_metric.commands import tables
from gae_metric.commands.cells import Cells
from gae_metric.commands.figures import write_figures
from gae_metric.commands.folder import begin
from gae_metric.comparison.results import Cell, Results


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


def test_runs_that_put_one_cell_at_the_same_time(tmp_path, monkeypatch):
    """Each has a file of its own until it is whole; one took the other's away."""
    mine, theirs = (Cells(tmp_path / "cells", "made") for _ in range(2))
    replace = os.replace

    def beside(*paths):
        monkeypatch.setattr(os, "replace", replace)
        theirs.put("A", "GAE", Cell(np.array([0.5])))
        replace(*paths)

    monkeypatch.setattr(os, "replace", beside)
    mine.put("A", "GAE", Cell(np.array([0.25])))
    assert theirs.get("A", "GAE").scores == [0.25]
    assert [file.name for file in mine.folder.iterdir()] == ["A.GAE.json"]


def test_what_was_there_stays_where_a_disk_has_no_room(tmp_path):
    """Tables, pages and figures were cut off; of run.json no later run knew what it was of."""
    resource = pytest.importorskip("resource")
    results = Results(("A",), {"GAE": "higher"}, np.zeros(40, dtype=np.int64))
    results.scores = {("A", "GAE"): np.linspace(0, 1, 40)}
    x, names = np.zeros((40, 3, 8, 8), np.float32), [f"{i}.png" for i in range(40)]
    inputs = tables.Inputs(nn.Identity(), x, names, results.targets, lambda x: x)
    one = tables.Evaluation("net", inputs, results, {"A": lambda inputs, **kwargs: inputs})
    settings = {"images": "x" * 1000, "methods": "A,B"}
    writers = {
        "scores.csv": lambda: tables.write_tables(tmp_path, [one], settings),
        "run.json": lambda: begin(tmp_path, settings),
        "report.html": lambda: tables.write_report(tmp_path / "report.html", [one], {}),
        "bars.png": lambda: write_figures(tmp_path, one),
    }
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, write in writers.items():
        before = json.dumps({"settings": settings | {"methods": "A"}})
        (tmp_path / name).write_text(before)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            with pytest.raises(OSError, match=f"{name}.*: File too large"):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / name).read_text() == before
        assert [file.name for file in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()
