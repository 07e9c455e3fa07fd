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


@pytest.fixture(scope="session")
def report_runs(tmp_path_factory):
    """Have two small runs and the page of them."""
    from tests.benchmarks.report_runs import make

    return make(tmp_path_factory.mktemp("report"))
