"""The references of gradient methods and class activation maps: by hand, by autograd, by sums."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.naive import alpha_beta, cams, chain, vit
from tests.naive import gradients as gr
from tests.naive.test_selfcheck_authors import linear, numbers

CHAINS = [chain.plain_network, chain.residual_network, chain.smooth_network]
TRANSFORMERS = [vit.small_vit, vit.one_block, vit.three_blocks, vit.averaged]


def by_autograd(model: Any, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[0, target], leaf)
    return gradient


def image(*size: int) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("make", CHAINS)
def test_gradients_of_chains_are_autograd_s(make: Any) -> None:
    network, x = make(), image(8, 8)
    for target in range(4):
        expected = by_autograd(network, x, target)
        torch.testing.assert_close(gr.gradient(network, x, target), expected)


@pytest.mark.parametrize("make", TRANSFORMERS)
def test_gradients_of_transformers_are_autograd_s(make: Any) -> None:
    model = make()
    x = image(*model.patch_embed.img_size)
    torch.testing.assert_close(vit.forward(model, x).logits, model(x)[0])
    torch.testing.assert_close(vit.gradients(model, x, 2).image, by_autograd(model, x, 2))


@pytest.mark.parametrize("make", CHAINS)
def test_integrated_gradients_add_up(make: Any) -> None:
    network, x = make(), image(8, 8)
    change = (network(x) - network(torch.zeros_like(x)))[0, 1]
    map_ = gr.integrated_gradients(lambda p: gr.gradient(network, p, 1), x, 200)
    assert abs(map_.sum() - change) < 0.01 * map_.abs().sum()


def test_deeplift_adds_up() -> None:
    """Where all that a window holds for the baseline is the same, as behind this first layer."""
    network, x = chain.residual_network(), image(8, 8)
    change = (network(x) - network(torch.zeros_like(x)))[0, 1]
    torch.testing.assert_close(gr.deeplift(network, x, 1).sum(), change)


def test_the_rectifiers() -> None:
    """Inputs (1, -1, 1, -1) of a ReLU which receives (2, 2, -2, -2)."""
    x, received = numbers(1, -1, 1, -1), numbers(2, 2, -2, -2)
    assert gr.own(x, received).tolist() == [[2, 0, -2, 0]]
    assert gr.deconvolved(x, received).tolist() == [[2, 2, 0, 0]]
    assert gr.guided(x, received).tolist() == [[2, 0, 0, 0]]


def test_rescaling() -> None:
    """y = relu(2 x - 1) at x = 2: from 0 to 3 over a change of the ReLU's input from -1 to 3."""
    network = nn.Sequential(linear([[2]], bias=-1), nn.ReLU())
    assert gr.deeplift(network, numbers(2), 0).tolist() == [[3]]
    # At x = -2 nothing changes; at 1/4 too, though the slope above 1/2 is 2.
    assert gr.deeplift(network, numbers(-2), 0).abs().tolist() == [[0]]
    assert gr.deeplift(network, numbers(0.25), 0).abs().tolist() == [[0]]


def test_integrated_gradients_of_a_cube() -> None:
    """The mean of 3 (a x)^2 over a is x^2: two nodes are exact."""
    assert gr.integrated_gradients(lambda p: 3 * p**2, numbers(2), 2).item() == pytest.approx(8)
    assert gr.integrated_gradients(lambda p: 3 * p**2, numbers(2), 1).item() == pytest.approx(6)


def test_smoothgrad_is_a_mean_of_absolute_values() -> None:
    assert gr.smoothgrad(lambda p: p, [numbers(1), numbers(-3)]).tolist() == [[2]]


def test_class_activation_maps_by_hand() -> None:
    """A = (1, 2), (1, -1) and G = (2, -1), (1, 1), one row each."""
    a = torch.tensor([[[1.0, 2.0]], [[1.0, -1.0]]]).double()
    g = torch.tensor([[[2.0, -1.0]], [[1.0, 1.0]]]).double()
    assert cams.gradcam(a, g).tolist() == [[1.5, 0]]  # weights 1/2 and 1
    assert cams.hirescam(a, g).tolist() == [[3, 0]]  # 2 + 1, and -2 - 1
    assert cams.layercam(a, g).tolist() == [[3, 0]]  # 2 + 1, and 0 - 1
    # alpha 4 / (8 + 3 * 8) times 2, and 1 / (2 + 0) twice.
    assert cams.gradcam_plus_plus(a, g).tolist() == [[1.25, 0]]
    assert cams.gradcam_plus_plus(a, g, 1e9).abs().max() < 1e-6
    assert cams.layercam(a, -g).tolist() == [[0, 2]]
    assert cams.guided_gradcam(torch.full((1, 2, 1, 2), -2.0).double(), a, g)[0, 1, 0, 0] == -3
    assert cams.scaled(numbers(1, 2, 3)).tolist()[0] == pytest.approx([0, 0.5, 1])


def test_alpha_beta_by_hand() -> None:
    """z = (3, -1): a bias of 1 takes 1 / 4 of alpha's share, one of -1 half of beta's."""
    z = torch.tensor([3.0, -1.0]).double()
    assert alpha_beta.shares(z, 1.0, 2, 1).tolist() == pytest.approx([1.5, -1], abs=1e-5)
    assert alpha_beta.shares(z, -1.0, 2, 1).tolist() == pytest.approx([2, -0.5], abs=1e-5)
    network = nn.Sequential(linear([[3, -1]], bias=1))
    given = alpha_beta.lrp_alpha_beta(network, numbers(1, 1), 0, 1, 0)
    assert given.tolist()[0] == pytest.approx([0.75, 0], abs=1e-5)
