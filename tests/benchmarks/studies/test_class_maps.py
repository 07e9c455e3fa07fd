"""Class maps with a contrast, against those that the weights of the last layer give by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.benchmarks.fakes import FAKES

CLASSES = 4


class Net(nn.Module):
    """A mean over positions and a linear layer follow the last feature map."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


@pytest.fixture(scope="module")
def case():
    model = Net().double().eval().requires_grad_(False)
    x = torch.rand(3, 3, 6, 6, dtype=torch.float64, generator=torch.manual_seed(1))
    return model, x.numpy(), np.array([2, 0, 3]), class_maps_of(model, x).numpy()


def class_maps_of(model, x):
    """Return each class's map (B, N, h, w); a mean over positions divides its gradient by them."""
    features = model.features(x)
    return torch.einsum("bkhw,nk->bnhw", features, model.head.weight) / features[0, 0].numel()


def explained(case, **options):
    model, x, y, _ = case
    return FAKES["ClassMap"].bind(**options)(model, x, y)


def test_contrasts_by_hand(case):
    _, _, y, maps = case
    for i, target in enumerate(y):
        own, common = maps[i, target], maps[i].mean(0)
        for contrast, shown in (
            (None, own),
            ("mean", own - common),
            ("scaled", own / own.sum() - common / common.sum()),
        ):
            found = explained(case, contrast=contrast)[i, 0]
            np.testing.assert_allclose(found, shown.clip(min=0), rtol=0, atol=1e-9)


def test_guided_maps_are_the_map_times_guided_backpropagation(case):
    model, x, y, maps = case
    first, weights = model.features[0], model.head.weight
    leaf = torch.tensor(x).requires_grad_()
    before = first(leaf)
    received = (weights[y] / 36)[:, :, None, None].clamp(min=0) * (before > 0)
    (back,) = torch.autograd.grad(before, leaf, received)
    own = np.stack([maps[i, target] for i, target in enumerate(y)]).clip(min=0)
    wanted = own[:, None] * back.numpy()
    largest = np.abs(wanted).max()
    found = explained(case, guided=True)
    np.testing.assert_allclose(found / largest, wanted / largest, rtol=0, atol=1e-9)


def test_guided_maps_of_squares_are_means_of_their_pixels(case):
    fine = explained(case, guided=True).clip(min=0)
    found = explained(case, guided=True, square=4)
    assert found.shape == fine.shape
    for rows in (slice(0, 4), slice(4, 6)):
        for columns in (slice(0, 4), slice(4, 6)):
            wanted = fine[:, :, rows, columns].mean((2, 3), keepdims=True)
            part = found[:, :, rows, columns]
            np.testing.assert_allclose(part, wanted + 0 * part, rtol=0, atol=1e-9 * wanted.max())
