"""Calls that a rule refuses, results that count as constants, and operations seldom seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops import while_loop
from torch.utils._python_dispatch import TorchDispatchMode

import abslrp
from tests.abslrp.single import Single, check, draw, tensor
from tests.naive import rules


def power_pool(x: Tensor) -> Tensor:
    return F.lp_pool2d(x.reshape(len(x), 2, 3, 3), 2.0, 3).flatten(1)


def by_index(x: Tensor) -> Tensor:
    index = (torch.arange(18) // 2).expand_as(x)
    return torch.ones_like(x).scatter_reduce(1, index, x, "prod")[:, :2]


def products(x: Tensor) -> Tensor:
    return torch.logcumsumexp(x, 1)[:, :2]


CALLS = [(products, "logcumsumexp"), (by_index, "scatter_reduce")]


def nested(x: Tensor) -> Tensor:
    return torch.nested.to_padded_tensor(torch.nested.as_nested_tensor(list(x)), 0.0)


def repeated(x: Tensor) -> Tensor:
    def step(count: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return count + 1, x * 2

    given = torch.tensor(0), x
    return while_loop(lambda count, x: count < 2, step, given)[1]  # type: ignore[no-any-return]


OTHERS = {
    "nested_to_padded_tensor": nested,
    "_sparse_mm: activations of a sparse": lambda x: torch.sparse.mm(
        x.to_sparse(), torch.ones(18, 2, dtype=x.dtype)
    ),
    "to_dense": lambda x: x.to_sparse().to_dense(),
    "while_loop": repeated,
    "torch.quantize_per_tensor": lambda x: torch.quantize_per_tensor(
        x.float(), 0.1, 0, torch.qint8
    ).dequantize(),
    "torch.gt": lambda x: (x > 0.1).double(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OTHERS)
def test_tensors_of_other_kinds_are_named(name: str) -> None:
    if name == "while_loop" and not hasattr(TorchDispatchMode, "supports_higher_order_operators"):
        pytest.skip("this torch refuses it by itself")
    model = Single(OTHERS[name], [(18,)], rectify=False).eval()
    with pytest.raises((abslrp.UnknownOperationError, ValueError), match=re.escape(name)):
        abslrp.explain(model, draw(3, 18), [0, 1, 0])


@pytest.mark.parametrize(("call", "name"), CALLS)
def test_a_call_that_no_rule_covers(call: Callable[[Tensor], Tensor], name: str) -> None:
    """An error that says where and what to do; or the gradient, which a warning tells."""
    model, x = Single(call, [(18,)], rectify=False).eval(), draw(3, 18)
    with pytest.raises(abslrp.UnknownOperationError, match=name) as told:
        abslrp.explain(model, x, [0, 1, 0], contrast=None)
    message = str(told.value)
    assert "test_uncovered.py" in message or "single.py" in message
    assert "@abslrp.rule(" in message
    assert "on_unknown='warn'" in message
    with pytest.warns(UserWarning, match=name):
        maps = abslrp.explain(model, x, [0, 1, 0], contrast=None, on_unknown="warn")
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


def test_power_pooling_goes_by_its_parts() -> None:
    """Powers pass relevance on, and the pooling between them shares it by them."""
    x = draw(3, 18)
    model = Single(power_pool, [(18,)], rectify=True).eval()
    got = abslrp.relevance(model, x, np.ones((3, 2))).reshape(3, 2, 9)
    squares = np.square(x.clip(0)).reshape(3, 2, 9)
    np.testing.assert_allclose(got, squares / squares.sum(2, keepdims=True), rtol=1e-6)


def by_matrix(call: Callable[[Tensor], Tensor], size: int) -> Any:
    """Return the matrix of a linear call on rows of a size."""
    return call(torch.eye(size, dtype=torch.float64)).flatten(1).T.numpy()


def fold(x: Tensor) -> Tensor:
    return F.fold(x.reshape(len(x), 8, 4), (3, 3), 2).flatten(1)


def einsum(x: Tensor) -> Tensor:
    return torch.einsum("bcii->bc", x.reshape(len(x), 2, 3, 3))


def nanmean(x: Tensor) -> Tensor:
    return x.reshape(len(x), 2, 3).nanmean(2)


def nansum(x: Tensor) -> Tensor:
    made = x.reshape(len(x), 2, 3).nansum(2)
    assert made.shape == (len(x), 2)
    return made


@pytest.mark.parametrize(("call", "size"), [(fold, 32), (nanmean, 6), (nansum, 6), (einsum, 18)])
def test_sums(call: Callable[[Tensor], Tensor], size: int) -> None:
    weight = by_matrix(call, size)
    check(call, [draw(2, size)], lambda v, R: [rules.linear(v[0], weight, None, R)])


def test_products_with_vectors() -> None:
    w = draw(4, seed=2)
    naive = lambda v, R: [rules.linear(v[0], w[None], None, R)]  # noqa: E731
    check(lambda x: torch.mv(x, tensor(w))[:, None], [draw(3, 4, seed=5)], naive)
    check(lambda x: torch.dot(x[0], tensor(w)).reshape(1, 1), [draw(1, 4, seed=5)], naive)


SPREADS = [
    lambda h: h.std(1, keepdim=True), lambda h: h.var(1, keepdim=True),
    lambda h: h.norm(dim=1, keepdim=True),
    lambda h: torch.linalg.vector_norm(h, dim=1, keepdim=True),
    lambda h: torch.logsumexp(h, 1, keepdim=True), lambda h: (h.var(1, keepdim=True) + 1).rsqrt(),
]  # fmt: skip


@pytest.mark.parametrize("spread", SPREADS)
def test_spreads_are_constants(spread: Callable[[Tensor], Tensor]) -> None:
    """As denominators they are held; relevance of one as a feature stays there."""
    x = np.abs(draw(3, 4))
    divided = Single(lambda h: h / spread(h), [(4,)], rectify=False).eval()
    R = np.abs(draw(3, 4, seed=1))
    np.testing.assert_allclose(abslrp.relevance(divided, x, R), R)
    joined = Single(lambda h: torch.cat([h, spread(h)], 1), [(4,)], rectify=False).eval()
    more = np.concatenate([R, np.ones((3, 1))], 1)
    np.testing.assert_allclose(abslrp.relevance(joined, x, more), R)
    alone = Single(lambda h: spread(h) * torch.ones(2), [(4,)], rectify=False).eval()
    with pytest.raises(ValueError, match=r"returns counts as constant, as the denominators"):
        abslrp.explain(alone, x, [0, 1, 0])


def test_a_random_rrelu_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.RReLU()).eval()
    abslrp.explain(model, torch.rand(2, 4), [0, 2])
    model[1].train()
    with pytest.raises(ValueError, match="rrelu is in training mode"):
        abslrp.explain(model, torch.rand(2, 4), [0, 2])
