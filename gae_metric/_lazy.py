"""Packages whose names are imported when they are used, as most need torch or Quantus."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, names: Mapping[str, Iterable[str]], rooms: Mapping[str, str] | None = None
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__all__``, ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Parameters
    ----------
    package
        Its name.
    names
        By module of the package, the names that it exports of it.
    rooms
        By name, modules that it has as attributes.

    Examples
    --------
    >>> exported, find, _ = lazy("gae_metric", {"errors": ["InputError"]})
    >>> exported, find("InputError").__name__
    (['InputError'], 'InputError')
    """
    homes = {name: f"{package}.{home}" for home, own in names.items() for name in own}
    modules = rooms or {}

    def find(name: str) -> Any:
        if name in modules:
            return import_module(modules[name])
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return list(homes), find, lambda: sorted({*vars(sys.modules[package]), *homes, *modules})
