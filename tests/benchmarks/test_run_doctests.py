"""The examples in the documentation of runs and tables."""

import doctest
import importlib

import pytest

NAMES = (
    *("config.runs", "config.entries", "metrics.registry"),
    *("metrics.metric_call", "runner.store", "runner.shards", "paper"),
    *("figures.kinds", "figures.sheets", "figures.two_classes", "figures.plan"),
)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert result.failed == 0
    assert result.attempted > 0
