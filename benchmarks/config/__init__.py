"""What a run is of: its configuration, read and checked."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.config.runs import Run, import_modules, parse, read

#: Where each name is defined.
_HOMES = {
    "Run": "benchmarks.config.runs",
    "import_modules": "benchmarks.config.runs",
    "parse": "benchmarks.config.runs",
    "read": "benchmarks.config.runs",
}

__all__ = [
    "Run",
    "import_modules",
    "parse",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
