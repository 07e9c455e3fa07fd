"""Factors that wait and cancel: the map is that of every call carried out by itself."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from abslrp.plan.arrivals import DEPTH
from abslrp.plan.entrywise import by_sign, multiplied
from abslrp.plan.factors import above, constant, magnitude
from abslrp.tape import Value
from tests.abslrp.chains import ACTIVATED, CONV, NORM, NORMED, RECTIFIED, Build, network
from tests.abslrp.single import Single, draw, tensor
from tests.naive.network import Graph, forward, relevance, to_torch

CHAINS = [*NORMED, *ACTIVATED, *RECTIFIED]
SINGLE = 1e-3
"""Of the largest entry: rounding, 6e-8, times up to 32 operations one after the other, times 500
for outputs that are that much smaller than the sums of magnitudes that they are made of."""


def starts(graph: Graph, x: Any, *, signed: bool = False) -> tuple[list[Any], Any]:
    """Return the values of all nodes, and a relevance of the last."""
    values = forward(graph, x)
    R = draw(*values[-1].shape, seed=1)
    return values, R if signed else np.abs(R)


def close(got: Any, wanted: Any, bound: float) -> None:
    """Compare in units of the largest entry of all."""
    scale = np.abs(wanted).max()
    assert scale > 0
    np.testing.assert_allclose(got, wanted, rtol=0, atol=bound * scale)


@pytest.mark.parametrize("build", CHAINS)
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_both_ways_equal_the_reference(
    build: Build, conserve: Any, signed: bool, inplace: bool
) -> None:
    graph = network(build)
    x = draw(3, *graph.input_shape, seed=3)
    values, R = starts(graph, x, signed=signed)
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    by_rule, got = (
        abslrp.relevance(model, x, R, conserve=conserve, accelerate=accelerate)
        for accelerate in (False, True)
    )
    wanted = relevance(graph, values, R, conserve)[0]
    np.testing.assert_allclose(by_rule, wanted, rtol=1e-6, atol=1e-9 * np.abs(wanted).max())
    close(got, by_rule, 1e-10)


@pytest.mark.parametrize("build", CHAINS)
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("conserve", ["operation", None])
def test_single_precision(build: Build, inplace: bool, conserve: Any) -> None:
    """Where a quotient of a value by itself is taken for 1."""
    graph = network(build)
    x = draw(3, *graph.input_shape, seed=3).astype(np.float32)
    _, R = starts(graph, x)
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    wanted = abslrp.relevance(model, x.astype(np.float64), R, conserve=conserve, accelerate=False)
    for accelerate in (False, True):
        got = abslrp.relevance(
            model.float(), x, R.astype(np.float32), conserve=conserve, accelerate=accelerate
        )
        assert got.dtype == np.float32
        close(got, wanted, SINGLE)


def test_single_precision_of_a_norm_without_a_bias() -> None:
    weight, head = np.abs(draw(4, seed=1)), draw(2, 4, seed=2)
    maps = []
    for dtype in (torch.float32, torch.float64):
        scale, last = (torch.from_numpy(one).to(dtype) for one in (weight, head))
        leaf = torch.from_numpy(draw(3, 4)).to(dtype).requires_grad_()
        with abslrp.propagation(signed=False):
            out = torch.nn.functional.rms_norm(leaf, [4], scale).relu() @ last.T
        maps.append(torch.autograd.grad(out, leaf, torch.ones_like(out))[0].double())
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-6)


def conv(x: Tensor) -> Tensor:
    return F.conv2d(x, tensor(CONV["weight"]), tensor(CONV["bias"]), padding=1)


def norm(h: Tensor, weight: Any = NORM["weight"]) -> Tensor:
    statistics = tensor(NORM["mean"]), tensor(NORM["var"])
    return F.batch_norm(h, *statistics, tensor(weight), tensor(NORM["bias"]))


def rectified_later(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    return n + F.relu(h, inplace=True)


def scaled_later(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    h.mul_(2.0)
    return n + h


def added_to_later(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    h += n
    return h


def normed_in_place(x: Tensor) -> Tensor:
    return F.relu(norm(conv(x)), inplace=True)


def rectified_at_once(x: Tensor) -> Tensor:
    return norm(F.relu(conv(x), inplace=True))


def viewed(x: Tensor) -> Tensor:
    h = conv(x)
    n = norm(h)
    return n + h.flatten(2).view(h.shape)


def graph_of(call: Callable[[Tensor], Tensor]) -> Graph:
    graph = Graph((3, 5, 5))
    h = graph.add("conv", 0, **CONV)
    if call is rectified_at_once:
        graph.add("batch_norm", graph.add("relu", h), **NORM)
        return graph
    n = graph.add("batch_norm", h, **NORM)
    if call is normed_in_place:
        graph.add("relu", n)
    elif call is rectified_later:
        graph.add("add", n, graph.add("relu", h))
    elif call is scaled_later:
        graph.add("add", n, graph.add("mul_constant", h, value=2.0))
    elif call is added_to_later:
        graph.add("add", h, n)
    else:
        graph.add("add", n, h)
    return graph


IN_PLACE = [
    rectified_later, scaled_later, added_to_later, normed_in_place, rectified_at_once, viewed
]  # fmt: skip


@pytest.mark.parametrize("call", IN_PLACE)
@pytest.mark.parametrize("conserve", ["operation", None])
@pytest.mark.parametrize("signed", [False, True])
def test_overwritten_after_a_norm_took_the_factor(call: Any, conserve: Any, signed: bool) -> None:
    graph, x = graph_of(call), draw(2, 3, 5, 5)
    values = forward(graph, x)
    R = draw(*values[-1].shape, seed=1)
    R = R if signed else np.abs(R)
    model = Single(call, [(3, 5, 5)], rectify=False).eval()
    got = abslrp.relevance(model, x.reshape(2, -1), R.reshape(2, -1), conserve=conserve)
    wanted = relevance(graph, values, R, conserve)[0].reshape(2, -1)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)


OVERWRITTEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": F.linear,
    "matmul": lambda x, w: x.unsqueeze(2) @ x.unsqueeze(1),
    "conv": lambda x, w: F.conv1d(x.unsqueeze(1), w[:, None, :3]),
    "sum": lambda x, w: x.sum(1, keepdim=True),
    "softmax": lambda x, w: x.softmax(1),
    "add": lambda x, w: x + w[0],
    "gate": lambda x, w: x * x.flip(1),
}


@pytest.mark.parametrize("name", OVERWRITTEN)
@pytest.mark.parametrize("rectify", [False, True])
def test_an_input_overwritten_after_its_use(name: str, rectify: bool) -> None:
    """``x += f(x)``: what a rule keeps of ``x`` is the value that the call saw."""
    w = tensor(draw(5, 5))

    def run(x: Tensor, overwrite: bool) -> Tensor:
        x = x.relu() if rectify else x.clone()
        used = OVERWRITTEN[name](x, w)
        x = x.add_(1.0) if overwrite else x + 1.0
        return torch.cat([used.flatten(1), x.flatten(1)], 1)

    x = draw(2, 5)
    models = [Single(lambda v, o=o: run(v, o), [(5,)], rectify=False).eval() for o in (True, False)]
    with torch.no_grad():
        R = np.abs(draw(*models[0](tensor(x)).shape, seed=1))
    got, expected = (abslrp.relevance(model, x, R, conserve=None) for model in models)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)


class Faint(nn.Sequential):
    """A network of positive weights without biases, whose activations are as small as its input."""

    def __init__(self, activation: nn.Module) -> None:
        generator = torch.Generator().manual_seed(0)
        super().__init__(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
        self.extend([activation, nn.Linear(8, 3, bias=False)])
        for weight in self.parameters():
            weight.data = torch.rand(weight.shape, generator=generator) ** 8


@pytest.mark.filterwarnings("ignore:relevance")
@pytest.mark.parametrize("beside", [0.0, math.nan])
@pytest.mark.parametrize("targets", [[0, 1, 0], [[0, 1], [1, 2], [2, 0]]])
def test_a_sample_that_only_the_definition_is_right_for_changes_no_other(
    beside: float, targets: Any
) -> None:
    """Relevance of a blank image is all lost: it is explained by the definition, it alone."""
    model = Faint(nn.ReLU()).eval()
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(1)) * 1e-9
    x[1] = beside
    found = abslrp.explain(model, x, targets)
    definition = abslrp.explain(model, x, targets, accelerate=False)
    for i in (0, 2):
        wanted = abslrp.explain(model, x[i : i + 1], targets[i : i + 1])[0]
        bound = 1e-4 * float(wanted.abs().max())
        assert (definition[i] - wanted).abs().max() > 100 * bound
        torch.testing.assert_close(found[i], wanted, rtol=0, atol=bound)
    torch.testing.assert_close(found[1], definition[1], equal_nan=True)


class Beside(nn.Module):
    """The sum of two layers' outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.one(x).relu() + self.other(x).relu()
        return out


