"""What attributions are refused, and what that costs."""

import tracemalloc

import numpy as np
import pytest

from quantus.helpers.asserts import assert_attributions


@pytest.mark.utils
def test_assert_attributions_memory():
    """Test that no Python object is made for each value."""
    a_batch = np.random.default_rng(0).normal(size=(4, 3, 128, 128))
    tracemalloc.start()
    try:
        assert_attributions(x_batch=a_batch, a_batch=a_batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * a_batch.nbytes


@pytest.mark.utils
@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, -1.0])
def test_assert_attributions_constant(value):
    """Test that constant attributions are still refused."""
    x_batch = np.zeros((2, 3, 8, 8))
    with pytest.raises(AssertionError):
        assert_attributions(x_batch=x_batch, a_batch=np.full((2, 1, 8, 8), value))


@pytest.mark.utils
def test_assert_attributions_passes():
    """Test that one value that differs is enough, wherever it is, and that NaN passes as before."""
    x_batch = np.zeros((2, 3, 8, 8))
    for place in ((0, 0, 0, 0), (1, 0, 7, 7)):
        a_batch = np.full((2, 1, 8, 8), 0.5)
        a_batch[place] = 0.25
        assert_attributions(x_batch=x_batch, a_batch=a_batch)
    assert_attributions(x_batch=x_batch, a_batch=np.full((2, 1, 8, 8), np.nan))
