"""Relevance that is lost, zero or not finite: warned of with its call, and in the audit's table."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp


class Tokens(nn.Module):
    """A constant token, equal to the others, before ``count`` of them: it takes an equal part."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.count = count
        self.embed, self.head = nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False)
        nn.init.ones_(self.embed.weight)
        nn.init.ones_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        token = torch.full((len(x), 1, 2), 2.0, dtype=x.dtype)
        logits: Tensor = self.head(torch.cat([token, self.embed(x)], 1).mean(1))
        return logits


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"tokens": Tokens()})

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body["tokens"](x)
        return result


X = torch.ones(5, 3, 2)


def said(function: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("contrast", ["streams", "signed", None])
@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("accelerate", [True, False])
def test_what_a_constant_takes_is_told_once_with_its_call(
    contrast: Any, batch_size: int | None, accelerate: bool
) -> None:
    options = {"contrast": contrast, "batch_size": batch_size, "accelerate": accelerate}
    (message,) = said(lambda: abslrp.explain(Nested().eval(), X, 0, **options))
    # A quarter, which round() takes to the even; of the signed start two thirds cancel before.
    share = "less than 5" if contrast == "signed" else "about 20"
    assert f"{share} % of a sample's relevance" in message
    assert "at torch.cat in body.tokens (Tokens), called at" in message
    assert "test_losses.py" in message
    assert "class tokens" in message


def test_nothing_is_said_where_all_arrives() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)).double().eval()
    for parameter in model.parameters():
        parameter.data.abs_()
    x = torch.rand(3, 2, dtype=torch.double)
    assert said(lambda: abslrp.explain(model, x, [0, 1, 2])) == []
    assert said(lambda: abslrp.relevance(model, x, -torch.eye(3))) == []
    assert said(lambda: abslrp.explain(model, x, 0, rules="epsilon")) == []


def test_a_call_without_positive_contributions() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    for parameter in model.parameters():
        parameter.data.abs_()
    for parameter in model[2].parameters():
        parameter.data[0] *= -1
    x = torch.ones(2, 2)
    (message,) = said(lambda: abslrp.explain(model, x, 0))
    assert message.startswith("relevance: all of a sample's relevance from the target is lost")
    assert "at torch.nn.functional.linear in 2 (Linear)" in message
    assert "none of its inputs contributes positively" in message
    (message,) = said(lambda: abslrp.explain(model, x, [0, 1], contrast=None, conserve=None))
    assert message.startswith("relevance: none arrives at the inputs in samples 0;")


@pytest.mark.parametrize("accelerate", [True, False])
def test_of_what_is_lost_before_paths_part_the_place_is_told(accelerate: bool) -> None:
    """Not the addition that nothing arrives at, whose inputs are positive."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(self.a(x))
            logits: torch.Tensor = self.head(hidden + torch.relu(self.b(hidden)))
            return logits

    model = Residual().eval()
    for parameter in model.parameters():
        parameter.data.abs_()
    for parameter in model.head.parameters():
        parameter.data.neg_()
    (message,) = said(
        lambda: abslrp.explain(model, torch.ones(2, 2), 0, contrast=None, accelerate=accelerate)
    )
    assert "is lost on the way to the inputs, most of it (all) at torch.nn.functional.linear" in (
        message
    )
    assert "in head (Linear), called at" in message


def test_a_distance_has_only_what_speaks_against_it() -> None:
    """The map of minus a distance is 0, which is told, with what tells two prototypes apart."""

    class Prototypes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -(x[:, None] - torch.eye(3)[:2].to(x)).square().sum(-1)

    model, x = Prototypes().eval(), torch.tensor([[0.9, 0.1, 0.3]], dtype=torch.double)
    maps = []
    (message,) = said(lambda: maps.append(abslrp.explain(model, x, 0)))
    assert not maps[0].any()
    assert "try target=abslrp.targets.difference(class, other)" in message
    # Eq. 12 twice, of the square and of x - p, for p = (0, 1, 0): x+ |x - p|.
    found = abslrp.explain(model, x, target=abslrp.targets.difference(0, 1))
    expected = torch.tensor([[0.81, 0.09, 0.09]], dtype=torch.double) / 0.99
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_samples_that_are_not_finite_are_named(batch_size: int | None) -> None:
    model, x = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)).eval(), torch.rand(4, 2)
    for parameter in model.parameters():
        parameter.data.abs_()
    x[2, 1] = torch.nan
    messages = said(lambda: abslrp.explain(model, x, 0, batch_size=batch_size))
    (message,) = [one for one in messages if "finite" in one]
    assert "not finite in samples 2, first at torch.nn.functional.linear in 2 (Linear)" in message


def test_what_is_lost_and_what_arrives_are_all() -> None:
    """With two ways to lose it, and two maps of each sample."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConstantPad1d((1, 2), 1.0), nn.Linear(6, 5), nn.Linear(5, 4)).double()
    x = torch.rand(7, 3, dtype=torch.double)
    found = abslrp.audit(model.eval(), x, [[0, 1]] * 7)
    maps = abslrp.explain(model, x, [[0, 1]] * 7, contrast=None)
    np.testing.assert_allclose(found.arrived, maps.sum(2).mean(), rtol=1e-9)
    np.testing.assert_allclose(found.arrived + found.lost, 1, rtol=1e-9)
    assert 0 < found.lost < 1