@pytest.mark.filterwarnings("ignore:relevance")
@pytest.mark.parametrize("bias", [True, False])
def test_a_blank_image_is_explained_once(bias: bool) -> None:
    """Its entries are 0, and so is its map by any definition: it is not explained again by one."""
    torch.manual_seed(0)
    model = nn.Sequential(Beside(), nn.Linear(4, 3, bias=bias), nn.ReLU(), nn.Linear(3, 2)).eval()
    x = torch.rand(3, 6)
    x[1] = 0
    definition = abslrp.explain(model, x, 0, accelerate=False)
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    found = abslrp.explain(model, x, 0)
    assert len(calls) == 1
    assert found[1].count_nonzero() == 0
    assert found[0].count_nonzero() > 0
    torch.testing.assert_close(found, definition)


def test_a_sum_that_is_too_small_to_divide_by_is_no_reason_for_nan() -> None:
    model = Faint(nn.GELU()).eval()
    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(1)) * 1e-29
    found, definition = (
        abslrp.explain(model, x, [0, 1], accelerate=accelerate) for accelerate in (True, False)
    )
    assert definition.abs().max() > 0
    torch.testing.assert_close(found, definition)


def test_what_has_no_positive_part_gets_nothing_in_float32() -> None:
    """Zeros, negative inputs and a mean that is met exactly; NaN stays one sample's own."""
    x = torch.tensor([[[0.0, -1.0, 2.0, 3.0]], [[1.0, 2.0, float("nan"), 4.0]]])
    model = torch.nn.BatchNorm1d(1).eval()
    model.running_mean.fill_(2.0)
    model.bias.data.fill_(-5.0)
    flat = torch.nn.Sequential(model, torch.nn.Flatten()).eval()
    maps = abslrp.relevance(flat, x, torch.ones(2, 4), conserve=None)
    # eq. 12: x+ / (|x - 2| + 1e-9 d) * (x - 2)+ / (|h| + 1e-9), d = sqrt(1 + 1e-5)
    assert maps[0, 0, :3].tolist() == [0.0, 0.0, 0.0]
    assert maps[0, 0, 3].item() == pytest.approx(3 / 4, rel=1e-4)
    assert maps[1, 0, 0].item() == 0
    assert torch.isnan(maps[1, 0, 2])
    assert maps[1, 0, 3].item() == pytest.approx(4 / 3, rel=1e-4)


