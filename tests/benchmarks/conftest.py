"""What the tests of runs share."""

import pytest

from benchmarks.methods import METHODS


@pytest.fixture(scope="module")
def fake_methods():
    """Have the methods of tests.benchmarks.fakes for the tests of a module, and no longer."""
    from tests.benchmarks.fakes import FAKES

    METHODS.update(FAKES)
    yield
    for name in FAKES:
        del METHODS[name]
