"""Eq. 12 takes a shorter path for inputs known to be non-negative: no such claim may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import abslrp
from abslrp.registry import RULE_SETS, RuleSet
from tests.abslrp.single import draw, tensor
from tests.naive import rules

CONSTANT = draw(3, 4, seed=5)
WHOLE = torch.tensor([[2, -1, 3, -1], [-1, 2, -2, 3], [1, -3, -1, 2]])
INDEX = torch.tensor([0])
EYE = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)


def assigned(x: Tensor, value: Any) -> Tensor:
    x = x.clone()
    x[:, 0] = value
    return x


def through_view(x: Tensor) -> Tensor:
    x = x.clone()
    part = x[:, 0]
    part.sub_(2.0)
    return x


def through_view_add(x: Tensor) -> Tensor:
    x = x * 1.0
    part = x[:, 0]
    part += tensor(CONSTANT[0]) - 3
    return x


def copied(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1].copy_(tensor(CONSTANT[1]))
    return x


PRODUCERS: dict[str, Callable[[Tensor], Tensor]] = {
    "negate": lambda x: -x,
    "scale": lambda x: x * -1.5,
    "scale by tensor": lambda x: x * tensor(CONSTANT),
    "scale in place": lambda x: x.clone().mul_(-1),
    "divide": lambda x: x / -2,
    "divide a constant": lambda x: -1 / (x + 0.5),
    "shift": lambda x: x - 0.5,
    "shift in place": lambda x: x.clone().sub_(0.5),
    "add tensor": lambda x: x + tensor(CONSTANT),
    "add scalar": lambda x: x + -0.5,
    "alpha": lambda x: torch.add(x, x * 2, alpha=-1),
    "a small alpha": lambda x: torch.add(x, x.flip(1), alpha=-0.5),
    "rsub": lambda x: 0.5 - x,
    "sub": lambda x: x - 2 * x.flip(1),
    "pad": lambda x: F.pad(x, (1, 0), value=-1.0)[..., :-1],
    "pad positionally": lambda x: F.pad(x, (1, 0), "constant", -1.0)[..., :-1],
    "masked_fill": lambda x: x.masked_fill(tensor(CONSTANT) > 0, -2.0),
    "masked_fill tensor": lambda x: x.masked_fill(tensor(CONSTANT) > 0, tensor(-2.0)),
    "index_fill": lambda x: x.index_fill(1, INDEX, -1.0),
    "cat": lambda x: torch.cat([x, tensor(CONSTANT).expand(2, 3, 4)], 1)[:, 1:4],
    "stack": lambda x: torch.stack([x[:, 0], tensor(CONSTANT)[:2], x[:, 1]], 1),
    "where tensor": lambda x: torch.where(tensor(CONSTANT) > 0, x, tensor(CONSTANT)),
    # Constants of whole numbers are no indices there.
    "cat whole numbers": lambda x: torch.cat([x, WHOLE.expand(2, 3, 4)], 1)[:, 1:4],
    "stack whole numbers": lambda x: torch.stack([x[:, 0], WHOLE[:2], x[:, 1]], 1),
    "where whole numbers": lambda x: torch.where(WHOLE > 0, x, WHOLE),
    "masked_fill whole number": lambda x: x.masked_fill(WHOLE > 0, torch.tensor(-2)),
    "minimum of whole numbers": lambda x: torch.minimum(x, WHOLE),
    "fmin of whole numbers": lambda x: torch.fmin(x, WHOLE),
    "where scalar": lambda x: torch.where(tensor(CONSTANT) > 0, x, -1.0),
    "setitem scalar": lambda x: assigned(x, -1.0),
    "setitem tensor": lambda x: assigned(x, tensor(CONSTANT[0])),
    "setitem active": lambda x: assigned(x, x[:, 1] * -1),
    "copy_ to a view": copied,
    "sub_ on a view": through_view,
    "+= on a view": through_view_add,
    "clamp": lambda x: x.clamp(max=-0.1),
    "clamp both": lambda x: torch.clamp(x, -2, -0.1),
    "clamp tensors": lambda x: torch.clamp(x, tensor(-2.0), tensor(-0.1)),
    "clamp_max": lambda x: torch.clamp_max(x - 0.5, 1.0),
    "clamp_max_": lambda x: x.clone().clamp_max_(-0.3),
    "clamp none": lambda x: x.clamp(None, -0.3),
    "threshold": lambda x: F.threshold(x, 0.5, -3.0),
    "torch.threshold": lambda x: torch.threshold(x, 0.5, -3.0),
    "log": lambda x: torch.log(x.abs() + 0.1),
    "pow": lambda x: torch.pow(x - 0.5, 3),
    "minimum": lambda x: torch.minimum(x, tensor(CONSTANT)),
    "maximum": lambda x: torch.maximum(x - 1, tensor(CONSTANT)),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "cumsum": lambda x: (x - 0.5).cumsum(1),
    "bicubic": lambda x: F.interpolate(x[None], size=(3, 4), mode="bicubic")[0] - 0.1,
    "batch norm": lambda x: F.layer_norm(x, [4]),
    "leaky": lambda x: F.leaky_relu(x - 1),
    "gelu": lambda x: F.gelu(x - 1),
    "hardtanh": lambda x: F.hardtanh(x - 1),
    "hardtanh below 0": lambda x: F.hardtanh(x, -2.0, -0.5),
    "hardtanh without bounds": lambda x: torch.ops.aten.hardtanh(x - 1),
    "linear": lambda x: F.linear(x, tensor(draw(4, 4))),
    "divide by active": lambda x: x / (x.flip(0) - 0.3),
    "gate": lambda x: x * (x.flip(0) - 0.3),
}

CASES = [
    pytest.param(call, rectify, id=f"{name}{'-relu' if rectify else ''}")
    for name, call in PRODUCERS.items()
    for rectify in (False, True)
]


@pytest.mark.parametrize(("call", "rectify"), CASES)
def test_negative_values_are_noticed(call: Callable[[Tensor], Tensor], rectify: bool) -> None:
    """The weights' negative part matters to negative inputs, however those were made."""
    w = draw(6, 4)
    x = tensor(draw(2, 3, 4))
    with abslrp.propagation(conserve=None, inputs=[x]) as context:
        made = call(x.relu() if rectify else x.clone())
        made = made.contiguous().view(made.shape)  # a tensor of our own to read relevance at
        logits = F.linear(made, tensor(w))
    assert (made < 0).any()
    R = draw(2, 3, 6)
    (got,) = context.relevance(logits, tensor(R), [made])
    assert got is not None
    expected = rules.linear(made.detach().numpy(), w, None, R)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=1e-9)


