"""What masked features become: the values, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gae_metric.functional import mask_baseline


def test_baselines():
    x = torch.rand(2, 3, 8, 8)
    assert mask_baseline(x, 2).item() == 2
    torch.testing.assert_close(mask_baseline(x, "mean"), x.mean((2, 3), keepdim=True))
    blurred = mask_baseline(x, "blur")
    assert blurred.shape == x.shape
    assert blurred.std() < x.std()
    torch.testing.assert_close(blurred[1:], mask_baseline(x[1:], "blur"))
    torch.testing.assert_close(mask_baseline(torch.ones(1, 2, 9), "blur"), torch.ones(1, 2, 9))


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        ("median", (1, 3, 4, 4), "'median'"),
        ("mean", (1, 4), "positions"),
        (math.nan, (1, 4), "finite"),
        (None, (1, 4), "finite numbers"),
        (1e39, (1, 4), "finite numbers of torch.float32"),
        (np.full(4, -1e39), (1, 4), "finite numbers of torch.float32"),
        (np.ones((2, 2)), (1, 3, 4, 4), r"broadcasts to one sample, \(3, 4, 4\)"),
    ],
)
def test_baselines_that_are_refused(value, shape, message):
    with pytest.raises(ValueError, match=f"mask_value: .*{message}"):
        mask_baseline(torch.ones(shape), value)
