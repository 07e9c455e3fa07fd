"""What the tests of runs share."""

import pytest

from benchmarks.methods import METHODS
from tests.benchmarks.fakes import FAKES

# Importing the module registers its methods; only the tests that ask for them may see them,
# whoever imports it (pytest does, looking for doctests).
for name in FAKES:
    del METHODS[name]


@pytest.fixture(scope="module")
def fake_methods():
    """Have the methods of tests.benchmarks.fakes for the tests of a module, and no longer."""
    METHODS.update(FAKES)
    yield
    for name in FAKES:
        del METHODS[name]
