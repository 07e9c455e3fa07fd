"""The counter of crossings itself."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.hardening.device import Crossings


def test_copies_between_devices_are_counted():
    x = torch.ones(3, 4)
    with Crossings() as seen:
        y = x.to("meta")
        x.double()
        x.to("cpu").clone()
        y.copy_(x.float())
        torch.empty(3, 4, device="meta", dtype=torch.float64).copy_(x)
    assert seen.copies == {("cpu", "meta"): 3}
    assert seen.nbytes == {("cpu", "meta"): 48 + 48 + 96}
    assert not seen.waits


def test_waits_are_counted():
    x = torch.arange(6.0)
    with Crossings("cpu") as seen:
        bool((x > 2).any())
        x.sum().item()
        x[x > 2]
        x[torch.tensor([1, 2])]
        (x > 2).nonzero()
        x.add(1).mul(2)
    assert seen.waits == {"_local_scalar_dense": 2, "index by mask": 1, "nonzero": 1}
    with Crossings() as seen:
        x.sum().item()
    assert not seen.waits  # nothing of that is on a GPU


def test_backward_passes_and_other_modes_are_seen():
    leaf = torch.ones(3, requires_grad=True)

    class Crosses(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            gradient.to("meta")
            return gradient * float(gradient.sum())

    with Crossings("cpu") as seen:
        torch.autograd.grad(Crosses.apply(leaf).sum(), leaf)
    assert seen.copies == {("cpu", "meta"): 1}
    assert seen.waits == {"_local_scalar_dense": 1}
