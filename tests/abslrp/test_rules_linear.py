"""SPEC 1.2: products with a parameter and of two activations, against the naive references."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import abslrp
from tests.abslrp.single import check, draw, tensor
from tests.naive import rules


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 2, 3, 5)])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    w, b = draw(4, 5), draw(4) if bias else None
    check(
        lambda x: F.linear(x, tensor(w), None if b is None else tensor(b)),
        [draw(*shape)],
        lambda v, R: [rules.linear(v[0], w, b, R)],
    )


class Layer(torch.nn.Module):
    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call, self.weight = call, torch.nn.Parameter(tensor(draw(5, seed=3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.call(x, self.weight)
        return made


@pytest.mark.parametrize("rules", abslrp.registry.RULE_SETS)
@pytest.mark.parametrize(
    ("by_a_vector", "by_a_matrix"),
    [
        (F.linear, lambda x, weight: F.linear(x, weight[None])[..., 0]),
        (torch.matmul, lambda x, weight: (x @ weight[:, None])[..., 0]),
        (lambda x, weight: weight @ x.mT, lambda x, weight: (weight[None] @ x.mT)[..., 0, :]),
    ],
)
def test_a_vector_of_weights_is_a_matrix_of_one_row(
    by_a_vector: Any, by_a_matrix: Any, rules: str
) -> None:
    x, start = tensor(draw(2, 3, 5)), tensor(np.abs(draw(2, 3)))
    found, wanted = (
        abslrp.relevance(Layer(call).eval(), x, torch.stack([start, 2 * start]), rules=rules)
        for call in (by_a_vector, by_a_matrix)
    )
    assert wanted.abs().max() > 0
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("layout", ["permuted", "sliced", "expanded"])
def test_linear_of_an_input_that_does_not_lie_in_rows(layout: str) -> None:
    w, b = draw(4, 5), draw(4)
    lay = {
        "permuted": lambda x: x.transpose(0, 1),
        "sliced": lambda x: x[..., ::2],
        "expanded": lambda x: x[..., :1].expand(*x.shape[:-1], 5),
    }[layout]
    given = draw(2, 3, 9 if layout == "sliced" else 5)

    def model(x: torch.Tensor) -> torch.Tensor:
        y = F.linear(lay(x), tensor(w), tensor(b))
        return y.transpose(0, 1) if layout == "permuted" else y

    def naive(v: Any, R: Any) -> Any:
        if layout == "permuted":
            return [rules.linear(v[0].swapaxes(0, 1), w, b, R.swapaxes(0, 1)).swapaxes(0, 1)]
        if layout == "sliced":
            wanted = np.zeros_like(v[0])
            wanted[..., ::2] = rules.linear(v[0][..., ::2], w, b, R)
            return [wanted]
        wanted = np.zeros_like(v[0])
        same = np.broadcast_to(v[0][..., :1], v[0].shape)
        wanted[..., :1] = rules.linear(same, w, b, R).sum(-1, keepdims=True)
        return [wanted]

    check(model, [given], naive)


def test_linear_of_a_permuted_input_or_relevance_is_one_product() -> None:
    """Torch's own way, a product for each entry of the first axis, takes four times as long."""
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = attention, torch.nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.attention(x, x, x, need_weights=False)[0]
            return self.head(y).transpose(1, 2).mean(2)

    class Products(TorchDispatchMode):
        seen: ClassVar[list[tuple[int, ...]]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            if func.overloadpacket.__name__ == "bmm":
                self.seen.append(tuple(args[1].shape))
            return func(*args, **(kwargs or {}))

    with Products():
        abslrp.explain(Model().eval(), torch.randn(2, 5, 8), 1)
    assert Products.seen
    # Those of attention: samples x heads.
    assert all(shape[0] == 4 for shape in Products.seen)


CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((3, 9), (4, 3, 3), {}),
    ((4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    ((2, 9), (2, 2, 3), {"dilation": 2, "padding": "same"}),
    ((3, 6, 7), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    ((4, 6, 7), (4, 1, 3, 3), {"groups": 4, "padding": 2, "dilation": 2}),
    ((3, 6, 7), (2, 3, 3, 5), {"padding": "same"}),
    ((3, 6, 7), (2, 3, 3, 5), {"padding": "valid"}),
    ((3, 6, 6), (2, 3, 4, 4), {"stride": 4}),
    ((3, 7, 7), (2, 3, 2, 2), {"stride": 2}),  # the last row and column are not seen
    ((2, 4, 5, 4), (3, 2, 2, 3, 1), {"padding": (1, 0, 2), "stride": (1, 2, 1)}),
    ((4, 4, 4, 4), (4, 2, 3, 3, 3), {"groups": 2, "padding": 1}),
]


@pytest.mark.parametrize(("size", "weight", "params"), CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(size: Any, weight: Any, params: Any, bias: bool) -> None:
    w, b = draw(*weight), draw(weight[0]) if bias else None
    conv = (F.conv1d, F.conv2d, F.conv3d)[len(weight) - 3]
    check(
        lambda x: conv(x, tensor(w), None if b is None else tensor(b), **params),
        [draw(2, *size)],
        lambda v, R: [rules.conv(v[0], w, b, R, **params)],
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_convolution_same_padding_with_an_even_kernel() -> None:
    # torch pads such a convolution unevenly, at the end; the model runs, so it is explained.
    w = draw(3, 2, 2, 3)
    check(
        lambda x: F.conv2d(x, tensor(w), padding="same"),
        [draw(2, 2, 5, 6)],
        lambda v, R: [rules.conv(v[0], w, None, R, padding="same")],
    )


TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((4, 5), (4, 2, 3), {"stride": 3, "groups": 2, "padding": 1}),
    ((2, 5), (2, 3, 3), {"dilation": 2}),
    ((2, 3, 4), (2, 3, 3, 2), {"stride": 2, "output_padding": 1}),
    ((2, 3, 4), (2, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (0, 2)}),
    ((4, 2, 3, 2), (4, 1, 2, 2, 3), {"stride": 2, "groups": 2}),
]


@pytest.mark.parametrize(("size", "weight", "params"), TRANSPOSED)
def test_transposed_convolution(size: Any, weight: Any, params: Any) -> None:
    w, b = draw(*weight), draw(weight[1] * params.get("groups", 1))
    conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[len(weight) - 3]
    check(
        lambda x: conv(x, tensor(w), tensor(b), **params),
        [draw(2, *size)],
        lambda v, R: [rules.conv_transpose(v[0], w, b, R, **params)],
    )


PRODUCTS = [((2, 3, 4), (2, 4, 5)), ((2, 2, 3, 4), (2, 1, 4, 5)), ((2, 1, 3, 4), (2, 3, 4, 2))]


@pytest.mark.parametrize(("left", "right"), PRODUCTS)
@pytest.mark.parametrize("product", [torch.matmul, lambda a, b: a @ b, torch.Tensor.matmul])
def test_product_of_two_activations(left: Any, right: Any, product: Any) -> None:
    check(product, [draw(*left), draw(*right)], lambda v, R: rules.matmul(v[0], v[1], R))


def test_bmm_of_two_activations() -> None:
    a, b = draw(2, 3, 4), draw(2, 4, 5)
    check(torch.bmm, [a, b], lambda v, R: rules.matmul(v[0], v[1], R))


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1)])
def test_product_with_one_operand_known_to_be_nonnegative(signs: tuple[int, int]) -> None:
    def call(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.relu() if signs[0] > 0 else a) @ (b.relu() if signs[1] > 0 else b)

    def naive(v: Any, R: Any) -> Any:
        one, two = (np.maximum(x, 0) if s > 0 else x for x, s in zip(v, signs, strict=True))
        return rules.matmul(one, two, R)

    check(call, [draw(2, 3, 4), draw(2, 4, 5)], naive)


def test_a_tensor_times_its_own_transpose() -> None:
    def naive(v: Any, R: Any) -> Any:
        left, right = rules.matmul(v[0], v[0].swapaxes(1, 2), R)
        return [left + right.swapaxes(1, 2)]

    check(lambda x: x @ x.transpose(1, 2), [draw(2, 3, 4)], naive)


def test_constant_on_the_right() -> None:
    w = draw(4, 5)
    check(lambda x: x @ tensor(w), [draw(2, 3, 4)], lambda v, R: [rules.linear(v[0], w.T, None, R)])
    many = draw(3, 4, 5)  # one matrix for each of three rows
    check(
        lambda x: x @ tensor(many),
        [draw(2, 3, 2, 4)],
        lambda v, R: [rules.matmul(v[0], np.broadcast_to(many, (2, 3, 4, 5)), R)[0]],
    )
    check(
        lambda x: x @ tensor(many),  # the activation is broadcast
        [draw(2, 1, 2, 4)],
        lambda v, R: [rules.matmul(v[0], np.broadcast_to(many, (2, 3, 4, 5)), R)[0]],
    )


def test_constant_on_the_left() -> None:
    w = draw(5, 3)
    check(
        lambda x: tensor(w) @ x,
        [draw(2, 3, 4)],
        lambda v, R: [rules.matmul(np.broadcast_to(w, (2, 5, 3)), v[0], R)[1]],
    )
    check(
        lambda x: torch.matmul(tensor(w), x),
        [draw(2, 2, 3, 4)],
        lambda v, R: [rules.matmul(np.broadcast_to(w, (2, 2, 5, 3)), v[0], R)[1]],
    )


def test_constant_vector_on_either_side() -> None:
    w = draw(4)
    check(
        lambda x: x @ tensor(w),
        [draw(2, 3, 4)],
        lambda v, R: [rules.linear(v[0], w[None], None, R[..., None])],
    )
    check(
        lambda x: tensor(w) @ x,
        [draw(2, 4, 3)],
        lambda v, R: [rules.matmul(np.broadcast_to(w, (2, 1, 4)), v[0], R[:, None])[1]],
    )


def test_addmm_scales_its_terms() -> None:
    w, b = draw(4, 5), draw(5)
    check(
        lambda x: torch.addmm(tensor(b), x, tensor(w), beta=0.5, alpha=-2.0),
        [draw(2, 4)],
        lambda v, R: [rules.linear(v[0], -2.0 * w.T, 0.5 * b, R)],
    )


@pytest.mark.parametrize("rules", ["absLRP", "epsilon", "alpha2beta1", "RAP"])
def test_addmm_of_nothing_leaves_out_what_is_no_number(rules: str) -> None:
    """As torch does where beta is 0."""
    w, nothing = tensor(draw(4, 5)), torch.full((5,), torch.nan, dtype=torch.float64)

    class Model(torch.nn.Module):
        def __init__(self, call: Any) -> None:
            super().__init__()
            self.call = call

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h: torch.Tensor = self.call(x)
            return h

    calls = (lambda x: torch.addmm(nothing, x, w, beta=0, alpha=2), lambda x: x @ (2 * w))
    x, R = tensor(draw(2, 4)), tensor(draw(2, 5)).abs()
    got, wanted = (abslrp.relevance(Model(one).eval(), x, R, rules=rules) for one in calls)
    torch.testing.assert_close(got, wanted)
    assert got.any()


EQUATIONS = [
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 1)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)),
    ("bij,bik->bjk", (2, 3, 4), (2, 3, 5)),
    ("bid,bjd->bji", (2, 3, 4), (2, 5, 4)),
    ("bij,bij->bi", (2, 3, 4), (2, 3, 4)),
]