@pytest.mark.parametrize("activation", [torch.sigmoid, torch.exp])
def test_a_product_that_is_zero(activation: Callable[[Tensor], Tensor]) -> None:
    """What it is divided by is epsilon, whoever divides."""
    first = torch.tensor([[1.0, -1.0], [0.0, 2.0]], dtype=torch.float64)
    x = torch.ones(1, 2, dtype=torch.float64)
    for signed in (False, True):  # with a factor that travels, and without
        with abslrp.propagation(conserve=None, signed=signed):
            leaf = x.clone().requires_grad_()
            hidden = activation(leaf @ first.T)
            out = hidden @ torch.ones(2, 1, dtype=torch.float64)
        shares = hidden.detach()[0] / (hidden.detach().sum() + 1e-9)
        (found,) = torch.autograd.grad(out.sum(), leaf)
        wanted = torch.stack([shares[0] / 1e-9, shares[1] * 2 / (2 + 1e-9)])[None]
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def all_ones(hidden: Tensor) -> Tensor:
    return hidden @ torch.ones(2, 2, dtype=hidden.dtype)


def standard(hidden: Tensor) -> Tensor:
    ones = torch.ones(2, dtype=hidden.dtype)
    return F.batch_norm(hidden, 0 * ones, ones, ones, 0 * ones)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("consumer", [all_ones, standard])
@pytest.mark.parametrize("again", [False, True])
def test_a_product_that_is_zero_whoever_takes_its_factor(
    consumer: Callable[[Tensor], Tensor], again: bool, dtype: torch.dtype
) -> None:
    """A second consumer has it multiplied with the epsilon that the first one divided by."""
    weight = torch.tensor([[1.0, -1.0], [0.0, 2.0]], dtype=dtype)
    maps = []
    for signed in (False, True):  # with a factor that travels, and without
        leaf = torch.ones(1, 2, dtype=dtype, requires_grad=True)
        with abslrp.propagation(conserve=None, signed=signed):
            hidden = torch.exp(leaf @ weight.T)
            out = consumer(hidden)
            out = torch.cat([out, hidden], 1) if again else out
        maps.append(torch.autograd.grad(out.sum(), leaf)[0])
    torch.testing.assert_close(*maps, rtol=1e-5, atol=0)
    assert bool((maps[0] > 0).all())


