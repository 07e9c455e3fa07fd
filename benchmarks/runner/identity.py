"""Digests of all that scores come from: weights, images, code, and the versions that matter."""

import functools
import importlib
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib import metadata
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from benchmarks.config.entries import ModelEntry
from benchmarks.methods import METHODS
from benchmarks.models import load
from gae_metric.commands import provenance
from gae_metric.commands.provenance import installed

#: Packages of the methods' sources.
_SOURCES = {"Captum": "captum", "pytorch-grad-cam": "grad-cam", "LXT": "lxt"}
#: What Quantus's own metrics segment, blur and count with.
OF_QUANTUS = ("scikit-image", "scikit-learn", "opencv-python", "opencv-python-headless")
#: Packages that are noted, too, and shown where they differ.
_NOTED = ("gae-metric", "pandas", "pyarrow", "ray")
#: Folders of our own code that no score comes from.
_NO_SCORES: dict[str, Sequence[str]] = {
    "abslrp": (),
    "gae_metric": ("comparison", "plotting", "probe"),
    "benchmarks": (
        *("compatibility", "figures", "notebooks", "paper", "report", "sanity", "speed"),
        *("studies", "tables", "check.py", "cli.py", "commands", "rehearse.py", "__main__.py"),
    ),
}


def versions() -> dict[str, str]:
    """Return the versions of packages, as far as they are installed, of Python and the system."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return found | _installed((*provenance.MATTER, *_SOURCES.values(), *_NOTED))


def matter(method: str = "") -> dict[str, str]:
    """Return the versions of what a method's scores depend on; or of what predictions do."""
    source = _SOURCES.get(METHODS[method].source) if method else None
    return _installed((*provenance.MATTER, *([source] if source else ())))


def model_digest(model: ModelEntry) -> str:
    """Return a digest of a model's weights, wherever they come from."""
    return provenance.digest(load(model.name, model.weights, model.args, model.size).model)


@functools.cache
def code_digest() -> str:
    """Return a digest of this project's own code that scores come from."""
    return provenance.digest_of_code(_NO_SCORES)


def module_digest(names: tuple[str, ...]) -> str:
    """Return a digest of modules, all that they import, and the versions of installed packages.

    What a module reads or imports by a name that is made when it runs is not seen.
    """
    stdlib, packages = sysconfig.get_paths()["stdlib"], {"site-packages", "dist-packages"}
    places = [p for p in sys.path if not p.startswith(stdlib) and not packages & {*Path(p).parts}]
    finder = ModuleFinder(path=places, excludes=[*_NO_SCORES])
    files: list[tuple[str, Path]] = []
    for name in names:
        try:
            finder.import_hook(name, fromlist=["*"])
        # Installed; or it names something that is never imported.
        except (ImportError, SyntaxError):  # noqa: PERF203 - a handful
            own = Path(str(getattr(importlib.import_module(name), "__file__", "")))
            inner = own.parent.rglob("*.py") if own.name == "__init__.py" else [own]
            files += [(f"{name}/{path.relative_to(own.parent).as_posix()}", path) for path in inner]
    for name, found in finder.modules.items():
        if file := getattr(found, "__file__", None):
            files.append((name, Path(file)))
    known = _distributions() if (missing := finder.any_missing()) else {}
    tops = {name.partition(".")[0] for name in missing} - {*_NO_SCORES}
    packages = {one for top in tops for one in known.get(top, ())}
    return provenance.digest_of_files(files, sorted(installed(packages).items()))


_installed = functools.cache(installed)
_distributions = functools.cache(metadata.packages_distributions)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in what settings differ, with values that can be read.

    Examples
    --------
    >>> old = {"weights": "f" * 64, "seed": 0, "versions": {"torch": "2.13.0"}}
    >>> differences(old, {"weights": "e" * 64, "seed": 0, "versions": {"torch": "2.14.0"}})
    ['weights', 'torch 2.13.0 (now 2.14.0)']
    """
    found = []
    for key in dict.fromkeys((*old, *new)):
        before, now = old.get(key), new.get(key)
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            # The options of a method by their own names, too.
            found += differences(before, now)
        elif all(v is not None and len(str(v)) <= 32 for v in (before, now)):
            found.append(f"{key} {before} (now {now})")
        else:
            found.append(key)
    return found