@pytest.mark.parametrize(("equation", "left", "right"), EQUATIONS)
def test_einsum_of_two_activations(equation: str, left: Any, right: Any) -> None:
    check(
        lambda a, b: torch.einsum(equation, a, b),
        [draw(*left), draw(*right)],
        lambda v, R: rules.einsum(equation, v[0], v[1], R),
    )


def test_einsum_without_a_sum_is_a_product_entry_by_entry() -> None:
    check(
        lambda a, b: torch.einsum("bi,bj->bij", a, b),
        [draw(2, 3), draw(2, 4)],
        lambda v, R: [
            given.reshape(one.shape)
            for given, one in zip(rules.gate(v[0][:, :, None], v[1][:, None], R), v, strict=True)
        ],
    )


@pytest.mark.parametrize(
    ("equation", "explicit", "left", "right"),
    [
        ("...ij,...jk->...ik", "abij,abjk->abik", (2, 2, 3, 4), (2, 2, 4, 5)),
        ("b i j, b j k -> b i k", "bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        ("bij,bjk", "bij,bjk->ik", (1, 3, 4), (1, 4, 5)),
        ("...Ai,...Aj->...ij", "bai,baj->bij", (2, 3, 4), (2, 3, 5)),
    ],
)
def test_einsum_spellings(equation: str, explicit: str, left: Any, right: Any) -> None:
    def call(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        out = torch.einsum(equation, a, b)
        return out[None] if equation == "bij,bjk" else out

    def naive(v: Any, R: Any) -> Any:
        return rules.einsum(explicit, v[0], v[1], R[0] if equation == "bij,bjk" else R)

    check(call, [draw(*left), draw(*right)], naive)


def test_einsum_repeats_axes_of_size_one() -> None:
    def naive(v: Any, R: Any) -> Any:
        wide = np.broadcast_to(v[0], (2, 5, 3, 4))
        R_a, R_b = rules.einsum("abij,abjk->abik", wide, v[1], R)
        return [R_a.sum(1, keepdims=True), R_b]

    inputs = [draw(2, 1, 3, 4), draw(2, 5, 4, 2)]
    check(lambda a, b: torch.einsum("...ij,...jk->...ik", a, b), inputs, naive)
    check(lambda a, b: torch.einsum("abij,abjk->abik", a, b), inputs, naive)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bi,bi->", [(2, 3), (2, 3)]),
        ("...i->...", [(2, 3, 4)]),
        ("ji", [(2, 3)]),
        ("bi,ij,jk->bk", [(2, 3), (3, 4), (4, 5)]),
        ("...A,AB", [(2, 3, 4), (4, 5)]),
        ("bi,->bi", [(2, 3), ()]),
    ],
)
def test_einsum_has_its_value_inside(equation: str, shapes: Any) -> None:
    operands = [tensor(draw(*shape)) for shape in shapes]
    wanted = torch.einsum(equation, *operands)
    with abslrp.propagation(inputs=operands[:1]):
        torch.testing.assert_close(torch.einsum(equation, *operands), wanted)
        torch.testing.assert_close(torch.einsum(equation, operands), wanted)


