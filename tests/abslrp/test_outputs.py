"""``output=``: one logit as two classes, and probabilities in place of logits."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from abslrp.outputs import select_logits
from gae_metric import GAE

RULES = ["absLRP", "epsilon", "alpha1beta0", "cLRP"]
HEADS = {
    "linear": lambda: nn.Linear(48, 1),
    "without bias": lambda: nn.Linear(48, 1, bias=False),
}


def both(head: str) -> tuple[nn.Module, nn.Module, Tensor]:
    """A model of one logit, the same with the weights of both classes, and inputs."""
    torch.manual_seed(3)
    body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten())
    layer = HEADS[head]()
    wide = nn.Linear(48, 2, bias=layer.bias is not None)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([-layer.weight, layer.weight]))
        if layer.bias is not None:
            wide.bias.copy_(torch.cat([-layer.bias, layer.bias]))
    models = [nn.Sequential(body, one).double().eval() for one in (layer, wide)]
    return models[0], models[1], torch.randn(4, 3, 4, 4).double()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("contrast", ["own", None, "streams"])
def test_one_logit_is_explained_as_its_two_classes(head, rules, contrast):
    one, two, x = both(head)
    assert ((one(x) > 0).any(), (one(x) < 0).any()) == (True, True)
    for target in (0, 1):
        options = {"rules": rules, "contrast": contrast}
        expected = abslrp.explain(two, x, target, **options)
        found = abslrp.explain(one, x, target, output="binary", **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        # By LRP-epsilon, two opposite logits have one map.
        assert expected.abs().max() > 1e-3 or (rules, contrast) == ("epsilon", "streams")
        slow = abslrp.explain(one, x, target, output="binary", accelerate=False, **options)
        torch.testing.assert_close(slow, expected, rtol=0, atol=1e-9)


INTO_ONE = torch.zeros(4, dtype=torch.long)
SCALE = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.double)
POOLS = {
    "mean": lambda z: z.mean(2),
    "sum": lambda z: z.sum(2),
    "average pooling": lambda z: F.adaptive_avg_pool1d(z, 1)[..., 0],
    "interpolation": lambda z: F.interpolate(z, size=1, mode="linear")[..., 0],
    "bicubic": lambda z: F.interpolate(z[:, :, None], size=(1, 3), mode="bicubic").sum((2, 3)),
    "index_add": lambda z: z.new_zeros(*z.shape[:2], 1).index_add(2, INTO_ONE, z)[..., 0],
    "running sum": lambda z: z.cumsum(2)[..., -1],
    "layer norm": lambda z: F.layer_norm(z, (4,), SCALE).mean(2),
    "one factor": lambda z: (z * SCALE[1] / -SCALE[2]).mean(2) * SCALE[2].neg(),
    "factors": lambda z: (z * SCALE).mean(2),
}

POOLED = [(pool, "absLRP", accelerate) for pool in POOLS for accelerate in (True, False)]
POOLED += [(pool, rules, True) for pool in ("mean", "bicubic", "index_add") for rules in RULES[1:]]


@pytest.mark.filterwarnings("ignore:relevance")
@pytest.mark.parametrize(("pool", "rules", "accelerate"), POOLED)
def test_one_logit_that_is_pooled_is_explained_as_its_two_classes(pool, rules, accelerate):
    """As by a convolution of two units of opposite weights."""
    torch.manual_seed(3)
    one, two = nn.Conv1d(4, 1, 3, padding=1), nn.Conv1d(4, 2, 3, padding=1)
    for name in ("weight", "bias"):
        given = getattr(one, name).data
        getattr(two, name).data = torch.cat([-given, given])
    x = torch.randn(4, 4, 4).double()
    for contrast in ("streams", "signed", None):
        found, wanted = (
            abslrp.explain(
                nn.Sequential(layer, Pooled(POOLS[pool])).double().eval(), x, [0, 1, 1, 0],
                contrast=contrast, output=output, accelerate=accelerate, rules=rules,
            )
            for layer, output in ((one, "binary"), (two, None))
        )  # fmt: skip
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        assert wanted.abs().max() > 1e-3 or (rules, contrast) == ("epsilon", "streams")


class Pooled(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, z):
        return self.call(z)


@pytest.mark.parametrize("target", [0, 1])
def test_one_output_is_told(target):
    one, _, x = both("linear")
    with pytest.raises(
        ValueError, match=r'it has one output.*output="binary".*cat\(\[-z, z\], 1\)'
    ):
        abslrp.explain(one, x, target)
    if target == 0:  # the output itself, of a regression
        assert abslrp.explain(one, x, 0, contrast=None).shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logarithms_of_probabilities_are_centred_logits(dtype):
    logits = torch.tensor([[2.0, -1.0, 0.5], [30.0, -30.0, 0.0]], dtype=dtype, requires_grad=True)
    found = select_logits(logits.softmax(1), "log", 2)
    centred = logits - logits.mean(1, keepdim=True)
    torch.testing.assert_close(found, centred, rtol=1e-4, atol=1e-5)
    (ours,) = torch.autograd.grad(found[:, 0].sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(centred[:, 0].sum(), logits)
    # The probability of the second sample's class is 1: its logarithm alone has no gradient.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert select_logits(torch.tensor([[1.0, 0.0]], dtype=dtype), "log", 1).isfinite().all()
    found = select_logits(logits.log_softmax(1), "log_softmax", 2)
    torch.testing.assert_close(found, centred, rtol=1e-4, atol=1e-5)
    (ours,) = torch.autograd.grad(found[:, 0].sum(), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r'output: "log" is for probabilities, and .* negative'):
        select_logits(logits, "log", 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_logarithms_of_probabilities_that_are_0_are_centred_logits(dtype):
    logits = torch.tensor([[120.0, 0.0, -120.0]], dtype=dtype)
    assert logits.softmax(1)[0, 2] == 0
    found = select_logits(logits.log_softmax(1), "log_softmax", 1)
    assert found.equal(logits)


def test_relevance_passes_the_logarithm():
    _, two, x = both("linear")
    soft = nn.Sequential(two, nn.Softmax(1)).eval()
    for rules in ("absLRP", "epsilon"):
        expected = abslrp.explain(soft, x, 1, rules=rules)
        found = abslrp.explain(soft, x, 1, rules=rules, output="log")
        if rules == "absLRP":
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        assert found.isfinite().all()
    logarithms = nn.Sequential(two, nn.LogSoftmax(1)).eval()
    expected = abslrp.explain(logarithms, x, 1, contrast=None)
    found = abslrp.explain(logarithms, x, 1, output="log_softmax", contrast=None)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


class Returns(nn.Module):
    def __init__(self, net, form):
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x):
        return self.form(self.net(x))


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda z: {"scores": z, "other": None}, "scores"),
        (lambda z: {"log": z}, "log"),  # a key of that name comes first
        (lambda z: (None, z), 1),
        (lambda z: (z,), None),
        (lambda z: {"logits": z}, None),
        (lambda z: {"scores": z}, lambda result: result["scores"]),
    ],
)
def test_an_output_is_understood_alike_everywhere(form, output):
    _, two, x = both("linear")
    wrapped = Returns(two, form).eval()
    expected = abslrp.explain(two, x, [0, 1, 0, 1])
    assert abslrp.explain(wrapped, x, [0, 1, 0, 1], output=output).equal(expected)
    plain, other = GAE(steps=3, disable_warnings=True), GAE(steps=3, output=output)
    scores = plain(two, x, [0, 1, 0, 1], explain_func=abslrp.explain)
    assert other(wrapped, x, [0, 1, 0, 1], explain_func=abslrp.explain) == pytest.approx(scores)


def test_wrong_outputs_are_refused():
    _, two, x = both("linear")
    for output, message in (
        (3.5, "output: expected a function, a key, a position or None, got float"),
        ("missing", "output: the model returned a Tensor, which has no 'missing'"),
        ("binary", r'output: "binary" is for a model with one output, got shape \(4, 2\)'),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match=message):
                abslrp.explain(two, x, 0, output=output)


def test_classes_are_no_logits() -> None:
    class Chosen(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).argmax(1)

    with pytest.raises(ValueError, match=r"expected floating-point logits .* got torch.int64 \(2,"):
        abslrp.explain(Chosen(4, 3).eval(), torch.rand(2, 4), [0, 1])


def test_one_number_for_each_sample_is_one_output() -> None:
    class Squeezed(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze(-1)

    with pytest.raises(ValueError, match="it has one output"):
        abslrp.explain(Squeezed(4, 1).eval(), torch.rand(2, 4), [0, 1])
