"""The examples in the documentation of the benchmarks, which is no part of the package."""

import doctest
import importlib
import pkgutil

import pytest

import benchmarks.methods

#: Modules of :mod:`benchmarks` with examples, apart from the methods.
OTHERS = ("data.names", "methods.matrix", "models")
NAMES = [
    *(f"benchmarks.{name}" for name in OTHERS),
    *(
        f"benchmarks.methods.{one.name}"
        for one in pkgutil.iter_modules(benchmarks.methods.__path__)
    ),
    "benchmarks.methods",
]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0 or name not in [f"benchmarks.{one}" for one in OTHERS]
