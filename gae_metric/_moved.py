"""Modules by the names of earlier documentation."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "images": "inputs.images",
    "labels": "inputs.labels",
    "models": "inputs.models",
    "preprocessing": "inputs.preprocessing",
    "weights": "inputs.weights",
    "noise": "companions.noise",
    "companions.plan": "companions.focus_plan",
    "functional.plan": "functional.mosaic_plan",
    "metrics.base": "metrics.attribution_metric",
    "metrics.cache": "study.cache",
    "metrics.explaining": "study.explaining",
}


class Moved(MetaPathFinder, Loader):
    """Finds them; each says once where it is now.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as told:
    ...     from gae_metric.images import load_images
    >>> load_images.__module__
    'gae_metric.inputs.images'
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a specification for an old name."""
        package, _, name = fullname.partition(".")
        known = package == "gae_metric" and name in MOVED
        return ModuleSpec(fullname, self) if known else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module itself in the place of an old name."""
        old = module.__name__
        new = f"gae_metric.{MOVED[old.partition('.')[2]]}"
        warnings.warn(f"{old} is {new} now", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)
