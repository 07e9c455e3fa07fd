"""Fused products and sums are explained as the products and sums that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from abslrp.registry import COMMON
from tests.abslrp.single import Single, draw, tensor

Call = Callable[..., Tensor]
W, V = tensor(draw(4, seed=1)), tensor(np.abs(draw(4, seed=2)) + 0.5)

M, T = tensor(draw(3, 4, seed=5)), tensor(draw(3, 4, 4, seed=6))


def each(call: Call) -> Call:
    """Let a call without a batch axis be one of each sample."""
    return lambda *parts: torch.stack([call(*one) for one in zip(*parts, strict=True)])


def unfolded(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve (C, L) with (O, C, 2), written as a product."""
    made = kernel.flatten(1) @ x.unfold(1, 2, 1).transpose(1, 2).flatten(0, 1)
    return made if bias is None else made + bias[:, None]


def in_groups(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each sample with its own kernels, as conditional convolutions do."""
    made = F.conv1d(x.flatten(0, 1)[None], kernels.flatten(0, 1), groups=len(x))
    return made.reshape(len(x), kernels.shape[1], -1)


CASES: dict[str, tuple[list[tuple[int, ...]], Call, Call]] = {
    "index_put that adds, positionally": (
        [(4,), (3,)],
        each(lambda x, y: x.index_put((torch.tensor([0, 2, 0]),), y, True)),
        each(lambda x, y: x.index_add(0, torch.tensor([0, 2, 0]), y)),
    ),
    "addmm of a sum": (
        [(4,), (3,)],
        lambda x, a: torch.addmm(x, a, M, alpha=-1),
        lambda x, a: x + a @ M * -1,
    ),
    "addmm of two": (
        [(3, 2), (2, 4)],
        each(lambda a, b: torch.addmm(M, a, b)),
        each(lambda a, b: M + a @ b),
    ),
    "addmv": ([(3, 4)], each(lambda a: torch.addmv(W[:3], a, V)), each(lambda a: W[:3] + a @ V)),
    "addr": (
        [(3,), (4,)],
        each(lambda a, b: torch.addr(M, a, b, beta=2)),
        each(lambda a, b: M * 2 + a[:, None] * b),
    ),
    "addbmm": (
        [(2, 3, 2), (2, 2, 4)],
        each(lambda a, b: torch.addbmm(M, a, b)),
        each(lambda a, b: M + (a @ b).sum(0)),
    ),
    "bilinear": (
        [(4,), (4,)],
        lambda x, y: F.bilinear(x, y, T, W[:3]),
        lambda x, y: (torch.einsum("bi,oij->boj", x, T) @ y[..., None])[..., 0] + W[:3],
    ),
    "linear, weights of an input": ([(3, 4), (2, 4)], each(F.linear), each(lambda x, w: x @ w.T)),
    "linear, weights alone of an input": (
        [(2, 4)],
        each(lambda w: F.linear(M, w)),
        each(lambda w: M @ w.T),
    ),
    "linear, bias of an input": (
        [(2, 4), (3,)],
        each(lambda x, b: F.linear(x, M, b)),
        each(lambda x, b: x @ M.T + b),
    ),
    "conv1d, kernel of an input": (
        [(2, 5), (3, 2, 2)],
        each(lambda x, k: F.conv1d(x[None], k)[0]),
        each(unfolded),
    ),
    "conv1d without a batch axis": ([(2, 5), (3, 2, 2)], each(F.conv1d), each(unfolded)),
    "conv1d, kernel and bias of an input": (
        [(2, 5), (3, 2, 2), (3,)],
        each(F.conv1d),
        each(unfolded),
    ),
    "conv1d in groups": ([(2, 5), (3, 2, 2)], in_groups, each(unfolded)),
    "addcmul": ([(4,)] * 2, lambda x, y: torch.addcmul(x, y, W), lambda x, y: x + y * W),
    "addcmul, constant sum": ([(4,)], lambda x: torch.addcmul(W, x, V), lambda x: W + x * V),
    "addcmul, gate": (
        [(4,)] * 3,
        lambda x, y, z: torch.addcmul(x, y, z, value=-0.5),
        lambda x, y, z: x + y * z * -0.5,
    ),
    "addcmul_": (
        [(4,)] * 2,
        lambda x, y: x.mul(1.5).addcmul_(y, V),
        lambda x, y: x * 1.5 + y * V,
    ),
    "addcdiv": (
        [(4,)] * 2,
        lambda x, y: torch.addcdiv(x, y, V, value=2.0),
        lambda x, y: x + y / V * 2,
    ),
    "lerp": (
        [(4,)] * 2,
        lambda x, y: torch.lerp(x, y, 0.25),
        lambda x, y: x * 0.75 + y * 0.25,
    ),
    "lerp_": (
        [(4,)] * 2,
        lambda x, y: x.mul(1.5).lerp_(y, V),
        lambda x, y: x * 1.5 * (1 - V) + y * V,
    ),
    "glu": (
        [(4, 3)],
        lambda x: F.glu(x, 1),
        lambda x: x[:, :2] * torch.sigmoid(x[:, 2:]),
    ),
    "glu of the last axis": (
        [(3, 4)],
        nn.GLU(),
        lambda x: x[..., :2] * torch.sigmoid(x[..., 2:]),
    ),
    "linalg.matmul": ([(3, 2), (2, 4)], torch.linalg.matmul, lambda a, b: a @ b),
    "baddbmm": (
        [(3, 4), (3, 2), (2, 4)],
        lambda x, a, b: torch.baddbmm(x, a, b, beta=0.5, alpha=2),
        lambda x, a, b: x * 0.5 + (a @ b) * 2,
    ),
    "baddbmm of a constant": (
        [(3, 2), (2, 4)],
        lambda a, b: torch.baddbmm(W, a, b),
        lambda a, b: W + a @ b,
    ),
    "baddbmm, beta=0": (
        [(3, 4), (3, 2), (2, 4)],
        lambda x, a, b: torch.baddbmm(x / 0, a, b, beta=0) + x,
        lambda x, a, b: (a @ b + 0) + x,
    ),
    "baddbmm_": (
        [(3, 4), (3, 2), (2, 4)],
        lambda x, a, b: x.mul(1.0).baddbmm_(a, b, beta=0.5),
        lambda x, a, b: x * 0.5 + a @ b,
    ),
}


@pytest.mark.parametrize("conserve", ["operation", "argument", None])
@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
@pytest.mark.parametrize("name", CASES)
def test_as_written_out(name: str, rules: str, conserve: Any) -> None:
    if name.startswith("conv") and conserve == "argument":
        pytest.skip("where what overlaps is added up, signs cancel, and absolute sums change")
    shapes, fused, written = CASES[name]
    x = draw(2, sum(int(np.prod(shape)) for shape in shapes), seed=3)
    models = [Single(call, shapes, rectify=False).eval() for call in (fused, written)]
    with torch.no_grad():
        values = [model(tensor(x)) for model in models]
    torch.testing.assert_close(*values)
    R = draw(*values[0].shape, seed=4)
    got, wanted = (abslrp.relevance(m, x, R, rules=rules, conserve=conserve) for m in models)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    assert np.abs(got).max() > 0


def test_attention_weights_with_a_mask() -> None:
    """The path of nn.MultiheadAttention that returns weights uses baddbmm."""
    attention = nn.MultiheadAttention(6, 2, batch_first=True).double().eval()
    for seed, p in enumerate(attention.parameters()):
        p.data = tensor(draw(*p.shape, seed=seed))
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)

    class Attend(nn.Module):
        def __init__(self, weights: bool) -> None:
            super().__init__()
            self.attention, self.weights = attention, weights

        def forward(self, x: Tensor) -> Tensor:
            mixed: Tensor = self.attention(x, x, x, attn_mask=causal, need_weights=self.weights)[0]
            return mixed.flatten(1)

    x, R = draw(2, 4, 6), draw(2, 24)
    got, wanted = (
        abslrp.relevance(Attend(weights).eval(), x, R, conserve=None) for weights in (True, False)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_equations_are_solved_row_by_row(upper: bool, left: bool, unit: bool) -> None:
    """The map is that of the substitution, by calls that have rules, and torch's solution."""
    solve = COMMON.find(torch.linalg.solve_triangular)
    assert solve is not None
    options = {"upper": upper, "left": left, "unitriangular": unit}
    torch.manual_seed(0)
    other = torch.rand(3, 3, dtype=torch.double)

    class Solving(nn.Module):
        def __init__(self, by: Any) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor) -> Tensor:
            a = x.view(-1, 3, 3) + 2 * torch.eye(3).to(x)
            result: Tensor = self.by(a, other @ a, **options).flatten(1)
            return result

    x = torch.rand(2, 9, dtype=torch.double)
    one, two = Solving(torch.linalg.solve_triangular).eval(), Solving(solve.function).eval()
    torch.testing.assert_close(one(x), two(x))
    maps = abslrp.relevance(one, x, torch.eye(9, dtype=torch.double)[:2])
    torch.testing.assert_close(maps, abslrp.relevance(two, x, torch.eye(9).double()[:2]))
    single = abslrp.relevance(one, x[1:], torch.eye(9).double()[1:2])
    torch.testing.assert_close(maps[1:], single)
    assert maps.any()


