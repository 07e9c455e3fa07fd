"""SPEC 1.2: pooling, means, sums, interpolation, and operations that only move elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import abslrp
from tests.abslrp.single import check, draw, tensor
from tests.naive import rules

POOLS = [
    ((2, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((2, 7), {"kernel_size": 2, "ceil_mode": True}),
    ((2, 6, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((2, 6, 7), {"kernel_size": (3, 2), "stride": (1, 2)}),
    ((2, 4, 5, 4), {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True}),
]


def naive_names(params: dict[str, Any]) -> dict[str, Any]:
    return {"kernel" if k == "kernel_size" else k: v for k, v in params.items()}


@pytest.mark.parametrize(("size", "params"), POOLS)
def test_max_pool(size: Any, params: Any) -> None:
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(size) - 2]
    check(
        lambda x: pool(x, **params),
        [draw(2, *size)],
        lambda v, R: [rules.max_pool(v[0], R, **naive_names(params))],
        rectify=[False],  # of several zeros, libraries choose differently
    )


def test_max_pool_with_dilation_and_indices() -> None:
    check(
        lambda x: F.max_pool2d(x, 2, 1, 0, 2, return_indices=True)[0],
        [draw(2, 3, 6, 6)],
        lambda v, R: [rules.max_pool(v[0], R, kernel=2, stride=1, dilation=2)],
        rectify=[False],
    )
    check(
        lambda x: F.adaptive_max_pool2d(x, (3, 2)),
        [draw(2, 3, 7, 5)],
        lambda v, R: [rules.adaptive_max_pool(v[0], R, (3, 2))],
        rectify=[False],
    )


@pytest.mark.parametrize(("size", "params"), POOLS)
@pytest.mark.parametrize("include", [True, False])
def test_average_pool(size: Any, params: Any, include: bool) -> None:
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(size) - 2]
    check(
        lambda x: pool(x, **params, count_include_pad=include),
        [draw(2, *size)],
        lambda v, R: [rules.avg_pool(v[0], R, **naive_names(params), count_include_pad=include)],
    )


def test_average_pool_with_a_divisor() -> None:
    check(
        lambda x: F.avg_pool2d(x, 2, divisor_override=3),
        [draw(2, 3, 6, 6)],
        lambda v, R: [rules.avg_pool(v[0], R, kernel=2, divisor_override=3)],
    )


@pytest.mark.parametrize(
    ("size", "output"),
    [((2, 7), 3), ((2, 7, 5), (3, 2)), ((2, 7, 5), 1), ((2, 4, 5, 3), (2, 3, 1))],
)
def test_adaptive_average_pool(size: Any, output: Any) -> None:
    names = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    check(
        lambda x: names[len(size) - 2](x, output),
        [draw(2, *size)],
        lambda v, R: [rules.adaptive_avg_pool(v[0], R, output)],
    )


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("axes", [(1,), (-1,), (2, 3), (1, -1)])
@pytest.mark.parametrize("method", [True, False])
def test_mean_and_sum(axes: Any, keepdim: bool, method: bool) -> None:
    x = [draw(2, 3, 4, 5)]
    check(
        lambda v: v.mean(axes, keepdim) if method else torch.mean(v, axes, keepdim=keepdim),
        x,
        lambda v, R: [rules.mean(v[0], R, axes, keepdims=keepdim)],
    )
    check(
        lambda v: v.sum(dim=axes, keepdim=keepdim) if method else torch.sum(v, axes, keepdim),
        x,
        lambda v, R: [rules.total(v[0], R, axes, keepdims=keepdim)],
    )


def test_cumulative_sum() -> None:
    lower = np.tril(np.ones((4, 4)))
    check(lambda x: x.cumsum(1), [draw(2, 4)], lambda v, R: [rules.linear(v[0], lower, None, R)])


RESIZES: list[tuple[tuple[int, ...], dict[str, Any], dict[str, Any]]] = [
    ((2, 5), {"mode": "nearest", "size": 8}, {}),
    ((2, 5), {"mode": "linear", "size": 8}, {}),
    ((2, 4, 5), {"mode": "nearest", "scale_factor": (1.5, 2.0)}, {}),
    ((2, 4, 5), {"mode": "bilinear", "size": (7, 3)}, {"mode": "linear"}),
    (
        (2, 4, 5),
        {"mode": "bilinear", "scale_factor": 2, "align_corners": True},
        {"mode": "linear"},
    ),
    ((2, 4, 5), {"mode": "bicubic", "size": (7, 9)}, {}),
    ((2, 4, 5), {"mode": "bicubic", "size": (7, 3), "align_corners": True}, {}),
    ((2, 4, 5), {"mode": "bicubic", "scale_factor": 2}, {}),
    ((2, 2, 3, 2), {"mode": "trilinear", "size": (3, 5, 4)}, {"mode": "linear"}),
]


@pytest.mark.parametrize(("size", "params", "changed"), RESIZES)
def test_interpolation(size: Any, params: Any, changed: Any) -> None:
    reference = {**params, **changed}
    check(
        lambda x: F.interpolate(x, **params),
        [draw(2, *size)],
        lambda v, R: [rules.interpolate(v[0], R, **reference)],
    )


def test_interpolation_by_a_module_and_positionally() -> None:
    x = [draw(2, 2, 4, 5)]
    check(
        torch.nn.Upsample(scale_factor=2, mode="bicubic"),
        x,
        lambda v, R: [rules.interpolate(v[0], R, mode="bicubic", scale_factor=2)],
    )
    check(
        lambda v: F.interpolate(v, (5, 7), None, "bicubic", True),
        x,
        lambda v, R: [rules.interpolate(v[0], R, mode="bicubic", size=(5, 7), align_corners=True)],
    )
    check(
        lambda v: F.interpolate(v, (5, 7), None, "bilinear"),
        x,
        lambda v, R: [rules.interpolate(v[0], R, mode="linear", size=(5, 7))],
    )


def _as_a_matrix(call: Callable[[Tensor], Tensor], side: int) -> Tensor:
    """Return the weights (out, in) of a map that is linear in an image."""
    return call(torch.eye(side**2).double().view(-1, 1, side, side)).flatten(1).T


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (7, 3), (1, 4)])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
def test_interpolation_is_a_linear_layer(size: Any, mode: str, antialias: bool) -> None:
    """Eq. 12 with its weights, which may be of both signs."""

    def resized(x: Tensor) -> Tensor:
        return F.interpolate(x, size, mode=mode, antialias=antialias)

    x, w = tensor(draw(2, 1, 4, 4)), _as_a_matrix(resized, 4)
    start = tensor(np.abs(draw(2, size[0] * size[1])))
    h = x.flatten(1) @ w.T
    expected = (
        (x.flatten(1)[:, None] * w).clamp(min=0) * (start / (h.abs() + 1e-9))[..., None]
    ).sum(1)

    class Net(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return resized(x).flatten(1)

    found = abslrp.relevance(Net().eval(), x, start, conserve=None)
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dim", [None, 2, (1, 2)])
@pytest.mark.parametrize("name", ["nansum", "nanmean"])
def test_what_is_no_number_has_no_part(name: str, dim: Any) -> None:
    x = tensor(draw(2, 3, 4, 5))
    x[0, 1, 2, 3] = x[1, 0] = np.nan

    def left_out(one: Tensor) -> Tensor:
        kept = torch.where(one.isnan(), 0.0, one)
        over = (0, 1, 2, 3)[1:] if dim is None else dim
        total, count = kept.sum(over, keepdim=True), (~one.isnan()).sum(over, keepdim=True)
        return total if name == "nansum" else total / count.clamp(min=1)

    def by_torch(one: Tensor) -> Tensor:
        over = (1, 2, 3) if dim is None else dim
        return getattr(torch, name)(one, over, keepdim=True).nan_to_num(0)

    class Net(torch.nn.Module):
        def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.call = call

        def forward(self, x: Tensor) -> Tensor:
            made = self.call(x).flatten(1)
            return torch.cat([made, 2 * made], 1)

    found, expected = (
        abslrp.explain(Net(call).eval(), x, 0, contrast=None) for call in (by_torch, left_out)
    )
    assert found.isfinite().all()
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def assigned(x: Tensor) -> Tensor:
    out = x.new_zeros(2, 4, 5)
    out[:, 1:, :4] = x[:, :3] * 2
    out[:, 0, 4] = x[:, 0, 0]
    return out


INDEX = torch.tensor([2, 0, 2])
STRUCTURAL: list[Any] = [
    lambda x: torch.cat([x, x.flip(1), tensor(draw(2, 1, 4))], 1),
    lambda x: torch.cat([x[:, :1], x], dim=-2),
    lambda x: torch.cat([torch.zeros(0, dtype=x.dtype), x.flip(1), x], 1),
    lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    lambda x: F.pad(x, (1, 1), mode="reflect"),
    lambda x: F.pad(x, (1, 1), mode="replicate"),
    lambda x: F.pad(x, (1, 1), mode="circular"),
    torch.nn.ZeroPad2d(1),
    lambda x: torch.roll(x, (1, -2), (1, 2)),
    lambda x: x[:, INDEX],
    lambda x: x[..., None, ::2],
    lambda x: x[:, [True, False, True]],
    lambda x: x.index_select(1, INDEX),
    lambda x: x.gather(1, torch.tensor([[[0, 1, 2, 0]], [[1, 1, 0, 2]]])),
    lambda x: x.flip(1, 2),
    lambda x: torch.stack(list(x.chunk(2, 2)), 1),
    lambda x: x.split([1, 2], 1)[1],
    lambda x: x.unbind(1)[1],
    lambda x: x.unsqueeze(2).expand(2, 3, 5, 4),
    lambda x: x.repeat(1, 2, 3),
    lambda x: x.repeat_interleave(2, 1),
    lambda x: torch.stack([x, x], 1),
    assigned,
    lambda x: x.permute(0, 2, 1).reshape(2, 2, 6),
    lambda x: x.mT.contiguous().view(2, 12),
    lambda x: x.narrow(1, 1, 2).swapaxes(1, 2),
    lambda x: F.pixel_shuffle(x.reshape(2, 4, 3, 1), 2),
    lambda x: F.unfold(x[:, None], 2),
    lambda x: x.masked_fill(tensor(draw(3, 4)) > 0, -1.0),
    lambda x: x[:, :1].masked_fill(tensor(draw(3, 4)) > 0, -1.0),
    lambda x: torch.where(tensor(draw(3, 4)) > 0, x, 1.0),
    lambda x: x.tril(),
    lambda x: torch.diagonal(x, 0, 1, 2),
    lambda x: x.amax(1),
    lambda x: x.max(1)[0],
    lambda x: x.max(dim=1).values,
    lambda x: torch.maximum(x, x.flip(1) - 5),
    lambda x: x.topk(2, 1)[0],
    lambda x: x.float().double(),
    lambda x: x.clone(),
    lambda x: torch.broadcast_to(x[:, :1], (2, 3, 4)),
    lambda x: x.scatter(1, torch.tensor([[[0, 1, 2, 0]]]).expand(2, 1, 4), 0.5),
    lambda x: x.unflatten(2, (2, 2)).movedim(3, 1),
    torch.nn.Identity(),
    lambda x: torch.hstack([x, x]),
    lambda x: x.transpose(0, 1).transpose(0, 1),
    lambda x: x.to(torch.float64),
    lambda x: x.type_as(x),
    lambda x: x.contiguous(memory_format=torch.preserve_format),
]


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize("call", STRUCTURAL, ids=range(len(STRUCTURAL)))
def test_relevance_follows_elements_as_a_gradient(call: Any) -> None:
    def naive(v: Any, R: Any) -> Any:
        x = tensor(v[0]).requires_grad_()
        scaled = call(x)
        # A gradient, without the factor 2 of `assigned`: scaling passes relevance unchanged.
        (gradient,) = torch.autograd.grad(scaled, x, tensor(R))
        if call is assigned:
            gradient[:, :3] -= torch.from_numpy(R[:, 1:, :4])
        return [gradient.numpy()]

    check(call, [draw(2, 3, 4)], naive, rectify=[False])


@pytest.mark.parametrize("row", [0, 2])
def test_rows_that_are_put_into_memory(row: int) -> None:
    """A row of each sample is another one, twice."""

    def naive(v: Any, R: Any) -> Any:
        given = R.copy()
        given[:, row] = 0
        given[:, 1] += R[:, row]
        return [given]

    offset = (4 * row,) if row else ()
    check(
        lambda x: torch.as_strided_scatter(x, x[:, 1], (2, 4), (12, 1), *offset),
        [draw(2, 3, 4)],
        naive,
        samples="whole",
    )


NEGATED: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda x: F.avg_pool1d(x, 2),
    "mean": lambda x: x.mean(1),
    "sum so far": lambda x: x.cumsum(2),
    "bicubic": lambda x: F.interpolate(x[:, None], (5, 3), mode="bicubic"),
    "sum at an index": lambda x: x.index_add(1, INDEX, x.flip(2)),
}


@pytest.mark.parametrize("name", NEGATED)
def test_the_negative_of_a_sum_is_the_sum_of_negatives(name: str) -> None:
    """Whichever of both is taken from a constant."""
    x, call = draw(2, 3, 4), NEGATED[name]

    class Taken(torch.nn.Module):
        def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.call = call

        def forward(self, x: Tensor) -> Tensor:
            return self.call(x).flatten(1)

    models = [Taken(lambda x: 0.5 - call(x)).eval(), Taken(lambda x: 0.5 + call(-x)).eval()]
    R = np.abs(draw(*models[0](tensor(x)).shape))
    got, wanted = (abslrp.relevance(model, x, R, conserve=None) for model in models)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9)
    assert np.abs(got).max() > 0


def test_places_that_are_made_of_the_input() -> None:
    """Eq. 12 with the bilinear weights at these places, which have no relevance."""
    image, places = tensor(draw(1, 1, 4, 4)), tensor(draw(1, 2, 2, 2)).tanh()

    class Sampled(torch.nn.Module):
        def forward(self, image: Tensor, places: Tensor) -> Tensor:
            return F.grid_sample(image, places, align_corners=False).flatten(1)

    weights = torch.autograd.functional.jacobian(lambda one: Sampled()(one, places), image)
    R = draw(1, 4)
    given = (image, places)
    found, of_places = abslrp.relevance(Sampled().eval(), given, R, conserve=None)
    wanted = rules.linear(image.flatten(1).numpy(), weights.reshape(4, 16).numpy(), None, R)
    np.testing.assert_allclose(found.flatten(1), wanted, rtol=1e-6, atol=1e-9)
    assert not of_places.any()
    assert found.any()


def test_means_over_boxes() -> None:
    """Eq. 12 with the bilinear weights, read off the Jacobian; a box has no relevance."""
    pool = pytest.importorskip("torchvision").ops.roi_align
    boxes = tensor([[0.0, 0.5, 0.5, 4.0, 5.0], [0.0, 1.0, 0.0, 5.0, 3.5]])

    class Regions(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return pool(x, boxes.to(x), (2, 2), sampling_ratio=2).flatten()[None]

    x = tensor(draw(1, 4, 6, 6))
    weights = torch.autograd.functional.jacobian(Regions(), x)[0]
    h = Regions()(x)[0]
    start = torch.rand(1, len(h), dtype=torch.double)
    share = (x * weights).clamp(min=0) * (start[0] / h.abs())[:, None, None, None, None]
    found = abslrp.relevance(Regions().eval(), x, start, conserve=None)
    assert h.abs().min() > 1e-3  # far from the epsilon
    torch.testing.assert_close(found, share.sum(0), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("constant", [torch.tensor(0.25), torch.full((3,), 0.25)])
@pytest.mark.parametrize("name", ["min", "max", "minimum", "maximum", "fmin", "fmax"])
def test_the_smaller_or_larger_of_a_value_and_a_constant(name: str, constant: Tensor) -> None:
    """To the winner; what the constant wins is lost."""

    class Bounded(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return getattr(torch, name)(x, constant.to(x))

    x, start = tensor([[0.5, -1.0, 2.0], [0.1, 0.3, 0.2]]), torch.ones(2, 3, dtype=torch.double)
    wins = x < 0.25 if "min" in name else x > 0.25
    found = abslrp.relevance(Bounded().eval(), x, start, conserve=None)
    assert torch.equal(found, wins.double())
