"""Lets Quantus's own tests run where what they were written for is not installed: a pytest plugin.

They import TensorFlow, Keras, pytest-mock and pytest-lazy-fixture (which no pytest since 8 can
load), and Quantus 0.6.0 uses names that NumPy 2.4 no longer has. Whatever is installed is used.

- What needs TensorFlow or Keras is skipped, with that reason; tests for torch in the same file run.
- Keras would download CIFAR-10; noise of its shape stands in.
- A fixture named by ``lazy_fixture`` is made when the test is called, as pytest-lazy-fixture did.
- Random numbers of fixtures that are made before any test is seeded are the same in each run.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import random
import sys
from collections.abc import Generator, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from quantus.helpers.model import models

PACKAGES = ("tensorflow", "keras", "pytest_mock", "pytest_lazyfixture")
ABSENT = tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)
#: Names that Quantus 0.6.0 takes from NumPy and NumPy 2 dropped, and what they are called now.
RENAMED = {"NaN": "nan", "trapz": "trapezoid"}
_import = builtins.__import__


class Absent:
    """Whatever is asked of a package that is not installed; a test that gets hold of it is skipped.

    While fixtures are made nothing is raised: some that need TensorFlow are made for every test.
    """

    testing = False

    def __init__(self, package: str) -> None:
        self.package = package

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return self()

    def __call__(self, *args: Any, **kwargs: Any) -> Absent:
        """Give more of the same, or skip the test that asks."""
        if Absent.testing:
            pytest.skip(f"{self.package} is not installed")
        return self


class Lazy:
    """A fixture named where parameters are listed."""

    def __init__(self, name: str) -> None:
        self.name = name


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]


def _noise() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Stand in for ``keras.datasets.cifar10.load_data``."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(124, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, 10, size=(124, 1), dtype=np.uint8)
    return (x, y), (x, y)


def find(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> Any:
    """Import; a module of tests gets what is absent, or what needs it, as ``Absent``."""
    tests = str((globals or {}).get("__name__")).startswith("tests.")
    if tests and "tensorflow" in ABSENT:
        # `from quantus.helpers.utils import *` gives these where TensorFlow is installed.
        for given in ("tf", "TensorFlowModel"):
            globals.setdefault(given, Absent("tensorflow"))
    try:
        return _import(name, globals, locals, fromlist, level)
    except ModuleNotFoundError as error:
        if not tests or _package(error) not in ABSENT:
            raise
        if name == "keras.datasets":
            return SimpleNamespace(cifar10=SimpleNamespace(load_data=_noise))
        return Absent(_package(error))


def _tensorflow_model(name: str) -> Absent:
    """Give a model that Quantus defines only beside TensorFlow."""
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent("tensorflow")


def _install() -> None:
    """Put the stand-ins in place: when the plugin is loaded, which is before any conftest."""
    builtins.__import__ = find
    if "tensorflow" in ABSENT:
        vars(models)["__getattr__"] = _tensorflow_model
    for old, new in RENAMED.items():
        if not hasattr(np, old):
            setattr(np, old, getattr(np, new))
    for module, names in (
        ("pytest_lazyfixture", {"lazy_fixture": Lazy}),
        ("pytest_mock", {"MockerFixture": Any}),
    ):
        if module in ABSENT:
            sys.modules[module] = ModuleType(module)
            vars(sys.modules[module]).update(names)


_install()


def pytest_sessionstart() -> None:
    """Seed what fixtures of the session draw from."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the generator that they use
    torch.manual_seed(0)


if "pytest_mock" in ABSENT:

    @pytest.fixture
    def mocker() -> Iterator[Any]:
        """Give what Quantus's tests use of pytest-mock's fixture, put back at the end."""
        with contextlib.ExitStack() as active:

            def patch(target: str, new: Any) -> None:
                # Unless it is of TensorFlow's models.
                if "tensorflow" not in ABSENT or ".tf_model." not in target:
                    active.enter_context(mock.patch(target, new))

            def patch_dict(target: str, values: Any) -> None:
                active.enter_context(mock.patch.dict(target, values))

            vars(patch)["dict"] = patch_dict
            yield SimpleNamespace(patch=patch, MagicMock=mock.MagicMock, resetall=mock.Mock())


def pytest_make_parametrize_id(val: Any) -> str | None:
    """Name a parameter by its fixture."""
    return val.name if isinstance(val, Lazy) else None


def _held(value: Any) -> Iterator[Absent]:
    """Go through what is absent in a test's argument."""
    if isinstance(value, Absent):
        yield value
    elif isinstance(value, dict):
        yield from (found for each in value.values() for found in _held(each))
    elif isinstance(value, list | tuple):
        yield from (found for each in value for found in _held(each))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Make the fixtures that parameters name, and skip a test whose arguments are absent."""
    for name, value in pyfuncitem.funcargs.items():
        if isinstance(value, Lazy):
            pyfuncitem.funcargs[name] = pyfuncitem._request.getfixturevalue(value.name)
    # Not those of fixtures that are made for every test.
    asked = pyfuncitem._fixtureinfo.argnames
    for absent in _held([pyfuncitem.funcargs[name] for name in asked]):
        pytest.skip(f"{absent.package} is not installed")
    Absent.testing = True
    try:
        return (yield)
    finally:
        Absent.testing = False
