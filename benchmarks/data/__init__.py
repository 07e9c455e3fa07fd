"""Images and labels that methods are compared on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.data.names import Data, MaskedImages, check_data, open_data

#: Where each name is defined.
_HOMES = {
    "Data": "benchmarks.data.names",
    "MaskedImages": "benchmarks.data.names",
    "check_data": "benchmarks.data.names",
    "open_data": "benchmarks.data.names",
}

__all__ = [
    "Data",
    "MaskedImages",
    "check_data",
    "open_data",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
