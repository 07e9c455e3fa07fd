"""The error for a function without a rule: its name, its place in the model, how to register it."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

import pytest
import torch
import torchvision  # noqa: F401 - defines operators of its own
from torch import Tensor, nn

import abslrp
from abslrp.tape.values import name_of

X = torch.rand(2, 5, 3)


def message(model: nn.Module, **options: Any) -> str:
    with pytest.raises(abslrp.UnknownOperationError) as caught:
        abslrp.explain(model.eval(), X, 0, **options)
    return str(caught.value)


FRACTIONAL = "torch.nn.functional.fractional_max_pool2d"


class Gammas(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x).mean(1)


class Fractional(nn.Module):
    """Calls a module of torch, whose own source is no help to the user."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.FractionalMaxPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x[:, None]).flatten(1)


def helper(x: Tensor) -> Tensor:
    return torch.digamma(x).mean(1)


class Helped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functools.reduce(lambda y, f: f(y), [torch.relu, helper], x)


def line_of(code: Any, text: str) -> int:
    lines, first = inspect.getsourcelines(code)
    return first + next(i for i, line in enumerate(lines) if text in line)


@pytest.mark.parametrize(
    ("model", "code", "text", "name"),
    [
        (Gammas(), Gammas.forward, "lgamma", "torch.lgamma"),
        (Fractional(), Fractional.forward, "pool(", FRACTIONAL),
        (Helped(), helper, "digamma", "torch.digamma"),
        (nn.Sequential(nn.ReLU(), Gammas()), Gammas.forward, "lgamma", "torch.lgamma"),
    ],
    ids=["module", "module of torch", "helper", "nested"],
)
@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_place_in_a_module(model: nn.Module, code: Any, text: str, name: str, rules: str) -> None:
    said = message(model, rules=rules)
    assert said.startswith(name)
    assert f"{__file__}:{line_of(code, text)} in {code.__name__}" in said
    assert f"{rules!r} has no rule" in said
    assert f"@abslrp.rule({name})" in said
    assert "on_unknown='warn'" in said


def test_the_name_it_gives_can_be_registered() -> None:
    name = re.search(r"@abslrp.rule\((.*?)\)", message(Gammas()))
    assert name is not None
    function = functools.reduce(getattr, name[1].split(".")[1:], torch)

    @abslrp.rule(function, rules="absLRP")
    def rule(call: abslrp.Call, *args: Any, **kwargs: Any) -> Any:
        return lambda relevance: relevance

    try:
        maps = abslrp.explain(Gammas().eval(), X, 0)
    finally:
        abslrp.registry.ABSLRP.remove(function)
    assert maps.shape == X.shape


def test_place_in_a_graph_module() -> None:
    """The code that torch.fx (and with it onnx2torch) writes is the user's model here."""
    graph = torch.fx.symbolic_trace(nn.Sequential(nn.ReLU(), Gammas()))
    said = message(graph)
    assert said.startswith("torch.lgamma")
    place = re.search(r"called at (.*):(\d+) in forward", said)
    assert place is not None
    assert "eval_with_key" in place[1]
    # The line is one of the code that the user sees by printing graph.code.
    lines = ["", *graph.code.splitlines()]
    assert any("lgamma" in line for line in lines[int(place[2]) - 2 : int(place[2]) + 2])


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_a_warning_names_it_once(rules: str) -> None:
    with pytest.warns(UserWarning, match=r"torch.lgamma .*Its gradient is used") as record:
        abslrp.explain(Gammas().eval(), X, 0, rules=rules, on_unknown="warn")
    assert [str(one.message).startswith("torch.lgamma") for one in record].count(True) == 1
    assert len([one for one in record if one.category is UserWarning]) == 1


@pytest.mark.parametrize(
    "function",
    [
        torch.ops.aten.sigmoid,
        torch.ops.aten.sigmoid.default,
        torch.ops.torchvision.deform_conv2d,
        torch.sparse.mm,
        torch.fft.fft2,
        torch.linalg.vecdot,
        torch.special.i0,
        torch.Tensor.digamma,
        torch.nn.functional.embedding,
    ],
    ids=abslrp.registry.name_of,
)
def test_its_name_is_one_that_python_knows(function: Any) -> None:
    name = abslrp.registry.name_of(function)
    assert functools.reduce(getattr, name.split(".")[1:], torch) is function, name


class Asking(nn.Module):
    """Asks for what has no rule and needs none, as torch's own layers do."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == len(x.size()) == 3
        return torch.relu(x).mean(1)


def test_no_message_is_made_for_what_is_only_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks through the whole stack, which took a fortieth of an explanation's time."""

    def made(*_: Any) -> str:
        raise AssertionError("a message was made")

    monkeypatch.setattr("abslrp.samples_apart.no_rule", made)
    monkeypatch.setattr("abslrp.tape.sites.locate", made)
    assert abslrp.explain(Asking().eval(), X, 0).shape == X.shape


def outside(x: Tensor) -> Tensor:
    return torch.lgamma(x).mean(1)


class Calls(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return outside(x)


def test_a_function_outside_of_the_module_is_named_beside_it() -> None:
    with pytest.warns(UserWarning, match=r"torch.lgamma \(called at .* in outside, in Calls\)"):
        abslrp.explain(Calls().eval(), X, 0, on_unknown="warn")


def test_the_name_of_a_function_without_a_module() -> None:
    assert name_of(torch.nn.functional.embedding) == "torch.nn.functional.embedding"
    assert name_of(torch.Tensor.add) == "add"
