"""Products with weights, whichever library computes them, and however they lie in memory."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import abslrp
from abslrp.plan.linear_maps import Convolution, Rows


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


ROWS: dict[str, Callable[[], Tensor]] = {
    "plain": lambda: draw(7, 5),
    "of starts and samples": lambda: draw(2, 3, 4, 5),
    "permuted": lambda: draw(4, 3, 2, 5).permute(2, 1, 0, 3),
    "of a wider tensor": lambda: draw(7, 11)[:, 3:8],
    "repeated": lambda: draw(7, 1).expand(7, 5),
    "one": lambda: draw(1, 5),
    "none": lambda: draw(0, 5),
}
WEIGHTS: dict[str, Callable[[], Tensor]] = {
    "plain": lambda: draw(5, 3, seed=1),
    "transposed": lambda: draw(3, 5, seed=1).t(),
    "of wider weights": lambda: draw(5, 8, seed=1)[:, 2:5],
    "repeated": lambda: draw(5, 1, seed=1).expand(5, 3),
    "of one input": lambda: draw(5, 1, seed=1),
    "of none": lambda: draw(5, 0, seed=1),
}


@pytest.fixture(params=[True, False], ids=["oneDNN", "other"], autouse=True)
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compute with and without oneDNN."""
    with torch.backends.mkldnn.flags(enabled=request.param):
        yield


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_a_product_of_rows_is_that_of_float64(rows: str, weight: str) -> None:
    s, w = ROWS[rows](), WEIGHTS[weight]()
    expected = torch.einsum("...o,oi->...i", s.double(), w.double())
    got = Rows(w).transposed(s, w)
    assert got.shape == expected.shape
    # Five terms: each is rounded once, and so are four sums.
    bound = 9 * torch.finfo(torch.float32).eps * (s.abs().double() @ w.abs().double())
    assert ((got.double() - expected).abs() <= bound).all()


def test_what_is_no_number_stays_in_its_row() -> None:
    s = draw(4, 5)
    s[1, 2] = float("nan")
    got = Rows(WEIGHTS["plain"]()).transposed(s, WEIGHTS["plain"]())
    assert got.isnan().all(1).tolist() == [False, True, False, False]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(2), nn.Linear(20, 6), nn.ReLU(), nn.Flatten(1)),
    "linear over channels": lambda: nn.Sequential(
        nn.Flatten(2), Moved(nn.Linear(3, 4)), nn.ReLU(), nn.Flatten(1)
    ),
    "pointwise": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(1)),
    "pointwise, strided": lambda: nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.ReLU(), nn.Flatten(1)),
    "pointwise, strided one way": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1, (1, 3)), nn.ReLU(), nn.Flatten(1)
    ),
    "pointwise, one dimension": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 4, 1, 2), nn.ReLU(), nn.Flatten(1)
    ),
    "pointwise, three dimensions": lambda: nn.Sequential(
        nn.Unflatten(1, (3, 1)), nn.Conv3d(3, 4, 1, (1, 2, 1)), nn.ReLU(), nn.Flatten(1)
    ),
}


class Moved(nn.Module):
    """A layer over the channels of (B, C, T)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.transpose(1, 2)).transpose(1, 2)
        return out


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_of_one_layer_are_those_of_float64(name: str, signed: bool) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name]().eval()
    x = draw(3, 3, 4, 5) if signed else draw(3, 3, 4, 5).abs()
    count = net(x).shape[1]
    start = draw(3, count, seed=2).abs()
    got = abslrp.relevance(net, x, start, conserve=None)
    expected = abslrp.relevance(
        net.double(), x.double(), start.double(), conserve=None, accelerate=False
    )
    # At most 20 terms and a bias, which are larger than the logit where they cancel.
    positive = copy.deepcopy(net)
    for one in positive.parameters():
        one.data.abs_()
    logit, terms = net(x.double()), positive(x.double().abs())
    larger = (terms / logit)[logit > 0].amax()
    bound = 4 * 22 * larger * torch.finfo(torch.float32).eps * expected.abs().amax()
    assert expected.count_nonzero() > 0
    assert (got.double() - expected).abs().max() <= bound


CONVOLUTIONS: dict[str, tuple[type[nn.Conv2d | nn.ConvTranspose2d], dict[str, Any]]] = {
    "pointwise": (nn.Conv2d, {"kernel_size": 1}),
    "strided": (nn.Conv2d, {"kernel_size": 1, "stride": (2, 3)}),
    "padded": (nn.Conv2d, {"kernel_size": 1, "padding": 1}),
    "strided and padded": (nn.Conv2d, {"kernel_size": 1, "stride": 2, "padding": (1, 0)}),
    "of groups": (nn.Conv2d, {"kernel_size": 1, "groups": 2}),
    "strided, of groups": (nn.Conv2d, {"kernel_size": 1, "stride": 2, "groups": 2}),
    "transposed": (nn.ConvTranspose2d, {"kernel_size": 1, "stride": 2}),
    "transposed, of groups": (nn.ConvTranspose2d, {"kernel_size": 1, "groups": 2}),
    "wider": (nn.Conv2d, {"kernel_size": 3, "padding": 2, "dilation": 2, "stride": 2}),
    "wider one way": (nn.Conv2d, {"kernel_size": (1, 3), "stride": (2, 1)}),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_way_back_through_a_convolution_is_its_gradient(name: str, dtype: torch.dtype) -> None:
    kind, options = CONVOLUTIONS[name]
    layer = kind(4, 6, bias=False, **options)
    weight = layer.weight.data = draw(*layer.weight.shape, seed=1).to(dtype)
    backwards = isinstance(layer, nn.ConvTranspose2d)
    map = Convolution(
        weight, (3, 4, 5, 6), layer.stride, layer.padding, layer.dilation, backwards,
        layer.output_padding, layer.groups,
    )  # fmt: skip
    x = draw(3, 4, 5, 6, seed=2).double().requires_grad_()

    def back(weight: Tensor, s: Tensor) -> Tensor:
        layer.weight.data = weight.double()
        y = layer(x)
        return torch.stack([torch.autograd.grad(y, x, one, retain_graph=True)[0] for one in s])

    s = draw(2, *layer.to(torch.float64)(x).shape, seed=3).to(dtype)
    (got,) = map.each(s, [weight])
    assert map.pointwise is (name in ("pointwise", "strided"))
    # Up to 6 channels of up to 9 places: each is rounded once, and so are their sums.
    bound = 2 * 6 * 9 * torch.finfo(dtype).eps * back(weight.abs(), s.double().abs())
    assert ((got.double() - back(weight, s.double())).abs() <= bound).all()
