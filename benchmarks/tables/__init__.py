"""A run's tables beside the paper's, and what a run costs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.tables.against_paper import (
        ROW_NAMES,
        Written,
        build_tables,
        columns_of_run,
        write_tables,
    )
    from benchmarks.tables.model_table import Table

#: Where each name is defined.
_HOMES = {
    "ROW_NAMES": "benchmarks.tables.against_paper",
    "Table": "benchmarks.tables.model_table",
    "Written": "benchmarks.tables.against_paper",
    "build_tables": "benchmarks.tables.against_paper",
    "columns_of_run": "benchmarks.tables.against_paper",
    "write_tables": "benchmarks.tables.against_paper",
}

__all__ = [
    "ROW_NAMES",
    "Table",
    "Written",
    "build_tables",
    "columns_of_run",
    "write_tables",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
