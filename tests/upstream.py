"""What the tests of the contribution to Quantus share."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

CONTRIBUTION = Path(__file__).resolve().parents[1] / "contrib/quantus"
MODULES = ("compare", "running", "theirs", "topics", "upstream")
MARKS = [
    pytest.mark.skipif(
        version("quantus") != "0.6.0", reason="the contribution is made for quantus 0.6.0"
    ),
    pytest.mark.skipif(shutil.which("git") is None, reason="the contribution is made with git"),
    pytest.mark.skipif(not CONTRIBUTION.is_dir(), reason="contrib/ is not in this distribution"),
]


@contextlib.contextmanager
def scripts() -> Iterator[dict[str, ModuleType]]:
    """Import the modules of the contribution, which are scripts beside each other."""
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    sys.path.insert(0, str(CONTRIBUTION))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(CONTRIBUTION))
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
