"""SPEC 1.5, table 10: relevance that stops at the patch embedding."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp
from abslrp.registry import RULE_SETS
from tests.abslrp.single import draw


class Patches(nn.Module):
    """A patch embedding, and what follows it."""

    def __init__(self, dims: int = 2, **options: Any) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.embed = conv(3, 6, 4, **{"stride": 4, **options})
        self.position = nn.Parameter(torch.zeros(1, 6, *[1] * dims))
        self.rest = nn.Sequential(nn.GELU(), nn.Flatten(2), nn.Linear(4, 2), nn.Flatten(1))
        self.head = nn.Linear(12, 4)
        for seed, p in enumerate(self.parameters()):
            p.data = torch.from_numpy(draw(*p.shape, seed=seed))
        self.eval()

    def after(self, tokens: Tensor) -> Tensor:
        rest = self.rest(tokens + self.position)
        result: Tensor = self.head(rest)
        return result

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.embed(x))


class After(nn.Module):
    def __init__(self, model: Patches) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.after(tokens)


SIZES = [(1, (16,)), (1, (18,)), (2, (8, 8)), (2, (11, 8)), (3, (8, 4, 9))]


@pytest.mark.parametrize("conserve", ["operation", None])
@pytest.mark.parametrize(("dims", "size"), SIZES)
def test_relevance_at_patches(dims: int, size: tuple[int, ...], conserve: Any) -> None:
    model, x = Patches(dims), draw(2, 3, *size)
    with torch.no_grad():
        tokens = model.embed(torch.from_numpy(x)).numpy()
    for R in (np.eye(4)[[1, 3]], draw(2, 4, seed=3)):
        at = abslrp.relevance(After(model).eval(), tokens, R, conserve=conserve).sum(1)
        got = abslrp.relevance(model, x, R, conserve=conserve, relevance_at="patches")
        wanted = np.zeros_like(x)
        for place in np.ndindex(*at.shape[1:]):
            patch = tuple(slice(4 * i, 4 * i + 4) for i in place)
            share = at[(slice(None), *place)] / (3 * 4**dims)
            wanted[(slice(None), slice(None), *patch)] = share.reshape(-1, *[1] * (dims + 1))
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-15)
        assert np.abs(got).max() > 0


class Scaled(nn.Module):
    """A model that normalises its input itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model((x - 0.4) / 0.2)
        return result


def test_patches_of_an_input_that_the_model_normalises() -> None:
    x = draw(2, 3, 8, 8)
    got = abslrp.explain(Scaled(Patches()).eval(), x, [0, 1], relevance_at="patches")
    wanted = abslrp.explain(Patches(), (x - 0.4) / 0.2, [0, 1], relevance_at="patches")
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-15)


class Skip(nn.Module):
    """A patch embedding beside which the input goes another way."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Patches()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.patches(x)
        return result + x.mean((1, 2, 3))[:, None]


def overlapping(**options: Any) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 4, **options), nn.Flatten(1), nn.LazyLinear(4)).double()
    net(torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    return net.eval()


@pytest.mark.parametrize(
    "model",
    [
        overlapping(stride=2),
        overlapping(stride=4, padding=2),
        overlapping(stride=4, dilation=2),
        nn.Sequential(nn.Conv2d(3, 6, 4, 4, groups=3), nn.Flatten()).double().eval(),
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 4, 4), nn.Flatten()).double().eval(),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double().eval(),
    ],
)
def test_a_model_that_begins_otherwise(model: nn.Module) -> None:
    with pytest.raises(
        ValueError, match=r"relevance_at: 'patches' needs .* this model's is another"
    ):
        abslrp.explain(model, draw(2, 3, 8, 8), 0, relevance_at="patches")


@pytest.mark.parametrize("rules", RULE_SETS)
def test_patches_with_any_rule_set(rules: str) -> None:
    found = abslrp.explain(
        Patches(), draw(2, 3, 8, 8), [0, 1], rules=rules, relevance_at="patches", contrast=None
    )
    patches = found.reshape(2, 3, 2, 4, 2, 4).transpose(0, 2, 4, 1, 3, 5).reshape(8, -1)
    assert np.ptp(patches, axis=1).max() < 1e-9
    assert np.abs(patches).sum() > 0.1


def test_patches_of_one_of_several_inputs() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = Patches(), Patches()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            result: Tensor = self.one(a) + self.other(b)
            return result

    with pytest.raises(ValueError, match=r"relevance_at: .*; this one has 2 inputs"):
        abslrp.explain(
            Both().eval(), (draw(2, 3, 8, 8), draw(2, 3, 8, 8)), 0, relevance_at="patches"
        )


def test_an_input_that_goes_around_the_patches() -> None:
    with pytest.raises(ValueError, match=r"relevance_at: .* another way, too"):
        abslrp.explain(Skip().double().eval(), draw(2, 3, 8, 8), 0, relevance_at="patches")


def test_nothing_is_kept() -> None:
    model = Patches()
    gc.collect()
    gc.disable()
    try:
        x = torch.from_numpy(draw(2, 3, 8, 8))
        seen: list[Any] = []
        model.embed.register_forward_hook(lambda *call: seen.append(weakref.ref(call[2])))
        abslrp.explain(model, x, 0, relevance_at="patches", attention=None)
        assert seen
        assert all(ref() is None for ref in seen)
    finally:
        gc.enable()