def test_einsum_with_a_repeated_letter() -> None:
    """Relevance follows the diagonal."""

    def naive(v: Any, R: Any) -> Any:
        return [np.eye(3) * R[:, :, None]]

    check(lambda x: torch.einsum("bii->bi", x), [draw(2, 3, 3)], naive)


def test_einsum_with_a_constant() -> None:
    w = draw(4, 5)
    check(
        lambda x: torch.einsum("bij,jk->bik", x, tensor(w)),
        [draw(2, 3, 4)],
        lambda v, R: [rules.linear(v[0], w.T, None, R)],
    )
    check(
        lambda x: torch.einsum("kj,bij->bki", tensor(w.T), x),
        [draw(2, 3, 4)],
        lambda v, R: [rules.linear(v[0], w.T, None, R.swapaxes(1, 2))],
    )
    # A relative position table: one matrix for each query.
    table = draw(3, 5, 4)
    check(
        lambda x: torch.einsum("bqd,qkd->bqk", x, tensor(table)),
        [draw(2, 3, 4)],
        lambda v, R: [
            np.stack([rules.linear(v[0][:, q], table[q], None, R[:, q]) for q in range(3)], axis=1)
        ],
    )


@pytest.mark.parametrize(("name", "key"), [("mm", "mat2"), ("bmm", "mat2"), ("matmul", "other")])
@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_the_second_operand_may_be_named(name: str, key: str, rules: str) -> None:
    weight = torch.from_numpy(draw(4, 3))
    weight = weight.expand(2, 4, 3) if name == "bmm" else weight
    x = torch.from_numpy(draw(2, 5, 4)) if name == "bmm" else torch.from_numpy(draw(2, 4))

    class Model(torch.nn.Module):
        def __init__(self, named: bool) -> None:
            super().__init__()
            self.named = named

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            function = getattr(torch, name)
            h = function(x, **{key: weight}) if self.named else function(x, weight)
            return h.flatten(1)

    targets = [0, 1]
    maps = [abslrp.explain(Model(named).eval(), x, targets, rules=rules) for named in (True, False)]
    torch.testing.assert_close(maps[0], maps[1])


@pytest.mark.parametrize("rules", ["absLRP", "epsilon", "alpha2beta1", "RAP", "EpsilonGammaBox"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_of_one_sample_without_a_batch(rules: str, transposed: bool) -> None:
    """It has the map that it has with a batch axis, limits of its input included."""
    weight = torch.from_numpy(draw(3, 4, 3, 3) if transposed else draw(4, 3, 3, 3))
    function = F.conv_transpose2d if transposed else F.conv2d

    class Model(torch.nn.Module):
        def __init__(self, batched: bool) -> None:
            super().__init__()
            self.batched = batched

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            call = function(x, weight) if self.batched else function(x[0], weight)[None]
            return call.relu().sum((2, 3))

    x = torch.from_numpy(draw(1, 3, 6, 6))
    maps = [abslrp.explain(Model(one).eval(), x, [0], rules=rules) for one in (True, False)]
    torch.testing.assert_close(maps[0], maps[1])