def test_an_audit_says_where_it_went() -> None:
    found = abslrp.audit(Nested().eval().double(), X.double(), 0)
    table = found.table.set_index("call")
    assert list(table.index) == ["aten.linear", "aten.mean", "aten.cat", "aten.linear"]
    np.testing.assert_allclose(table["received"], [1, 1, 1, 0.75], rtol=1e-6)
    np.testing.assert_allclose(table["sent"], [1, 1, 0.75, 0.75], rtol=1e-6)
    np.testing.assert_allclose(table["lost"], [0, 0, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(table["to_constants"], [0, 0, 0.25, 0], atol=1e-6)
    assert table["finite"].all()
    assert list(table["path"]) == [
        "body.tokens.head", "body.tokens", "body.tokens", "body.tokens.embed",
    ]  # fmt: skip
    assert str(found).startswith("Of a sample's relevance 75.0 % arrives. 25.0 % is lost at aten.")


def test_an_audit_without_conservation() -> None:
    """Eq. 12 to the letter: a layer of two signs multiplies relevance."""
    model = nn.Linear(2, 1, bias=False).double().eval()
    model.weight.data = torch.tensor([[3.0, -2.0]], dtype=torch.double)
    found = abslrp.audit(model, torch.ones(1, 2).double(), lambda z: z[:, 0], conserve=None)
    np.testing.assert_allclose(found.arrived, 3)
    np.testing.assert_allclose(found.table["sent"].iloc[-1], 3)


def test_an_audit_does_not_depend_on_the_batch() -> None:
    x = torch.rand(4, 3, 2, dtype=torch.double)
    model = Nested().double().eval()
    with pytest.raises(ValueError, match=r"options: expected 'rules', .*, got 'contrast'"):
        abslrp.audit(model, x, 0, contrast="signed")
    whole = abslrp.audit(model, x, 0)
    alone = [abslrp.audit(model, x[i : i + 1], 0) for i in range(4)]
    np.testing.assert_allclose(whole.lost, np.mean([one.lost for one in alone]))
    lost = np.mean([one.table["lost"] for one in alone], axis=0)
    np.testing.assert_allclose(whole.table["lost"], lost, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_single_numbers_of_a_single_sample(shape: tuple[int, ...]) -> None:
    """A value without axes is a sample, too."""

    class Sum(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            rows = [super(Sum, self).forward(row).abs().sum().reshape(shape) for row in x]
            return torch.stack([one.reshape(()) for one in rows])[:, None]

    x = torch.rand(1, 4)
    assert abs(float(abslrp.relevance(Sum(4, 3).eval(), x, torch.ones(1, 1)).sum()) - 1) < 1e-5


@pytest.mark.parametrize("accelerate", [True, False])
def test_a_difference_is_the_sum_with_the_negative(accelerate: bool) -> None:
    class Difference(nn.Module):
        def __init__(self, written: bool) -> None:
            super().__init__()
            torch.manual_seed(4)
            self.written = written
            self.first, self.second = nn.Linear(4, 5), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.first(x), self.second(x)
            difference: Tensor = a + (-b) if self.written else a - b
            return difference

    x = torch.rand(6, 4, dtype=torch.double)
    start = torch.ones(6, 5, dtype=torch.double)
    found, wanted = (
        abslrp.relevance(Difference(one).double().eval(), x, start, accelerate=accelerate)
        for one in (False, True)
    )
    torch.testing.assert_close(found, wanted)


def test_a_map_of_which_nothing_is_left_is_told() -> None:
    """A tensor of factors passes relevance on, so that both classes have the same."""
    signs = torch.tensor([-1.0, 1.0])

    class Signs(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * signs

    model, x = Signs(4, 1).eval(), torch.rand(2, 4)
    model.weight.data.abs_()
    with pytest.warns(RuntimeWarning, match="a map is 0: the target and what it is contrasted"):
        assert not abslrp.explain(model, x, 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_rounding_leaves_of_two_streams_is_nothing(dtype: torch.dtype) -> None:
    """Both classes have the relevance of one unit, by weights that differ."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 1), nn.ReLU(), nn.Linear(1, 3)).to(dtype).eval()
    x = torch.rand(2, 64, dtype=dtype)
    model[2].weight.data = torch.tensor([[0.3], [0.7], [1.1]], dtype=dtype)
    model[0].weight.data.abs_()
    with pytest.warns(RuntimeWarning, match="a map is 0: the target and what it is contrasted"):
        found = abslrp.explain(model, x, 0)
    assert found.abs().max() < 1e-6
