"""The examples in the documentation of runs and tables."""

import doctest
import importlib

import pytest

NAMES = (
    *("config", "entries", "names", "blocks", "metrics", "seeding", "store", "shards", "paper"),
    *("figures.choice", "figures.kinds", "figures.several", "figures.write"),
)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert result.failed == 0
    assert result.attempted > 0