class Convolutions(nn.Module):
    """Norms by channel and by group, a shortcut, a broadcast sum, and a product they fuse with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(6), nn.GroupNorm(3, 6), nn.InstanceNorm2d(6, affine=True)]
        )
        self.head = nn.Linear(6 * 25, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](self.first(x)).relu()
        x = x + self.norms[1](self.second(x))
        x = self.norms[2](x) + x.mean((2, 3), keepdim=True)
        logits: Tensor = self.head(F.gelu(x).flatten(1))
        return logits


class Tokens(nn.Module):
    """Norms over one axis and over two, sums with constants of fewer axes, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(25, 8), nn.Linear(24, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norms = nn.ModuleList(
            [nn.LayerNorm(8), nn.LayerNorm([3, 8]), nn.LayerNorm(8, elementwise_affine=False)]
        )
        self.place, self.shift = nn.Parameter(torch.empty(3, 8)), nn.Parameter(torch.empty(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(2)) + self.place
        x = x + self.attention(*[self.norms[0](x)] * 3, need_weights=False)[0]
        x = self.norms[1](x) - self.shift
        x = self.norms[2](x) + F.rms_norm(x, [8])
        logits: Tensor = self.head(x.flatten(1))
        return logits


def randomised(model: nn.Module) -> nn.Module:
    """Weights, and running statistics, of which no two are alike."""
    generator = torch.Generator().manual_seed(0)
    for one in (*model.parameters(), *model.buffers()):
        if one.is_floating_point():
            with torch.no_grad():
                one.copy_(torch.rand(one.shape, generator=generator) + 0.1)
                if one.ndim > 1:
                    one.sub_(0.6)
    return model.double().eval()


@pytest.mark.parametrize("kind", [Convolutions, Tokens])
@pytest.mark.parametrize("options", [{}, {"conserve": None}, {"contrast": "signed"}], ids=str)
@pytest.mark.parametrize("rules", ["absLRP", "epsilon", "alpha2beta1", "RAP"])
def test_layers_of_torch(kind: type[nn.Module], options: dict[str, Any], rules: str) -> None:
    model, x = randomised(kind()), draw(2, 3, 5, 5)
    by_rule, got = (
        abslrp.explain(model, x, [0, 1], rules=rules, accelerate=accelerate, **options)
        for accelerate in (False, True)
    )
    close(got, by_rule, 1e-10)


@pytest.mark.parametrize("weights", [(0.5, 2.0), (-0.5, 2.0)], ids=["above", "mixed"])
@pytest.mark.parametrize("means", [(0.3, 0.6), (-0.6, -0.3), (-0.3, 0.3)], ids=str)
def test_masks_of_one_value_are_one(weights: Any, means: Any) -> None:
    """``[c (v - mean) > 0] [v > 0]`` is one comparison where no c is below 0."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(
        nn.Conv2d(3, 2, 3), norm, nn.ReLU(), nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3)
    )  # fmt: skip
    for given, entries in ((norm.weight, weights), (norm.running_mean, means)):
        assert given is not None
        given.data.copy_(torch.tensor(entries))
    x = torch.randn(4, 3, 6, 6)
    computed = abslrp.plan(model.eval(), x)["computed"].iloc[-1]
    assert computed.count("[") == (2 if min(weights) > 0 else 3)
    got = abslrp.explain(model, x, [0, 1, 2, 0]).double()
    close(got, abslrp.explain(model.double(), x.double(), [0, 1, 2, 0], accelerate=False), SINGLE)


def test_totals_wait_for_few_calls_in_a_row() -> None:
    """Their product leaves no type's range, on a GPU neither, which tells of no overflow."""
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(2 * DEPTH + 4)))
    for one in model.parameters():
        one.data.fill_(0.5)
    computed = abslrp.plan(model.eval(), torch.rand(1, 2))["computed"]
    restored = [place for place, one in enumerate(computed) if "totals" in one]
    assert restored == [DEPTH, 2 * DEPTH + 1, 2 * DEPTH + 3]


def test_a_mask_of_another_type() -> None:
    v = Value(torch.tensor([-0.5, 0.5]), None)
    twice = constant(torch.full((2,), 2.0, dtype=torch.float64))
    got = multiplied(torch.ones(2, 2, dtype=torch.float64), [twice, above(v)], owned=False)
    assert got.tolist() == [[0, 2], [0, 2]]


