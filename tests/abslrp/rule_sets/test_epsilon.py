"""LRP-epsilon: by hand, against the naive reference, and what merging a batch norm means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import abslrp
from abslrp.rule_sets import alpha_beta, epsilon
from abslrp.rule_sets.proportional import inverse_of
from tests.abslrp.rule_sets import networks
from tests.naive.contributions import alpha_beta_share, conv, conv_transpose, epsilon_share, linear
from tests.naive.graph import Graph
from tests.naive.interpreter import forward, relevance
from tests.naive.torch_export import to_torch

SHARES = {
    "epsilon": epsilon_share(1e-6),
    "alpha1beta0": alpha_beta_share(1.0, 0.0, epsilon=1e-6),
    "alpha2beta1": alpha_beta_share(2.0, 1.0, epsilon=1e-6),
}


def _propagate(function, x, R, rules):
    leaf = torch.tensor(np.asarray(x, float), requires_grad=True)
    with abslrp.propagation(rules):
        output = function(leaf)
    return torch.autograd.grad(output, leaf, torch.tensor(np.asarray(R, float)))[0].numpy()


def test_by_hand():
    layer = nn.Linear(2, 1).double().eval()
    layer.weight.data = torch.tensor([[3.0, -1.0]]).double()
    layer.bias.data = torch.tensor([2.0]).double()
    # z = (6, -4), h = 6 - 4 + 2 = 4; the bias keeps 2 / 4.
    given = abslrp.explain(layer, np.array([[2.0, 4.0]]), 0, rules=epsilon.build(0.0))
    assert given.tolist() == [[1.5, -1.0]]
    # epsilon takes the sign of h: (6, -4) / 5 and, negated, (-6, 4) / -5.
    given = abslrp.explain(layer, np.array([[2.0, 4.0]]), 0, rules=epsilon.build(1.0))
    np.testing.assert_allclose(given, [[1.2, -0.8]], rtol=1e-15)
    layer.weight.data.neg_()
    layer.bias.data.neg_()
    given = abslrp.explain(layer, np.array([[2.0, 4.0]]), 0, rules=epsilon.build(1.0))
    np.testing.assert_allclose(given, [[1.2, -0.8]], rtol=1e-15)


def test_zero_over_zero_is_zero_without_epsilon():
    R = _propagate(
        lambda x: x @ torch.ones(2, 1).double(), [[1.0, -1.0]], [[1.0]], epsilon.build(0)
    )
    assert R.tolist() == [[0.0, 0.0]]
    # With it, sign(0) = 1.
    R = _propagate(
        lambda x: x @ torch.ones(2, 1).double(), [[1.0, -1.0]], [[1.0]], epsilon.build(0.5)
    )
    assert R.tolist() == [[2.0, -2.0]]


@pytest.mark.parametrize("rules", SHARES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 1}, {"groups": 2, "dilation": 2}], ids=str
)
def test_convolutions(rules, signed, options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 6, 5))
    x = x if signed else np.maximum(x, 0)
    weight = rng.standard_normal((6, 4 // options.get("groups", 1), 3, 2))
    bias = rng.standard_normal(6)
    w, b = torch.tensor(weight), torch.tensor(bias)

    def layer(v):
        return F.conv2d(v if signed else F.relu(v), w, b, **options)

    R = rng.standard_normal(layer(torch.tensor(x)).shape)
    expected = conv(x, weight, bias, R, **options, share=SHARES[rules])
    np.testing.assert_allclose(_propagate(layer, x, R, rules), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rules", SHARES)
def test_convolution_of_a_series(rules):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s) for s in ((2, 3, 6), (4, 3, 2), (4,)))
    w, b = torch.tensor(weight), torch.tensor(bias)
    R = rng.standard_normal((2, 4, 5))
    given = _propagate(lambda v: F.conv1d(v, w, b), x, R, rules)
    np.testing.assert_allclose(given, conv(x, weight, bias, R, share=SHARES[rules]), rtol=1e-9)


@pytest.mark.parametrize("rules", SHARES)
def test_transposed_convolution(rules):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s) for s in ((2, 3, 4, 3), (3, 2, 3, 3), (2,)))
    w, b = torch.tensor(weight), torch.tensor(bias)

    def layer(v):
        return F.conv_transpose2d(v, w, b, stride=2)

    R = rng.standard_normal(layer(torch.tensor(x)).shape)
    expected = conv_transpose(x, weight, bias, R, stride=2, share=SHARES[rules])
    np.testing.assert_allclose(_propagate(layer, x, R, rules), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rules", SHARES)
@pytest.mark.parametrize("spelling", ["linear", "matmul", "rmatmul", "addmm", "addmm by row"])
def test_spellings_of_a_linear_layer(rules, spelling):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s) for s in ((4, 5), (3, 5), (3,)))
    R = rng.standard_normal((4, 3))
    w, b = torch.tensor(weight), torch.tensor(bias)
    bias = None if "matmul" in spelling else bias
    layers = {
        "linear": lambda v: F.linear(v, w, b),
        "matmul": lambda v: v @ w.T,
        "rmatmul": lambda v: (w @ v.T).T,
        "addmm": lambda v: torch.addmm(b, v, w.T),
        "addmm by row": lambda v: torch.addmm(b.expand(len(v), -1), v, w.T),
    }
    expected = linear(x, weight, bias, R, SHARES[rules])
    given = _propagate(layers[spelling], x, R, rules)
    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rules", SHARES)
def test_a_network_against_the_naive_reference(rules):
    rng = np.random.default_rng(0)
    graph = Graph((2, 8, 8))
    graph.chain(
        0,
        ("conv", {"weight": rng.standard_normal((4, 2, 3, 3)), "bias": rng.standard_normal(4)}),
        ("relu", {}),
        ("max_pool", {"kernel": 2}),
        ("conv", {"weight": rng.standard_normal((3, 4, 2, 2)), "bias": rng.standard_normal(3)}),
        ("relu", {}),
        ("reshape", {"shape": (-1,)}),
        ("linear", {"weight": rng.standard_normal((3, 12)), "bias": rng.standard_normal(3)}),
    )
    x = rng.standard_normal((2, 2, 8, 8))
    target = np.array([2, 0])
    expected = relevance(graph, forward(graph, x), np.eye(3)[target], None, share=SHARES[rules])[0]
    given = abslrp.explain(to_torch(graph, inplace_relu=True), x, target, rules=rules)
    np.testing.assert_allclose(given, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rules", SHARES)
@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_is_one_layer_with_the_convolution_before_it(rules, affine):
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=affine), nn.BatchNorm2d(6, affine=affine), nn.Flatten()
    ).double()
    conv_, norm = model[0], model[1]
    generator = torch.Generator().manual_seed(0)
    norm.running_mean.copy_(torch.randn(6, generator=generator))
    if affine:
        norm.weight.data.copy_(torch.randn(6, generator=generator))
        norm.bias.data.copy_(torch.randn(6, generator=generator))
        assert (norm.weight < 0).any()
        assert (norm.weight > 0).any()
    model.eval()
    fused = nn.Sequential(
        torch.nn.utils.fuse_conv_bn_eval(conv_, norm) if affine else _fused(conv_, norm),
        nn.Flatten(),
    ).eval()
    x, y, _ = networks.images(6)
    a, b = (abslrp.explain(one, x, y, rules=rules) for one in (model, fused))
    assert networks.apart(a, b) < 1e-12


@pytest.mark.parametrize("rules", SHARES)
@pytest.mark.parametrize(
    "norm",
    [
        lambda h: F.layer_norm(h, [3], torch.tensor([1.0, -2.0, 3.0]).double()),
        lambda h: F.group_norm(h, 1),
        lambda h: F.batch_norm(h.relu(), torch.zeros(3).double(), torch.full((3,), 4.0).double()),
    ],
)
def test_any_other_norm_passes(rules, norm):
    rng = np.random.default_rng(0)
    x, weight, bias, R = (rng.standard_normal(s) for s in ((2, 5), (3, 5), (3,), (2, 3)))
    given = _propagate(
        lambda v: norm(F.linear(v, torch.tensor(weight), torch.tensor(bias))), x, R, rules
    )
    np.testing.assert_allclose(given, linear(x, weight, bias, R, SHARES[rules]), rtol=1e-9)


def _fused(convolution, norm):
    fused = nn.Conv2d(3, 6, 3).double()
    deviation = (norm.running_var + norm.eps).sqrt()
    fused.weight.data = convolution.weight.data / deviation[:, None, None, None]
    fused.bias.data = -norm.running_mean / deviation
    return fused


@pytest.mark.parametrize("rules", SHARES)
@pytest.mark.parametrize("first", ["norm", "other"])
def test_a_second_consumer_ends_the_merger(rules, first):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)

        def forward(self, x):
            h = self.linear(x)
            if first == "norm":
                return torch.cat([self.norm(h), h.relu()], 1)
            return torch.cat([h.relu(), self.norm(h)], 1).roll(3, 1)

    model = Twice().double().eval()
    model.norm.running_mean.copy_(torch.tensor([0.3, -0.2, 0.1]))
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
    R = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] * 2).double()
    given = abslrp.relevance(model, x, R, rules=rules)
    # The norm passes relevance, so both consumers' reach the linear map as they are.
    expected = linear(
        x.numpy(),
        model.linear.weight.detach().numpy(),
        model.linear.bias.detach().numpy(),
        (R[:, :3] + R[:, 3:]).numpy(),
        SHARES[rules],
    )
    np.testing.assert_allclose(given, expected, rtol=1e-9)


def test_sums_and_poolings_by_hand():
    x, s = [[3.0, -1.0]], [[2.0]]
    one = epsilon.build(0.0)
    cases = {
        "add": (lambda v: v[:, :1] + v[:, 1:], [[3.0, -1.0]]),
        # Of 3 - 4.
        "alpha": (lambda v: torch.add(v[:, :1], v[:, 1:], alpha=4), [[-6.0, 8.0]]),
        "constant": (lambda v: v.sum(1, keepdim=True) + 2.0, [[1.5, -0.5]]),
        "sub": (lambda v: v[:, :1] - v[:, 1:], [[1.5, 0.5]]),
        "rsub": (lambda v: torch.rsub(v[:, 1:], v[:, :1]), [[1.5, 0.5]]),
        "mean": (lambda v: v.mean(1, keepdim=True), [[3.0, -1.0]]),
        "gate": (lambda v: v[:, :1] * v[:, 1:], [[1.0, 1.0]]),
        "scale": (lambda v: v[:, :1] * 7.0, [[2.0, 0.0]]),
        # Four copies of each, that take half of a relevance of 2 each: a share of z / z.
        "interpolate": (
            lambda v: F.interpolate(v[:, None], scale_factor=4)[:, 0].sum(1, keepdim=True),
            [[3.0, -1.0]],
        ),
        "product": (lambda v: (v[:, None, :1] @ v[:, 1:, None])[:, 0], [[1.0, 1.0]]),
        # Of 3 * 3 + 1 * 1, and the operands are one tensor.
        "square": (lambda v: v @ v.mT, [[1.8, 0.2]]),
    }
    for name, (function, expected) in cases.items():
        np.testing.assert_allclose(_propagate(function, x, s, one), expected, err_msg=name)


@pytest.mark.parametrize("rules", SHARES)
@pytest.mark.parametrize(
    "call",
    [
        lambda v: v + -0.5,
        lambda v: v - 2 * v.flip(1),
        lambda v: torch.add(v, v.flip(1), alpha=-0.5),
    ],
)
def test_what_a_sum_may_make_negative_is_split_by_sign(rules, call):
    rng = np.random.default_rng(0)
    x, weight, R = (rng.random((2, 5)), rng.standard_normal((3, 5)), rng.standard_normal((2, 3)))
    leaf = torch.tensor(x)
    with abslrp.propagation(rules, inputs=[leaf]) as context:
        h = call(leaf.relu())
        output = F.linear(h, torch.tensor(weight))
    (given,) = context.relevance(output, torch.tensor(R), [h])
    assert (h < 0).any()
    expected = linear(h.detach().numpy(), weight, None, R, SHARES[rules])
    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rules", ["epsilon", "absLRP"])
def test_a_sum_in_place_over_its_own_entries(rules):
    x, R = [[3.0, -1.0]], [[2.0, 1.0]]
    given = _propagate(lambda v: v.clone().cumsum_(1), x, R, rules)
    np.testing.assert_array_equal(given, _propagate(lambda v: v.cumsum(1), x, R, rules))


@pytest.mark.parametrize("rules", ["epsilon", "absLRP"])
@pytest.mark.parametrize(
    ("product", "shapes"),
    [
        (lambda v: (v @ v[0])[:, None], r"\(1, 2\) and \(2,\)"),
        (lambda v: (v[0] @ v.mT)[:, None], r"\(2,\) and \(2, 1\)"),
    ],
)
def test_a_product_of_activations_with_a_vector_is_refused(rules, product, shapes):
    with pytest.raises(abslrp.UnknownOperationError, match=f"two axes each, got shapes {shapes}"):
        _propagate(product, [[3.0, -1.0]], [[2.0]], rules)


def test_addition_in_place():
    def inplace(v):
        out = v[:, :1] * 1.0
        out += v[:, 1:]
        return out

    given = _propagate(inplace, [[3.0, -1.0]], [[2.0]], epsilon.build(0.0))
    np.testing.assert_allclose(given, [[3.0, -1.0]])


def test_softmax_is_its_first_order_expansion():
    rng = np.random.default_rng(0)
    x, R = rng.standard_normal((2, 4)), rng.standard_normal((2, 4))
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    expected = x * (R - p * R.sum(1, keepdims=True))
    for softmax in (
        lambda v: torch.softmax(v, dim=-1),
        lambda v: torch.softmax(v, -1, torch.float64),
    ):
        np.testing.assert_allclose(_propagate(softmax, x, R, "epsilon"), expected, rtol=1e-12)
    masked = _propagate(
        lambda v: torch.softmax(v.masked_fill(torch.tensor([1, 0, 0, 0]).bool(), -torch.inf), -1),
        x,
        R,
        "epsilon",
    )
    assert np.isfinite(masked).all()
    assert (masked[:, 0] == 0).all()
    masked = _propagate(lambda v: v.softmax(1), [[-np.inf, 1.0, 2.0]], [[1.0, 2.0, 4.0]], "epsilon")
    assert masked[0, 0] == 0


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize(
    ("shape", "axis"), [((4,), 0), ((2, 4), 1), ((2, 4, 3), 0), ((2, 1, 3, 2), 1)]
)
def test_softmax_along_an_axis_of_torch_s_choice(shape, axis):
    x, R = np.random.default_rng(0).standard_normal((2, *shape))
    maps = [
        _propagate(lambda v, axis=axis: F.softmax(v, axis), x, R, "epsilon")
        for axis in (axis, None)
    ]
    np.testing.assert_array_equal(*maps)


def test_log_softmax_by_hand():
    x = np.array([[3.0, -1.0]])
    h = x - np.log(np.exp(x).sum())
    given = _propagate(lambda v: v.log_softmax(1), x, [[1.0, 2.0]], epsilon.build(0.0))
    np.testing.assert_allclose(given, x / h * [[1.0, 2.0]])


def test_the_inverse_ends_where_half_precision_does():
    given = inverse_of(1e-6)(torch.tensor([0.0, -6e-8, 2.0], dtype=torch.float16))
    assert given.dtype == torch.float16
    assert given.tolist() == [65504.0, -65504.0, 0.5]


def test_bad_parameters():
    with pytest.raises(ValueError, match="epsilon: expected a number >= 0, got -1"):
        epsilon.build(-1)
    with pytest.raises(ValueError, match="epsilon: expected a number >= 0"):
        alpha_beta.build(2, 1, epsilon=-1)
    with pytest.raises(ValueError, match="alpha - beta = 1, got 2 and 0"):
        alpha_beta.build(2, 0)
    with pytest.raises(ValueError, match="beta >= 0"):
        alpha_beta.build(0.5, -0.5)


def test_alpha_beta_by_hand():
    layer = nn.Linear(3, 1).double().eval()
    layer.weight.data = torch.tensor([[1.0, -2.0, 1.0]]).double()
    layer.bias.data = torch.tensor([2.0]).double()
    x = np.array([[4.0, 1.0, 2.0]])
    # z = (4, -2, 2), bias 2: positive sum 8, negative sum -2.
    given = abslrp.explain(layer, x, 0, rules=alpha_beta.build(1, 0, epsilon=0.0))
    assert given.tolist() == [[0.5, 0.0, 0.25]]
    given = abslrp.explain(layer, x, 0, rules=alpha_beta.build(2, 1, epsilon=0.0))
    assert given.tolist() == [[1.0, -1.0, 0.5]]
    # Which are the defaults.
    given = abslrp.explain(layer, x, 0, rules=alpha_beta.build(epsilon=0.0))
    assert given.tolist() == [[1.0, -1.0, 0.5]]
