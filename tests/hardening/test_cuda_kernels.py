"""On a CUDA device: kernels recorded and replayed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp
from gae_metric import GAE, clear_cache
from gae_metric.demo import digits, networks
from tests.hardening.networks import NAMES, inputs, network

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """No TensorFloat-32, and nothing cached."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    clear_cache()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.mark.parametrize("name", NAMES)
def test_recorded_kernels_give_the_same_maps(name):
    """Also for other inputs and targets, changed weights, another shape and several targets."""
    (x, y), model = inputs(), network(name).cuda()
    x, y = x.cuda(), y.cuda()
    explain = abslrp.GraphExplainer()
    for turn in range(5):
        images, targets = (x.roll(turn, 0) * (1 + turn / 10)), y.roll(turn, 0)
        found = explain(model, images, targets)
        torch.testing.assert_close(found, abslrp.explain(model, images, targets))
    assert len(explain._graphs) == 1
    with torch.no_grad():
        next(iter(model.parameters())).mul_(1.5)  # read anew
    torch.testing.assert_close(explain(model, x, y), abslrp.explain(model, x, y))
    assert len(explain._graphs) == 1
    first = next(iter(model.parameters()))
    first.data = first.data * 0.5  # other memory
    torch.testing.assert_close(explain(model, x, y), abslrp.explain(model, x, y))
    several = torch.stack([y, y.flip(0)], 1)
    for _ in range(3):
        torch.testing.assert_close(
            explain(model, x, several, contrast=None),
            abslrp.explain(model, x, several, contrast=None),
        )
    for _ in range(3):
        with pytest.raises(ValueError, match="targets: expected classes from 0 to"):
            explain(model, x, [10_000] * len(x))
    arrays = explain(model, x.cpu().numpy(), y.cpu().numpy())
    np.testing.assert_allclose(arrays, abslrp.explain(model, x, y).cpu().numpy(), rtol=1e-4)
    explain.clear()
    assert not explain._graphs


def test_a_model_that_waits_for_the_device_is_not_recorded():
    class Waits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) if float(x.detach().sum()) != 0 else self.net(-x)

    model, x = Waits().cuda().eval(), torch.rand(2, 4).cuda()
    explain = abslrp.GraphExplainer()
    wanted = abslrp.explain(model, x, [0, 1])
    torch.testing.assert_close(explain(model, x, [0, 1]), wanted)
    with pytest.warns(RuntimeWarning, match="cannot be recorded"):
        found = explain(model, x, [0, 1])
    torch.testing.assert_close(found, wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(explain(model, x, [0, 1]), wanted)


def test_a_model_whose_constants_are_of_several_samples_is_not_recorded():
    """Recorded, its maps would depend on the other samples of a batch."""

    class Softmax(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            h = super().forward(x)
            e = (h - h.detach().max()).exp()
            return e / e.sum(1, keepdim=True)

    model = Softmax(6, 4).eval().to("cuda")
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(0)).to("cuda")
    explain = abslrp.GraphExplainer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = torch.cat([abslrp.explain(model, x[i : i + 1], [1]) for i in range(3)])
        for _ in range(3):
            assert torch.allclose(explain(model, x, [1, 1, 1]), alone, atol=1e-5)


def test_scores_of_recorded_explanations():
    x, y = digits.load("test", n=8)
    model = networks.load("resnet").cuda()
    wanted = GAE(disable_warnings=True)(model, x, y, explain_func=abslrp.explain)
    clear_cache()
    found = GAE(disable_warnings=True)(model, x, y, explain_func=abslrp.GraphExplainer())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