@pytest.mark.parametrize("nonnegative", [False, True])
def test_weights_that_leave_the_cache(nonnegative: bool) -> None:
    """What rules make of them is made of parts; 2,000 inputs are no multiple of a part's 499."""
    torch.manual_seed(0)
    layer = nn.Linear(2000, 2100).double().eval().requires_grad_(False)
    x, R = (torch.randn(2, n, dtype=torch.float64) for n in (2000, 2100))
    x, R = x.abs() if nonnegative else x, R.abs()
    s = R / (layer(x).abs() + 1e-9)
    positive = x.clamp(min=0) * (s @ layer.weight.clamp(min=0))
    wanted = positive + x.clamp(max=0) * (s @ layer.weight.clamp(max=0))
    close(abslrp.relevance(layer, x, R, conserve=None), wanted, 1e-10)


def test_bfloat16() -> None:
    """A deep chain, of which relevance is not normalised after each operation."""
    graph = network(RECTIFIED[2])
    x = draw(3, 3, 5, 5, seed=3)
    values, R = starts(graph, x)
    got = abslrp.relevance(
        to_torch(graph).to(torch.bfloat16),
        torch.from_numpy(x).to(torch.bfloat16),
        torch.from_numpy(R).to(torch.bfloat16),
    ).double()
    wanted = torch.from_numpy(relevance(graph, values, R, "operation")[0])
    cosine = F.cosine_similarity(got.flatten(1), wanted.flatten(1))
    assert cosine.min() > 0.95


@pytest.mark.parametrize("build", RECTIFIED)
@pytest.mark.parametrize("inplace", [False, True])
def test_memory_is_given_back_at_once(
    build: Build, inplace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cycle keeps a call or a value, and with it tensors, until Python looks for cycles."""
    graph = network(build)
    x = draw(3, 3, 5, 5, seed=3)
    _, R = starts(graph, x)
    alive: list[weakref.ref[Any]] = []
    for kind in (abslrp.Call, abslrp.tape.Value):
        monkeypatch.setattr(kind, "__init__", _noting(kind, alive))
    model = to_torch(graph, inplace_relu=inplace, inplace_add=inplace)
    gc.collect()
    gc.disable()
    try:
        abslrp.relevance(model, x, R)
        assert len(alive) > 6
        assert [one for one in alive if one() is not None] == []
    finally:
        gc.enable()


def _noting(kind: type, alive: list[weakref.ref[Any]]) -> Callable[..., None]:
    make: Callable[..., None] = kind.__init__  # type: ignore[misc]

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        alive.append(weakref.ref(self))

    return noted


class Overlapping(nn.Module):
    """Parts of one value that share entries, one of them as its negative, and all of it."""

    def __init__(self, *, views: bool) -> None:
        super().__init__()
        self.views = views
        self.first, self.last = nn.Linear(8, 24), nn.Linear(54, 3)
        self.whole = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).unflatten(1, (4, 6))
        if self.views:
            parts = h[:, :3], -h[:, 1:], h[:, 2], h[..., ::2]
        else:

            def taken(axis: int, *places: int) -> Tensor:
                return h.index_select(axis, torch.tensor(places))

            parts = taken(1, 0, 1, 2), -taken(1, 1, 2, 3), taken(1, 2), taken(2, 0, 2, 4)
        logits: Tensor = self.last(torch.cat([one.flatten(1) for one in parts], 1))
        return logits + self.whole(h).sum(1)


@pytest.mark.parametrize("options", [{}, {"conserve": None}, {"contrast": "signed"}], ids=str)
@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_parts_that_overlap(options: dict[str, Any], rules: str) -> None:
    torch.manual_seed(0)
    views, taken = (Overlapping(views=one).double().eval() for one in (True, False))
    taken.load_state_dict(views.state_dict())
    x = torch.randn(2, 8, dtype=torch.float64)
    got, by_rule, wanted = (
        abslrp.explain(model, x, [0, 1], rules=rules, accelerate=accelerate, **options).numpy()
        for model, accelerate in ((views, True), (views, False), (taken, True))
    )
    close(got, wanted, 1e-10)
    close(got, by_rule, 1e-10)


@pytest.mark.parametrize("rows", [1, 2])
def test_relevance_lies_in_memory_as_its_value_does(rows: int) -> None:
    entries = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    relevance = torch.rand(rows, 2, 3, 4, 5)
    got = multiplied(relevance, [magnitude(Value(entries, None))], owned=False)
    assert got[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(got, relevance * entries.abs())
    parts = [relevance.clone(), -relevance]
    assert torch.equal(by_sign(parts, [1, -1], entries), relevance * entries.sign())


def test_a_part_of_one_sign() -> None:
    parts = [torch.ones(1, 2)]
    assert by_sign(parts, [-1], torch.tensor([2.0, -3.0])).tolist() == [[0.0, 1.0]]