ACTIVATIONS = [
    F.relu, F.relu6, F.gelu, F.silu, F.mish, F.elu, F.selu, F.celu, F.hardswish, F.hardsigmoid,
    F.hardtanh, F.leaky_relu, F.softplus, F.logsigmoid, F.softsign, F.tanhshrink, torch.tanh,
    torch.sigmoid, torch.exp, torch.expm1, torch.erf, torch.sin, torch.square, torch.abs,
    lambda x: x**2, lambda x: x**3, lambda x: x.clamp(-1, 1), lambda x: x.clamp(min=0),
    lambda x: x.clamp(min=0.2), lambda x: x.softmax(1), lambda x: F.hardtanh(x, 0.0, 6.0),
]  # fmt: skip


@pytest.mark.parametrize("function", ACTIVATIONS, ids=range(len(ACTIVATIONS)))
def test_signs_after_an_activation_function(function: Callable[[Tensor], Tensor]) -> None:
    w, x = draw(6, 4), tensor(3 * draw(2, 3, 4))
    with abslrp.propagation(conserve=None, inputs=[x]) as context:
        made = function(x.clone())
        logits = F.linear(made, tensor(w))
    R = draw(2, 3, 6)
    (got,) = context.relevance(logits, tensor(R), [made])
    assert got is not None
    expected = rules.linear(made.detach().numpy(), w, None, R)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=1e-9)


