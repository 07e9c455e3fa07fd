"""SPEC 1.2: sums, scaling, gates, activation functions, against the naive references."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import abslrp
from tests.abslrp.single import Single, check, draw, tensor
from tests.naive import rules

BROADCAST = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (2, 1, 4)), ((2, 1, 4), (2, 3, 1))]


def iadd(a: Tensor, b: Tensor) -> Tensor:
    a = a.clone()
    a += b
    return a


def isub(a: Tensor, b: Tensor) -> Tensor:
    a = a.clone()
    a -= b
    return a


@pytest.mark.parametrize(("left", "right"), BROADCAST)
@pytest.mark.parametrize("add", [operator.add, torch.add, Tensor.add])
def test_addition(add: Callable[..., Tensor], left: Any, right: Any) -> None:
    check(add, [draw(*left), draw(*right, seed=1)], lambda v, R: rules.add(v[0], v[1], R))


@pytest.mark.parametrize("add", [iadd, lambda a, b: a.clone().add_(b)])
@pytest.mark.parametrize(("left", "right"), BROADCAST[:2])
def test_addition_in_place(add: Callable[..., Tensor], left: Any, right: Any) -> None:
    check(add, [draw(*left), draw(*right, seed=1)], lambda v, R: rules.add(v[0], v[1], R))


@pytest.mark.parametrize("alpha", [2.5, -0.5, 2, 0])
def test_addition_with_alpha(alpha: float) -> None:
    pair = [draw(2, 3, 4), draw(2, 3, 4, seed=1)]
    check(
        lambda a, b: torch.add(a, b, alpha=alpha),
        pair,
        lambda v, R: rules.add(v[0], alpha * v[1], R),
    )
    check(
        lambda a, b: a.sub(b, alpha=alpha), pair, lambda v, R: rules.subtract(v[0], alpha * v[1], R)
    )
    check(
        lambda a, b: torch.rsub(a, b, alpha=alpha),
        pair,
        lambda v, R: rules.add(-alpha * v[0], v[1], R),
    )


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
@pytest.mark.parametrize("name", ["add", "sub", "rsub", "mul", "div"])
def test_operands_may_be_named(name: str, rules: str) -> None:
    function, x, R = getattr(torch, name), draw(2, 8), draw(2, 4, seed=1)
    spellings = [
        function,
        lambda a, b: function(a, other=b),
        lambda a, b: function(input=a, other=b),
    ]
    maps = [
        abslrp.relevance(Single(call, [(4,), (4,)], False).eval(), x, R, rules=rules)
        for call in spellings
    ]
    for one in maps[1:]:
        np.testing.assert_array_equal(one, maps[0])


@pytest.mark.parametrize(("left", "right"), BROADCAST)
@pytest.mark.parametrize("sub", [operator.sub, torch.sub, Tensor.subtract])
def test_subtraction(sub: Callable[..., Tensor], left: Any, right: Any) -> None:
    check(sub, [draw(*left), draw(*right, seed=1)], lambda v, R: rules.subtract(v[0], v[1], R))


def test_subtraction_in_place() -> None:
    pair = [draw(2, 3, 4), draw(2, 3, 4, seed=1)]
    check(isub, pair, lambda v, R: rules.subtract(v[0], v[1], R))


CONSTANT = draw(3, 4, seed=5)


@pytest.mark.parametrize(
    ("call", "constant"),
    [
        (lambda x: x + tensor(CONSTANT), CONSTANT),
        (lambda x: tensor(CONSTANT) + x, CONSTANT),
        (lambda x: x + 0.7, np.float64(0.7)),
        (lambda x: 0.7 + x, np.float64(0.7)),
        (lambda x: x - 2, np.float64(-2)),
        (lambda x: x - tensor(CONSTANT), -CONSTANT),
        (lambda x: torch.add(x, tensor(CONSTANT), alpha=3), 3 * CONSTANT),
        (lambda x: torch.add(tensor(CONSTANT), x), CONSTANT),
        (lambda x: iadd(x, tensor(CONSTANT)), CONSTANT),
        (lambda x: x + torch.nn.Parameter(tensor(CONSTANT)), CONSTANT),
    ],
)
def test_addition_of_a_constant(call: Any, constant: Any) -> None:
    check(call, [draw(2, 3, 4)], lambda v, R: [rules.add_constant(v[0], constant, R)])


@pytest.mark.parametrize(
    ("call", "constant"),
    [
        (lambda x: 1 - x, np.float64(1)),
        (lambda x: tensor(CONSTANT) - x, CONSTANT),
        (lambda x: torch.rsub(x, 0.4), np.float64(0.4)),
        (lambda x: torch.sub(tensor(CONSTANT), x), CONSTANT),
    ],
)
def test_subtraction_from_a_constant(call: Any, constant: Any) -> None:
    naive = lambda v, R: [rules.add_constant(-v[0], constant, R)]  # noqa: E731
    # What is known to be non-negative sends nothing: -x has no positive part.
    check(call, [draw(2, 3, 4)], naive, rectify=[False])


def test_a_constant_accumulator_that_relevance_flows_into() -> None:
    def call(x: Tensor) -> Tensor:
        total = tensor(CONSTANT).expand(len(x), 3, 4).clone()
        total += x
        return total

    check(call, [draw(2, 3, 4)], lambda v, R: [rules.add_constant(v[0], CONSTANT, R)])


def test_broadcast_against_a_larger_constant() -> None:
    check(
        lambda x: x + tensor(CONSTANT),
        [draw(2, 1, 4)],
        lambda v, R: [rules.add_constant(v[0], CONSTANT, R)],
    )
    check(
        lambda x: x * tensor(CONSTANT),
        [draw(2, 1, 4)],
        lambda v, R: [rules.multiply_constant(v[0], R)],
    )


def test_a_tensor_added_to_itself() -> None:
    check(lambda x: x + x, [draw(2, 5)], lambda v, R: [sum(rules.add(v[0], v[0], R))])
    check(lambda x: x * x, [draw(2, 5)], lambda v, R: [sum(rules.gate(v[0], v[0], R))])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: 2 * x,
        lambda x: x * tensor(CONSTANT),
        lambda x: tensor(CONSTANT) * x,
        lambda x: x.mul(tensor(CONSTANT)),
        lambda x: x.clone().mul_(tensor(CONSTANT)),
        lambda x: x / 7,
        lambda x: x / tensor(CONSTANT),
        lambda x: torch.div(x, 2),
        lambda x: x.clone().div_(tensor(CONSTANT)),
        lambda x: --x,  # noqa: B002 - twice
        lambda x: (x * -3.0).neg(),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.dropout2d(x, 0.5, training=False),
        lambda x: x * torch.nn.Parameter(tensor(CONSTANT)),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
        lambda x: x / (x.std(-1, keepdim=True) + 1),
    ],
)
def test_scaling_by_constants_passes(call: Any) -> None:
    check(call, [draw(2, 3, 4)], lambda v, R: [rules.multiply_constant(v[0], R)])


@pytest.mark.parametrize(
    "call", [lambda x: x * -3.0, lambda x: torch.div(x, -2), lambda x: -x, lambda x: x.neg()]
)
def test_what_is_below_0_has_the_relevance_of_its_negative(call: Any) -> None:
    """As by a linear layer whose weights are a diagonal of one number below 0."""
    x, R = draw(2, 12), draw(2, 12, seed=1)
    model = Single(call, [(12,)], rectify=False).eval()
    found = abslrp.relevance(model, x, R, conserve=None)
    np.testing.assert_allclose(found, rules.multiply_negative(x, R))
    layer = Single(lambda x: x.view(-1, 1) @ tensor(np.array([[-3.0]])), [(4,)], rectify=False)
    own = Single(lambda x: (x * -3.0).view(-1, 1), [(4,)], rectify=False)
    x, start = draw(2, 4), np.ones((8, 1))
    given = {"conserve": None, "samples": "whole"}
    np.testing.assert_allclose(
        abslrp.relevance(own.eval(), x, start, **given),
        abslrp.relevance(layer.eval(), x, start, **given),
        rtol=1e-6,
    )


def test_what_passes_is_never_scaled() -> None:
    """Not to absolute sum 1, either, as each argument of other operations is by ``conserve``."""
    x, R = draw(2, 4), draw(2, 4, seed=1)
    model = Single(lambda v: v * tensor(draw(4, seed=2)), [(4,)], rectify=False).eval()
    np.testing.assert_array_equal(abslrp.relevance(model, x, R, conserve="argument"), R)


@pytest.mark.parametrize(("left", "right"), BROADCAST)
@pytest.mark.parametrize(
    "mul", [operator.mul, torch.mul, lambda a, b: a.clone().expand(2, 3, 4).clone().mul_(b)]
)
def test_gate(mul: Callable[..., Tensor], left: Any, right: Any) -> None:
    check(mul, [draw(*left), draw(*right, seed=1)], lambda v, R: rules.gate(v[0], v[1], R))


def test_division_by_an_activation_holds_the_denominator_constant() -> None:
    def naive(v: Any, R: Any) -> Any:
        return [R.copy(), np.zeros_like(v[1])]

    check(lambda a, b: a / (b * b + 1), [draw(2, 3, 4), draw(2, 3, 4, seed=1)], naive)


ACTIVATIONS: list[Callable[[Tensor], Tensor]] = [
    F.relu, torch.relu, Tensor.relu, lambda x: F.relu(x.clone(), inplace=True), F.relu6, F.gelu,
    lambda x: F.gelu(x, approximate="tanh"), F.silu, F.mish, F.elu, F.selu, F.celu, F.hardswish,
    F.hardsigmoid, F.hardtanh, F.leaky_relu, lambda x: F.leaky_relu_(x.clone(), 0.2), F.softplus,
    F.logsigmoid, F.softsign, F.tanhshrink, torch.tanh, torch.sigmoid, Tensor.sigmoid, torch.exp,
    torch.erf, torch.sin, lambda x: x.clamp(-1, 1), lambda x: x.clamp(min=0),
    lambda x: torch.clamp(x, max=1), lambda x: x**2, lambda x: x.square(), lambda x: x.abs(),
    torch.nan_to_num, torch.rrelu, F.rrelu,
    lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
    lambda x: F.silu(x.clone(), inplace=True), lambda x: F.hardswish(x.clone(), inplace=True),
    lambda x: x.clone().relu_(), lambda x: x.clone().clamp_(0, 6), lambda x: F.threshold(x, 0.1, 2),
]  # fmt: skip


@pytest.mark.parametrize("call", ACTIVATIONS, ids=range(len(ACTIVATIONS)))
def test_activation_functions_pass(call: Any) -> None:
    check(call, [draw(2, 3, 4)], lambda v, R: [rules.activation(R)])


@pytest.mark.parametrize("call", ACTIVATIONS, ids=range(len(ACTIVATIONS)))
def test_signs_after_an_activation_function_are_known_rightly(call: Any) -> None:
    """Eq. 12 takes a shorter path for inputs declared non-negative: no declaration may be wrong."""
    w = draw(6, 4)
    x = draw(2, 3, 4)

    def naive(v: Any, R: Any) -> Any:
        return [rules.linear(call(tensor(v[0])).numpy(), w, None, R)]

    check(lambda x: F.linear(call(x), tensor(w)), [x], naive)


@pytest.mark.parametrize("divisor", [0.3, -0.3])
def test_a_rounded_quotient_is_no_multiple(divisor: float) -> None:
    """Its entries are not those of what was divided, times a number, so that nothing cancels."""

    class Rounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.first, self.last = (torch.nn.Linear(4, 4) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.last(torch.div(self.first(x), divisor, rounding_mode="floor"))
            return made

    # In float64 nothing cancels, as the epsilon is seen there.
    x, R = tensor(draw(3, 4)).float(), tensor(np.abs(draw(3, 4, seed=1))).float()
    model = Rounded().eval()
    found, defined = (
        abslrp.relevance(model, x, R, conserve=None, accelerate=one) for one in (True, False)
    )
    torch.testing.assert_close(found, defined, rtol=1e-4, atol=1e-5)
    assert found.any()
