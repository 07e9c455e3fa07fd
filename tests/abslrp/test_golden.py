"""Relevance of the authors' published code for a timm ResNet, from both starts (SPEC 1.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch

import abslrp
from tests.naive.golden import shared_folder

FILE = shared_folder() / "golden" / "resnet_basic.npz"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"the reference material {FILE} is not part of the project"
)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return dict(np.load(FILE))


@pytest.fixture(scope="module")
def model(golden: dict[str, Any]) -> torch.nn.Module:
    net = timm.models.resnet.ResNet(
        timm.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10, stem_width=8,
        channels=(4, 8, 16, 32),
    )  # fmt: skip
    net.load_state_dict(
        {k[len("state/") :]: torch.as_tensor(v) for k, v in golden.items() if "/" in k}
    )
    return net.eval()


def one_hot(golden: dict[str, Any]) -> Any:
    start = np.zeros(golden["logits"].shape)
    start[np.arange(len(start)), golden["target"]] = 1
    return start


@pytest.mark.parametrize("name", ["onehot", "signed"])
def test_relevance_is_that_of_the_published_code(
    golden: dict[str, Any], model: torch.nn.Module, name: str
) -> None:
    start = one_hot(golden) if name == "onehot" else golden["start_signed"]
    got = abslrp.relevance(model.double(), golden["x"].astype(np.float64), start)
    assert np.abs(golden[f"relevance_{name}"]).max() > 1e-4
    np.testing.assert_allclose(got, golden[f"relevance_{name}"], rtol=0, atol=1e-8)


def test_explain_starts_at_the_target(golden: dict[str, Any], model: torch.nn.Module) -> None:
    x, target = golden["x"].astype(np.float32), golden["target"]
    got = abslrp.explain(model.float(), x, target, contrast=None)
    np.testing.assert_allclose(got, golden["relevance_onehot"], rtol=0, atol=1e-6)


def test_logits_are_those_of_the_published_code(
    golden: dict[str, Any], model: torch.nn.Module
) -> None:
    """Ours in float64, so that what differs is the rounding of the stored float32 alone.

    A float32 sum of n products is off by at most n 2^-24 of the sum of their magnitudes (and a
    little for the layers before it); it does not depend on the processor that runs the test.
    """
    x = torch.as_tensor(golden["x"]).double().requires_grad_()
    features: list[torch.Tensor] = []
    hook = model.fc.register_forward_hook(lambda _, inputs, output: features.append(inputs[0]))
    with hook, abslrp.propagation(inputs=[x]):
        logits = model.double()(x)
    terms = features[0].abs() @ model.fc.weight.abs().T + model.fc.bias.abs()
    bound = (len(model.fc.weight[0]) + 1) * 2.0**-24 * terms
    off = (logits - torch.as_tensor(golden["logits"])).abs()
    assert 1e-6 < bound.max() < 1e-4
    assert (off <= bound).all()