WHERE = torch.tensor([3, 0, 4, 4, 1])
SHARES = torch.tensor([0.5, -1.0, 2.0, 1.5, 0.25], dtype=torch.float64)
BAGS: dict[str, tuple[dict[str, Any], Call]] = {
    "sum": ({"mode": "sum"}, lambda one: one.sum(0)),
    "mean": ({"mode": "mean"}, lambda one: one.sum(0) / len(one)),
    "largest": ({"mode": "max"}, lambda one: one.amax(0)),
    "without padding": (
        {"mode": "mean", "padding_idx": -1},
        lambda one: one[:1].sum(0) if len(one) > 2 else one.sum(0) / 2,
    ),
    "with weights": ({"mode": "sum", "per_sample_weights": SHARES}, lambda one: one.sum(0)),
    "with their end": ({"mode": "sum", "include_last_offset": True}, lambda one: one.sum(0)),
}


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
@pytest.mark.parametrize("name", BAGS)
def test_bags_of_rows(name: str, rules: str) -> None:
    """Rows of a table that is made of the input, in three bags, the second of which is empty."""
    options, join = BAGS[name]
    starts = torch.tensor([0, 2, 2, *([5] if "include_last_offset" in options else [])])

    def bags(table: Tensor) -> Tensor:
        return F.embedding_bag(WHERE, table, starts, **options)

    def written(table: Tensor) -> Tensor:
        rows = table[WHERE]
        if "per_sample_weights" in options:
            rows = rows * SHARES[:, None]
        last = rows[[4, 2, 3]]  # the first of which is no padding
        return torch.stack([join(rows[:2]), torch.zeros_like(rows[0]), join(last)])

    x, R = draw(2, 15, seed=3), draw(2, 9, seed=4)
    models = [Single(each(call), [(5, 3)], rectify=False).eval() for call in (bags, written)]
    torch.testing.assert_close(*(model(tensor(x)) for model in models))
    got, wanted = (abslrp.relevance(m, x, R, rules=rules, conserve=None) for m in models)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    assert np.abs(got).max() > 0


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0, float("inf")])
def test_distances_have_their_values(p: float) -> None:
    a, b = tensor(draw(2, 3, 4)), tensor(draw(2, 5, 4, seed=1))
    a[:, 1, 2], b[:, 3, 2] = 0.5, 0.5
    wanted = torch.cdist(a, b, p)
    with abslrp.propagation(inputs=[a]):
        torch.testing.assert_close(torch.cdist(a, b, p), wanted)


