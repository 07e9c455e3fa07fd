"""Calls on the path that cannot be intercepted: an error, never a silent gradient."""

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


class Net(nn.Module):
    """Layers around an activation, which may also be the last call or one of two branches."""

    def __init__(self, activation: Callable[[Tensor], Tensor], place: str = "middle") -> None:
        super().__init__()
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


def explain(model: nn.Module, **options: Any) -> Tensor:
    return abslrp.explain(model.eval(), X, [0, 1], contrast=None, **options)


@pytest.mark.parametrize("place", PLACES)
def test_an_autograd_function_of_ones_own_is_an_error(place: str) -> None:
    with pytest.raises(abslrp.UnknownOperationError) as caught:
        explain(Net(Steep.apply, place))
    message = str(caught.value)
    assert message.startswith(f"The autograd function {__name__}.Steep is on the path")
    assert "wrap_torch_function" in message
    assert "@abslrp.rule" in message
    assert "on_unknown='warn'" in message


def test_the_error_says_where_its_result_is_used() -> None:
    with pytest.raises(abslrp.UnknownOperationError, match=r"used at .*test_unseen.py:\d+ in forw"):
        explain(Net(Steep.apply, "branch"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("call", [scripted, torch.vmap(nn.functional.silu)])
def test_so_is_what_runs_in_torchscript_or_vmap(call: Any, place: str) -> None:
    with pytest.raises(abslrp.UnknownOperationError, match=r"A call that autograd knows as \w+"):
        explain(Net(call, place))


@pytest.mark.parametrize("register", ["full_backward_hook", "full_backward_pre_hook"])
def test_full_backward_hooks_are_named(register: str) -> None:
    model = Net(torch.relu)
    handle = getattr(model.head, f"register_{register}")(lambda *_: None)
    with pytest.raises(abslrp.UnknownOperationError, match=r"full backward hook.*Remove it"):
        explain(model)
    handle.remove()
    torch.testing.assert_close(explain(model), explain(Net(torch.relu)))


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_warning_and_its_gradient_if_that_is_asked_for(place: str) -> None:
    with pytest.warns(UserWarning, match=r"Steep is on the path.*Its gradient is used"):
        found = explain(Net(Steep.apply, place), on_unknown="warn")
    torch.testing.assert_close(found, 1000 * explain(Net(nn.functional.silu, place)))


@wrap_torch_function(lambda x: (x,))
def steep(x: Tensor) -> Tensor:
    result: Tensor = Steep.apply(x)
    return result


@pytest.mark.filterwarnings("ignore:.*Its gradient is used")
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
def test_a_second_consumer_that_is_not_seen(conserve: Any) -> None:
    """What the first consumer leaves to the maker of its input must not rest on being the only."""
    unseen, seen = (
        explain(Net(call, "branch"), on_unknown="warn", conserve=conserve)
        for call in (Steep.apply, steep)
    )
    torch.testing.assert_close(unseen, seen)


def test_a_rule_for_a_wrapped_function() -> None:
    with pytest.raises(abslrp.UnknownOperationError, match=r"steep \(called at .* in forward\)"):
        explain(Net(steep))
    rules = abslrp.registry.RuleSet("with steep", abslrp.registry.ABSLRP)
    rules.rule(steep)(lambda operation, x: abslrp.passes(operation))
    torch.testing.assert_close(explain(Net(steep), rules=rules), explain(Net(nn.functional.silu)))


def test_inside_a_context_without_named_inputs() -> None:
    model, x = Net(Steep.apply).eval(), X.clone().requires_grad_()
    with (
        pytest.raises(abslrp.UnknownOperationError, match="autograd function"),
        abslrp.propagation(),
    ):
        model(x)


def test_constants_made_from_parameters_are_no_such_calls() -> None:
    class Scaled(Net):
        def forward(self, x: Tensor) -> Tensor:
            # On the way from a parameter, not from the input: the value is all that matters.
            logits: Tensor = self.head(torch.relu(self.body(x)) * Steep.apply(self.body.bias).exp())
            return logits

    assert torch.isfinite(explain(Scaled(torch.relu))).all()
