"""What a rectifier takes is not kept beside what it returns, and no map changes by that."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from abslrp import forward
from abslrp.batch import Batch
from abslrp.forward import Pass, Settings, logits_of
from abslrp.tape import Call


class Net(nn.Module):
    """Two layers around what is tried."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(6, 8).double()
        self.last = nn.Linear(8, 3).double()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))

    def between(self, v: Tensor) -> Tensor:
        return v.relu()


class InPlace(Net):
    def between(self, v: Tensor) -> Tensor:
        return v.relu_()


class Pooled(Net):
    def between(self, v: Tensor) -> Tensor:
        return F.max_pool1d(v.relu()[:, None], 3, 1, 1)[:, 0]


class Joined(Net):
    def between(self, v: Tensor) -> Tensor:
        y = v.relu()
        return torch.cat([y[:, 4:], y[:, :4]], 1)


class Residual(Net):
    def between(self, v: Tensor) -> Tensor:
        y = v.relu()
        return (y + y.flip(1)).relu()


class Masked(Net):
    """Scores that are closed as in attention: where the result is above 0 it is what was given."""

    def between(self, v: Tensor) -> Tensor:
        return v.masked_fill(torch.arange(8) > 5, float("-inf")).softmax(1)


class TakenTwice(Net):
    def between(self, v: Tensor) -> Tensor:
        return v.relu() + v


class Kept(Net):
    def between(self, v: Tensor) -> Tensor:
        self.seen = [v, v.relu()]
        return self.seen[1]


class SeenFromOutside(Net):
    def between(self, v: Tensor) -> Tensor:
        y = v.relu()
        self.seen = [v.view(-1)]
        return y


class Squared(Net):
    """A power passes relevance on, so that relevance of an entry that is 0 need not be 0."""

    def between(self, v: Tensor) -> Tensor:
        return (v.relu() + 1.0).square()


class Activated(Net):
    def between(self, v: Tensor) -> Tensor:
        return v.relu().sigmoid()


class Unknown(Net):
    def between(self, v: Tensor) -> Tensor:
        return torch.special.erfcx(v.relu())


SHARED = [Net, InPlace, Pooled, Joined, Residual, Masked]
OWN = [TakenTwice, Kept, SeenFromOutside, Squared, Activated, Unknown]


def held(model: nn.Module, x: Tensor, *, release: bool) -> int:
    """Count the tensors that are kept of a forward pass."""
    run = Pass(Settings(on_unknown="warn"), signed=False)
    if not release:
        run.tape.released = None
    logits_of(model, Batch.of(model, x, None), run)
    values = [value for call in run.tape.calls for value in call.outputs if value is not None]
    count = len({value.tensor.untyped_storage().data_ptr() for value in values})
    run.forget()
    return count


@pytest.mark.parametrize("kind", SHARED)
def test_one_tensor_serves_for_both(kind):
    x = torch.rand(2, 6, dtype=torch.float64)
    assert held(kind().eval(), x, release=True) < held(kind().eval(), x, release=False)


@pytest.mark.parametrize("causal", [True, False])
def test_of_attention_three_arrays_are_kept(causal: bool) -> None:
    """The product, the scores, with those that are closed, and the weights."""

    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mask = None if causal else torch.ones(9, 9, dtype=torch.bool).triu()
            result = F.scaled_dot_product_attention(x, x, x, mask, is_causal=causal)
            return result.sum(1)

    run, model, x = Pass(Settings(), signed=False), Attention().eval(), torch.rand(2, 9, 4)
    logits_of(model, Batch.of(model, x, None), run)
    values = [value for call in run.tape.calls for value in call.outputs if value is not None]
    square = [value.tensor for value in values if value.shape[-2:] == (9, 9)]
    assert len(square) == 4
    assert len({one.untyped_storage().data_ptr() for one in square}) == 3
    run.forget()


@pytest.mark.parametrize("kind", OWN)
def test_what_is_needed_is_kept(kind):
    x = torch.rand(2, 6, dtype=torch.float64)
    assert held(kind().eval(), x, release=True) == held(kind().eval(), x, release=False)


@pytest.mark.filterwarnings("ignore:.*erfcx:UserWarning")
@pytest.mark.parametrize("rules", ["absLRP", "epsilon", "alpha2beta1", "RAP"])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("kind", [*SHARED, *OWN])
def test_maps_are_the_same(kind, accelerate, rules, monkeypatch):
    model, x = kind().eval(), torch.rand(2, 6, dtype=torch.float64)
    given = {"rules": rules, "accelerate": accelerate, "on_unknown": "warn"}
    found = abslrp.explain(model, x, [0, 2], **given)
    monkeypatch.setattr(forward, "release", lambda value, memory: None)
    assert torch.allclose(found, abslrp.explain(model, x, [0, 2], **given), rtol=1e-12, atol=0)


@pytest.mark.parametrize("net", [Net, InPlace, Pooled, TakenTwice])
def test_what_is_computed_does_not_depend_on_what_is_kept(net: type[Net]) -> None:
    """Factors cancel through a rectifier whose call is forgotten, as where abslrp.plan keeps it."""
    model = net().eval().float()  # in float64 epsilon is seen
    x, computed = torch.rand(2, 6) - 0.5, []
    for keep in (True, False):
        run = Pass(Settings(), signed=False)
        logits, wanted = logits_of(model, Batch.of(model, x, None), run)
        times: list[list[str]] = []

        def note(call: Call, what: str, factors: Any, times: list[list[str]] = times) -> None:
            times.append([what, *(one.kind for one in factors)])

        for _ in run.relevance(logits, [torch.eye(3)[None, :2]], wanted, keep=keep, done=note):
            run.forget()
        computed.append(times)
    assert computed[0] == computed[1]
    if net is Net:  # at the linear layer: of y+ / |h| no more is left than where h is above 0
        assert ["times", "above"] in computed[1]