def claimed(call: Callable[[Tensor], Tensor], rules: str) -> bool:
    """Whether a result is known to have no negative entry."""
    seen: list[bool] = []
    watching = RuleSet("watching", RULE_SETS[rules])

    @watching.rule(torch.sinc)
    def watched(call: abslrp.Call, input: Any) -> Any:
        seen.append(input.nonnegative)
        return abslrp.passing(input)

    x = tensor(draw(2, 3, 4))
    with abslrp.propagation(watching, inputs=[x]):
        torch.sinc(call(x))
    return seen[0]


RECTIFYING: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(1),
    "clamp": lambda x: x.clamp(0),
    "clamp by name": lambda x: torch.clamp(x, min=0.5),
    "clamp both": lambda x: torch.clamp(x, 0.0, 2.0),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_": lambda x: x.clone().clamp_(0),
}
KEEPING: dict[str, Callable[[Tensor], Tensor]] = {
    "scale by 0": lambda x: x * 0,
    "scale": lambda x: 0.5 * x,
    "divide": lambda x: x / 0.5,
    "gate": lambda x: x * x.flip(1),
    "add": lambda x: x + x.flip(1),
    "alpha": lambda x: torch.add(x, x.flip(1), alpha=0.5),
    "clamp_max": lambda x: x.clamp_max(0.5),
    "clamp at 0": lambda x: x.clamp(max=0),
    "clamp around 0": lambda x: x.clamp(-1, 0.5),
    "dropout": lambda x: torch.dropout(x, 0.0, True),
    "mean": lambda x: x.mean(1),
    "average pool": lambda x: F.avg_pool1d(x, 2),
    "cumsum": lambda x: x.cumsum(1),
    "cat": lambda x: torch.cat([x, x.flip(1)]),
    "pad": lambda x: F.pad(x, (1, 1), value=0.5),
    "index": lambda x: x[:, torch.tensor([-1, 0])],
    "index_put": lambda x: x.index_put((INDEX,), x[1]),
}


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
@pytest.mark.parametrize("name", [*RECTIFYING, *KEEPING])
def test_what_cannot_be_negative_is_known(name: str, rules: str) -> None:
    """A claim that was lost would double the cost of the next product, without any failure."""
    if name in RECTIFYING:
        assert claimed(RECTIFYING[name], rules)
    else:
        assert claimed(lambda x: KEEPING[name](x.relu()), rules)
        assert not claimed(lambda x: KEEPING[name](x * 1.0), rules)


@pytest.mark.parametrize("rules", ["absLRP", "epsilon", "alpha1beta0"])
@pytest.mark.parametrize(
    ("call", "plain"),
    [
        (lambda x: 0 - x, torch.neg),
        (lambda x: torch.rsub(x, 0, alpha=2), lambda x: x * -2),
        (lambda x: torch.sub(0.0, x), torch.neg),
        (lambda x: torch.sub(x, 0), torch.clone),
        (lambda x: sum([x]), torch.clone),
        (lambda x: torch.baddbmm(x[:, None], x[:, None], EYE, beta=0, alpha=-1)[:, 0],
         lambda x: torch.bmm(x[:, None], EYE)[:, 0] * -1),
    ],
)  # fmt: skip
def test_adding_nothing_adds_nothing(
    call: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], rules: str
) -> None:
    """Also below 0, where a sum with a constant has nothing that contributes."""

    class View(torch.nn.Module):
        def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.layer = torch.nn.Linear(4, 4).double()
            self.call = call

        def forward(self, x: Tensor) -> Tensor:
            return self.call(self.layer(x))

    x, R = draw(3, 4), np.abs(draw(3, 4, seed=1))
    got, wanted = (abslrp.relevance(View(one).eval(), x, R, rules=rules) for one in (call, plain))
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    assert np.abs(got).sum() > 0.1
