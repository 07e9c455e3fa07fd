"""What masked features become: the values, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gae_metric import LocalFaithfulness, cache_info
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


COLOUR = np.array([0.125, 0.25, 0.5], np.float32)[:, None, None]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "value",
    [
        torch.nn.Parameter(torch.tensor(COLOUR)),
        torch.tensor(COLOUR).bfloat16(),
        torch.tensor(COLOUR)[:, 0, 0].requires_grad_()[:, None, None],
        *(COLOUR.astype(kind) for kind in (">f4", ">f8", "f2", np.longdouble)),
        COLOUR.tolist(),
    ],
    ids=["parameter", "bfloat16", "gradient", ">f4", ">f8", "f2", "longdouble", "list"],
)
def test_baselines_of_any_kind_of_numbers(value):
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(mask_baseline(x, value), torch.tensor(COLOUR), rtol=0, atol=0)
    assert mask_baseline(x, (8 * COLOUR).astype(">i2")).flatten().tolist() == [1, 2, 4]
    conv = torch.nn.Conv2d(3, 2, 3).eval()
    net = torch.nn.Sequential(conv, torch.nn.Flatten()).eval()
    metric = LocalFaithfulness(mask_value=value, steps=2, disable_warnings=True)
    before = cache_info().hits
    first, again = (metric(net, x, [0, 1], a_batch=x) for _ in range(2))
    assert first == again
    assert cache_info().hits == before + 2


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
