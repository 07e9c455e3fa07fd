"""Metrics by name, as a run calls them block by block."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.metrics.registry import (
        METRICS,
        Kind,
        check_metric,
        columns_of,
        defaults_of,
        find_metric,
        needs,
        needs_masks,
        score,
    )

#: Where each name is defined.
_HOMES = {
    "METRICS": "benchmarks.metrics.registry",
    "Kind": "benchmarks.metrics.registry",
    "check_metric": "benchmarks.metrics.registry",
    "columns_of": "benchmarks.metrics.registry",
    "defaults_of": "benchmarks.metrics.registry",
    "find_metric": "benchmarks.metrics.registry",
    "needs": "benchmarks.metrics.registry",
    "needs_masks": "benchmarks.metrics.registry",
    "score": "benchmarks.metrics.registry",
}

__all__ = [
    "METRICS",
    "Kind",
    "check_metric",
    "columns_of",
    "defaults_of",
    "find_metric",
    "needs",
    "needs_masks",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