CONVOLUTIONS: list[dict[str, Any]] = [{}, *({one: 2} for one in ("stride", "groups", "dilation"))]


@pytest.mark.parametrize("options", [*CONVOLUTIONS, {"padding": 1}], ids=str)
@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d"])
def test_convolutions_in_inference_mode(name: str, options: dict[str, Any]) -> None:
    """Where torch calls them by their own names, and leaves out what is not said."""
    w = tensor(draw(4, 4 // options.get("groups", 1), 3))

    def call(x: Tensor) -> Tensor:
        made: Tensor = getattr(F, name)(x, w, **options)
        return made

    x = draw(2, 24)
    plain, quick = (
        Single(one, [(4, 6)], rectify=False).eval() for one in (call, torch.inference_mode()(call))
    )
    R = draw(*plain(tensor(x)).shape, seed=4)
    got, wanted = (abslrp.relevance(model, x, R) for model in (quick, plain))
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    assert np.abs(got).max() > 0


@pytest.mark.parametrize("shape", [(3, 3), (2, 1, 3, 3)])
def test_triangular_equations_of_fewer_or_more_axes(shape: tuple[int, ...]) -> None:
    """As with both sides repeated, for three samples."""
    right = tensor(draw(*shape))

    class Solving(nn.Module):
        def __init__(self, whole: tuple[int, ...] | None = None) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: Tensor) -> Tensor:
            a, b = x.view(-1, 3, 3) + 2 * torch.eye(3).to(x), right
            if self.whole is not None:
                whole = (*self.whole, len(x), 3, 3)
                a, b = a.expand(whole), b.expand(whole)
            solved: Tensor = torch.linalg.solve_triangular(a, b, upper=True)
            return solved.movedim(-3, 0).flatten(1)

    x = tensor(draw(3, 9))
    given, wanted = Solving().eval(), Solving(shape[:-3]).eval()
    start = tensor(draw(*given(x).shape))
    found = abslrp.relevance(given, x, start)
    torch.testing.assert_close(found, abslrp.relevance(wanted, x, start))
    assert found.any()


@pytest.mark.skipif(not hasattr(torch.ops.aten, "_grouped_mm"), reason="torch is older than 2.8")
def test_groups_of_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4, 5, generator=generator).double()
    rows = torch.randn(6, 4, generator=generator).double().requires_grad_()
    ends = torch.tensor([2, 2, 6], dtype=torch.int32)
    with abslrp.propagation():
        output = torch.ops.aten._grouped_mm(rows, weights, ends)
    expected = torch.cat([rows[:2] @ weights[0], rows[2:] @ weights[2]])
    torch.testing.assert_close(output, expected)
    alike = rows.reshape(2, 3, 4)
    with abslrp.propagation():
        wide = torch.ops.aten._grouped_mm(alike, weights[:2], out_dtype=torch.float32)
    torch.testing.assert_close(wide, (alike @ weights[:2]).float())
    with pytest.raises(ValueError, match="groups of another axis"), abslrp.propagation():
        torch.ops.aten._grouped_mm(rows, rows.detach().mT, ends)
