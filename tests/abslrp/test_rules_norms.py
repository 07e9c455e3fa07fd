"""SPEC 1.2: normalisations and softmax, against the naive references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import abslrp
from tests.abslrp.single import check, draw, tensor
from tests.naive import rules
from tests.naive.contributions import Array


def maybe(values: Array | None) -> torch.Tensor | None:
    return None if values is None else tensor(values)


AFFINE = [(True, True), (True, False), (False, False)]
"""Whether there is a weight and a bias."""


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("size", [(), (5,), (3, 2), (2, 2, 2)])
def test_batch_norm(size: tuple[int, ...], affine: tuple[bool, bool]) -> None:
    weight = draw(4) if affine[0] else None
    bias = draw(4, seed=1) if affine[1] else None
    mean, var = draw(4, seed=2), np.abs(draw(4, seed=3)) + 0.1
    check(
        lambda x: F.batch_norm(x, tensor(mean), tensor(var), maybe(weight), maybe(bias), eps=0.01),
        [draw(2, 4, *size)],
        lambda v, R: [rules.batch_norm(v[0], mean, var, weight, bias, R, 0.01)],
    )


def test_batch_norm_with_a_bias_and_no_weight() -> None:
    """A norm without a weight but with a bias is one with weights of one."""
    bias, mean, var = draw(4, seed=1), draw(4, seed=2), np.abs(draw(4, seed=3)) + 0.1
    check(
        lambda x: F.batch_norm(x, tensor(mean), tensor(var), None, tensor(bias)),
        [draw(2, 4, 3)],
        lambda v, R: [rules.batch_norm(v[0], mean, var, np.ones(4), bias, R)],
    )


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize(("shape", "axes"), [((3, 4), 1), ((3, 2, 4), 2), ((4,), 1)])
def test_layer_norm(shape: Any, axes: int, affine: tuple[bool, bool]) -> None:
    last = shape[len(shape) - axes :]
    weight = draw(*last) if affine[0] else None
    bias = draw(*last, seed=1) if affine[1] else None
    check(
        lambda x: F.layer_norm(x, last, maybe(weight), maybe(bias), 0.01),
        [draw(2, *shape)],
        lambda v, R: [rules.layer_norm(v[0], axes, weight, bias, R, 0.01)],
    )


def test_batch_norm_of_a_traced_model() -> None:
    weight, bias, mean, var = draw(4), draw(4, seed=1), draw(4, seed=2), np.abs(draw(4, seed=3))
    given = [tensor(one) for one in (weight, bias, mean, var)]
    check(
        lambda x: torch.ops.aten._native_batch_norm_legit_no_training(x, *given, 0.1, 0.01)[0],
        [draw(2, 4, 3)],
        lambda v, R: [rules.batch_norm(v[0], mean, var, weight, bias, R, 0.01)],
    )


@pytest.mark.parametrize("affine", AFFINE)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm(groups: int, affine: tuple[bool, bool]) -> None:
    weight = draw(4) if affine[0] else None
    bias = draw(4, seed=1) if affine[1] else None
    check(
        lambda x: F.group_norm(x, groups, maybe(weight), maybe(bias), 0.01),
        [draw(2, 4, 3, 5)],
        lambda v, R: [rules.group_norm(v[0], groups, weight, bias, R, 0.01)],
    )


@pytest.mark.parametrize("affine", AFFINE[::2])
def test_instance_norm(affine: tuple[bool, bool]) -> None:
    weight = draw(4) if affine[0] else None
    bias = draw(4, seed=1) if affine[1] else None
    check(
        lambda x: F.instance_norm(x, None, None, maybe(weight), maybe(bias), eps=0.01),
        [draw(2, 4, 3, 2)],
        lambda v, R: [rules.group_norm(v[0], 4, weight, bias, R, 0.01)],
    )


@pytest.mark.parametrize(
    ("norm", "groups"),
    [
        (lambda x: F.layer_norm(x, [4, 3, 2]), 1),
        (lambda x: F.group_norm(x, 2), 2),
        (F.instance_norm, 4),
    ],
)
def test_norms_with_their_own_eps(norm: Any, groups: int) -> None:
    """Variances are near it, so that it counts."""
    check(
        norm,
        [0.003 * draw(2, 4, 3, 2)],
        lambda v, R: [rules.group_norm(v[0], groups, None, None, R, 1e-5)],
    )


def test_instance_norm_with_running_statistics() -> None:
    weight, bias = draw(4), draw(4, seed=1)
    mean, var = draw(4, seed=2), np.abs(draw(4, seed=3)) + 0.1
    module = torch.nn.InstanceNorm2d(4, affine=True, track_running_stats=True).double().eval()
    module.weight.data, module.bias.data = tensor(weight), tensor(bias)
    module.running_mean, module.running_var = tensor(mean), tensor(var)
    check(
        module,
        [draw(2, 4, 3, 2)],
        lambda v, R: [rules.batch_norm(v[0], mean, var, weight, bias, R)],
    )


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("eps", [0.01, None])
def test_rms_norm(weighted: bool, eps: float | None) -> None:
    weight = draw(4) if weighted else None
    used = float(np.finfo(np.float64).eps) if eps is None else eps
    check(
        lambda x: F.rms_norm(x, [4], maybe(weight), eps),
        [draw(2, 3, 4)],
        lambda v, R: [rules.rms_norm(v[0], 1, weight, R, used)],
    )


def test_layer_norm_written_out_by_hand() -> None:
    """Mean and variance held constant hold for a norm made of other operations, too."""
    weight, bias = draw(4), draw(4, seed=1)

    def call(x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * tensor(weight) + tensor(bias)

    def naive(v: Any, R: Any) -> Any:
        x = v[0]
        mean = x.mean(-1, keepdims=True)
        h1 = (x - mean) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        R = rules.add_constant(h1 * weight, bias, R)
        return [rules.add_constant(x, -mean, R)]

    check(call, [draw(2, 3, 4)], naive)


@pytest.mark.parametrize("dim", [-1, 1])
@pytest.mark.parametrize(
    "softmax", [torch.softmax, F.softmax, torch.Tensor.softmax, lambda x, d: torch.nn.Softmax(d)(x)]
)
def test_softmax(softmax: Any, dim: int) -> None:
    check(lambda x: softmax(x, dim), [draw(2, 3, 4)], lambda v, R: [rules.softmax(v[0], R)])


def test_softmax_known_to_be_nonnegative() -> None:
    w = draw(6, 4)

    def naive(v: Any, R: Any) -> Any:
        weights = F.softmax(tensor(v[0]), -1).numpy()
        return [rules.softmax(v[0], rules.linear(weights, w, None, R))]

    check(lambda x: F.linear(x.softmax(-1), tensor(w)), [draw(2, 3, 4)], naive)


@pytest.mark.parametrize(
    "log_softmax", [torch.log_softmax, F.log_softmax, torch.Tensor.log_softmax]
)
def test_log_softmax(log_softmax: Any) -> None:
    """The logarithm of the denominator, held constant, is a bias."""

    def naive(v: Any, R: Any) -> Any:
        whole = np.log(np.exp(v[0]).sum(-1, keepdims=True))
        return [rules.add_constant(v[0], -whole, R)]

    check(lambda x: log_softmax(x, -1), [draw(2, 3, 4)], naive)


def test_softmax_leaves_its_scores_as_they_are() -> None:
    """They may be wanted once more, as by models that return them."""
    scores = tensor(draw(2, 3))
    with abslrp.propagation():
        leaf = scores.clone().requires_grad_()
        shifted = leaf - 0.5
        shifted.softmax(-1)
    torch.testing.assert_close(shifted.detach(), scores - 0.5)


@pytest.mark.parametrize("weighted", [True, False])
def test_epsilon_counts_where_values_are_as_small(weighted: bool) -> None:
    """In double precision, in which a sum is known to less than that."""
    mean, var = np.zeros(4), np.array([0.25, 1.0, 4.0, 9.0])
    weight = draw(4) if weighted else None
    check(
        lambda x: F.batch_norm(x, tensor(mean), tensor(var), maybe(weight), eps=0.0),
        [1e-9 * draw(2, 4, 3)],
        lambda v, R: [rules.batch_norm(v[0], mean, var, weight, None, R, 0.0)],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_a_norm_whose_output_is_zero_divides_by_epsilon(dtype: torch.dtype, weight: float) -> None:
    def one(value: float) -> torch.Tensor:
        return torch.tensor([value], dtype=dtype)

    x = torch.tensor([[2.0]], dtype=dtype, requires_grad=True)
    # h1 = (2 - 1) / 1 or (2 - 3) / 1, and h2 = |h1| - 1.
    with abslrp.propagation(conserve=None):
        h = F.batch_norm(x, one(2 - weight), one(1.0), one(weight), one(-1.0), eps=0.0)
    assert h.item() == 0
    (given,) = torch.autograd.grad(h.sum(), x)
    np.testing.assert_allclose(given.item(), 2 * 1 / 1e-9, rtol=1e-6)


@pytest.mark.parametrize("statistics", [True, False])
def test_a_batch_norm_that_uses_the_batch_is_refused(statistics: bool) -> None:
    x, ones = torch.randn(3, 4, requires_grad=True), torch.ones(4)
    given = (ones, ones) if statistics else (None, None)
    with abslrp.propagation():
        with pytest.raises(ValueError, match="statistics of the batch"):
            F.batch_norm(x, *given, training=True)
        F.batch_norm(x, ones, ones)
    model = torch.nn.BatchNorm1d(4, track_running_stats=statistics).eval()
    if statistics:
        abslrp.explain(model, x.detach(), 0)
        return
    with pytest.raises(ValueError, match="statistics of the batch"):
        abslrp.explain(model, x.detach(), 0)
