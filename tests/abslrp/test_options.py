"""Several targets in one call, and maps summed over channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw
from tests.naive.network import explain as naive_explain
from tests.naive.network import random_graph, to_torch

TARGETS = np.array([[0, 3], [2, 2], [1, 0], [3, 1], [1, 2]])
X = draw(5, 3, 8, 8)


class Counting(nn.Module):
    """Counts its forward passes and remembers their batch sizes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(144, 4)
            )
        self.double().eval()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        result: Tensor = self.net(x)
        return result


@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("contrast", ["streams", "signed", "logits", None])
def test_each_map_is_that_of_a_separate_call(conserve: Any, contrast: Any) -> None:
    options = {"conserve": conserve, "contrast": contrast}
    model = Counting()
    maps = abslrp.explain(model, X, TARGETS, **options)
    assert model.seen == [5]
    assert maps.shape == (5, 2, 3, 8, 8)
    for column in range(2):
        alone = abslrp.explain(model, X, TARGETS[:, column], **options)
        np.testing.assert_allclose(maps[:, column], alone, rtol=1e-9, atol=1e-15)
    assert np.abs(maps[0, 0] - maps[0, 1]).max() > 1e-3 * np.abs(maps[0]).max()


@pytest.mark.parametrize(
    "rules", ["epsilon", "alpha1beta0", "cLRP", "RAP", "RAP-eq5", "cRAP", "Chefer"]
)
def test_other_rule_sets(rules: str) -> None:
    maps = abslrp.explain(Counting(), X, TARGETS, rules=rules)
    for column in range(2):
        alone = abslrp.explain(Counting(), X, TARGETS[:, column], rules=rules)
        np.testing.assert_allclose(maps[:, column], alone, rtol=1e-9, atol=1e-15)


def test_against_the_naive_interpreter() -> None:
    rng = np.random.default_rng(11)
    graph = random_graph(rng)
    x = rng.standard_normal((3, *graph.input_shape))
    every = np.tile(np.arange(4), (3, 1))
    maps = abslrp.explain(to_torch(graph), x, every)
    for column in range(4):
        wanted = naive_explain(graph, x, every[:, column])
        np.testing.assert_allclose(maps[:, column], wanted, rtol=1e-6, atol=1e-9)


def test_one_target_a_sample_keeps_its_axis() -> None:
    model = Counting()
    one = abslrp.explain(model, X, TARGETS[:, :1])
    assert one.shape == (5, 1, 3, 8, 8)
    np.testing.assert_array_equal(one[:, 0], abslrp.explain(model, X, TARGETS[:, 0]))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda t: t.tolist()])
def test_batches(kind: Any) -> None:
    model = Counting()
    whole = abslrp.explain(model, torch.from_numpy(X), kind(TARGETS))
    model.seen.clear()
    parts = abslrp.explain(model, torch.from_numpy(X), kind(TARGETS), batch_size=2)
    assert model.seen == [2, 1, 2, 1]  # one alone, whether its place matters
    assert isinstance(parts, Tensor)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)


class Loop(nn.Module):
    """Takes samples one by one, where their axis cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Counting()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(one) for one in x.split(1)])


def test_samples_whose_axis_cannot_be_followed() -> None:
    model = Loop().eval()
    maps = abslrp.explain(model, X, TARGETS)
    assert len(model.net.seen) > 5  # the batch in vain, then each sample
    np.testing.assert_allclose(maps, abslrp.explain(Counting(), X, TARGETS), rtol=1e-9, atol=1e-12)
    start = np.abs(draw(2, 5, 4))
    np.testing.assert_allclose(
        abslrp.relevance(model, X, start), abslrp.relevance(Counting(), X, start), rtol=1e-9
    )


@pytest.mark.parametrize("contrast", ["streams", None])
def test_reduce_sums_channels(contrast: Any) -> None:
    model = Counting()
    maps = abslrp.explain(model, X, TARGETS[:, 0], contrast=contrast)
    summed = abslrp.explain(model, X, TARGETS[:, 0], contrast=contrast, reduce="channels")
    assert summed.shape == (5, 1, 8, 8)
    np.testing.assert_allclose(summed, maps.sum(1, keepdims=True), rtol=1e-9, atol=1e-15)
    several = abslrp.explain(model, X, TARGETS, contrast=contrast, reduce="channels", batch_size=3)
    assert several.shape == (5, 2, 1, 8, 8)
    np.testing.assert_allclose(several[:, 0], summed, rtol=1e-9, atol=1e-12)


def test_reduce_of_time_series_and_tables() -> None:
    series = nn.Sequential(nn.Conv1d(3, 2, 2), nn.Flatten(), nn.Linear(14, 4)).double().eval()
    x = draw(2, 3, 8)
    summed = abslrp.explain(series, x, [0, 1], reduce="channels")
    assert summed.shape == (2, 1, 8)
    maps = abslrp.explain(series, x, [0, 1])
    np.testing.assert_allclose(summed, maps.sum(1, keepdims=True), rtol=1e-9, atol=1e-15)
    volume = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)).double().eval()
    assert abslrp.explain(volume, draw(2, 3, 2, 4, 2), 0, reduce="channels").shape == (
        2,
        1,
        2,
        4,
        2,
    )
    table = nn.Linear(6, 4).double().eval()
    with pytest.raises(ValueError, match=r"reduce: 'channels' needs .* got shape \(2, 6\)"):
        abslrp.explain(table, draw(2, 6), 0, reduce="channels")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 3, 224, 224), 4),
        ((32, 3, 224, 224), 4),
        ((400, 3, 48, 48), 80),
        ((1, 2**22), 1),
        ((3, 2**21), 1),
    ],
)
def test_large_batches_are_explained_in_equal_parts(shape: tuple[int, ...], expected: int) -> None:
    from abslrp.arguments import chunk_size

    assert chunk_size(torch.empty(1).expand(shape)) == expected


def test_the_parts_do_not_change_the_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    ).eval()
    x = torch.rand(7, 6)
    calls: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    whole = abslrp.explain(model, x, 1)
    monkeypatch.setattr("abslrp.arguments.AT_A_TIME", 20)
    torch.testing.assert_close(abslrp.explain(model, x, 1), whole)
    assert calls == [7, 3, 1, 3, 1]
