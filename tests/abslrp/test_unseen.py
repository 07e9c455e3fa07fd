"""Calls that torch functions do not show: they are seen below autograd, and explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import wrap_torch_function

import abslrp


class Steep(torch.autograd.Function):
    """SiLU with a gradient that would be seen in any map it leaked into."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return nn.functional.silu(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1000 * gradients[0]


class Overwriting(torch.autograd.Function):
    """SiLU in place, as memory-saving activations have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        nn.functional.silu(x, inplace=True)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1000 * gradients[0]


class Gamma(torch.autograd.Function):
    """An operator without a rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.lgamma(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Net(nn.Module):
    """Layers around an activation, which may also be the last call or one of two branches."""

    def __init__(self, activation: Callable[[Tensor], Tensor], place: str = "middle") -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.activation = activation
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "first":
            x = self.activation(x)
        h = self.body(x)
        if self.place == "middle":
            h = self.activation(h)
        elif self.place == "branch":
            h = h + self.activation(h)
        logits: Tensor = self.head(h)
        return self.activation(logits) if self.place == "last" else logits


X = torch.rand(2, 4, generator=torch.Generator().manual_seed(1))
PLACES = ["first", "middle", "branch", "last"]


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return torch.relu(x)


@torch.compile(backend="eager")
def compiled(x: Tensor) -> Tensor:
    return nn.functional.silu(x)


def explain(model: nn.Module, **options: Any) -> Tensor:
    maps: Tensor = abslrp.explain(model.eval(), X, [0, 1], contrast=None, **options)
    assert maps.abs().max() > 0
    return maps


SEEN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "autograd function": (Steep.apply, nn.functional.silu),
    "TorchScript": (scripted, torch.relu),
    "vmap": (torch.vmap(nn.functional.silu), nn.functional.silu),
    "compiled": (compiled, nn.functional.silu),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
def test_the_map_is_that_of_the_same_network_written_without_it(
    name: str, place: str, conserve: Any
) -> None:
    call, plain = SEEN[name]
    found = explain(Net(call, place), conserve=conserve)
    torch.testing.assert_close(found, explain(Net(plain, place), conserve=conserve))


@pytest.mark.parametrize("place", ["middle", "last"])
def test_an_autograd_function_that_overwrites_its_input(place: str) -> None:
    found = explain(Net(Overwriting.apply, place))
    torch.testing.assert_close(found, explain(Net(nn.functional.silu, place)))


@pytest.mark.parametrize("register", ["full_backward_hook", "full_backward_pre_hook"])
def test_full_backward_hooks_change_nothing(register: str) -> None:
    called: list[None] = []
    model = Net(torch.relu)
    hooked = getattr(model.head, f"register_{register}")
    hooked(lambda *_: called.append(None))
    torch.testing.assert_close(explain(model), explain(Net(torch.relu)))
    assert not called


@pytest.mark.parametrize("place", PLACES)
def test_what_has_no_rule_inside_of_one_is_named(place: str) -> None:
    with pytest.raises(abslrp.UnknownOperationError) as caught:
        explain(Net(Gamma.apply, place))
    message = str(caught.value)
    assert message.startswith("torch.lgamma (called at ")
    assert "test_unseen.py" in message
    assert "@abslrp.rule(torch.lgamma)" in message
    assert "on_unknown='warn'" in message


@wrap_torch_function(lambda x: (x,))
def steep(x: Tensor) -> Tensor:
    result: Tensor = Steep.apply(x)
    return result


@pytest.mark.parametrize("place", PLACES)
def test_a_rule_for_a_wrapped_function(place: str) -> None:
    """It takes the place of the rules of what the function calls."""
    plain = explain(Net(nn.functional.silu, place), conserve=None)
    torch.testing.assert_close(explain(Net(steep, place), conserve=None), plain)
    rules = abslrp.registry.RuleSet("with steep", abslrp.registry.ABSLRP)
    rules.rule(steep)(lambda call, x: abslrp.passing(x))
    torch.testing.assert_close(explain(Net(steep, place), rules=rules, conserve=None), plain)
    doubled = abslrp.registry.RuleSet("with steep doubled", abslrp.registry.ABSLRP)
    doubled.rule(steep)(lambda call, x: lambda relevance: 2 * relevance)
    found = explain(Net(steep, place), rules=doubled, conserve=None)
    if place == "branch":
        assert not torch.allclose(found, plain)
    else:
        torch.testing.assert_close(found, 2 * plain)


def silu_in_place(x: Tensor) -> None:
    nn.functional.silu(x, inplace=True)


torch.library.custom_op("abslrp_tests::silu_in_place", silu_in_place, mutates_args=("x",))


def overwritten(x: Tensor) -> Tensor:
    torch.ops.abslrp_tests.silu_in_place(x)
    return x


@pytest.mark.parametrize("written_out", [False, True])
def test_a_rule_for_an_operator_that_only_writes(written_out: bool) -> None:
    """It has no twin that returns the same in new memory."""
    operator = torch.ops.abslrp_tests.silu_in_place
    rules = abslrp.registry.RuleSet("with an operator that writes", abslrp.registry.ABSLRP)
    if written_out:
        rules.decomposition(operator)(silu_in_place)
    else:
        rules.rule(operator)(lambda call, x: abslrp.passing(x))
    with pytest.raises(abslrp.UnknownOperationError, match=r"abslrp_tests\.silu_in_place"):
        explain(Net(overwritten))
    found = explain(Net(overwritten), rules=rules)
    torch.testing.assert_close(found, explain(Net(nn.functional.silu)))


def test_inside_a_context_without_named_inputs() -> None:
    maps = []
    for call in (Steep.apply, nn.functional.silu):
        x = X.clone().requires_grad_()
        with abslrp.propagation():
            logits = Net(call).eval()(x)
        maps += torch.autograd.grad(logits, x, torch.ones_like(logits))
    torch.testing.assert_close(*maps)


def test_constants_made_from_parameters() -> None:
    class Scaled(Net):
        def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
            super().__init__(torch.relu)
            self.call = call

        def forward(self, x: Tensor) -> Tensor:
            # On the way from a parameter, not from the input: the value is all that matters.
            scale = self.call(self.body.bias).exp()
            logits: Tensor = self.head(torch.relu(self.body(x)) * scale)
            return logits

    torch.testing.assert_close(explain(Scaled(Steep.apply)), explain(Scaled(nn.functional.silu)))
