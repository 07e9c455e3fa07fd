"""Half precision: autocast and models in half, finite and near float32."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import abslrp
from abslrp.plan.entrywise import multiplied
from abslrp.plan.factors import above, constant
from abslrp.registry import RULE_SETS
from abslrp.tape import Value
from tests.hardening.networks import DEEP, deep

pytestmark = pytest.mark.filterwarnings("ignore:.*autocast.*:UserWarning")


def build(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model: nn.Module
    if name == "vgg":
        # Torchvision's, whose own head takes longer to draw than all the rest.
        sizes = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
        features = torchvision.models.vgg.make_layers(sizes)
        for module in features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        head = nn.Linear(25088, 10)
        model = nn.Sequential(features, nn.AdaptiveAvgPool2d(7), nn.Flatten(), head)
    elif name == "swin":
        depths, heads = [2, 2, 4, 2], [3, 6, 12, 24]
        model = torchvision.models.SwinTransformer([4, 4], 48, depths, heads, [7, 7])
    elif name == "vit":
        model = torchvision.models.VisionTransformer(32, 8, 4, 4, 32, 64, num_classes=10)
        nn.init.normal_(model.heads.head.weight)
    else:
        model = torchvision.models.resnet50(weights=None)
        for module in model.modules():  # keeps the logits of random weights in float16's range
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                nn.init.constant_(module.bn3.weight, 0.2)
    size = 32 if name != "swin" else 64
    return model.eval().requires_grad_(False), torch.rand(2, 3, size, size)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(1).double(), b.flatten(1).double()).min())


@pytest.mark.parametrize("name", ["vgg", "resnet", "swin", "vit"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_near_float32(name: str, dtype: torch.dtype) -> None:
    model, x = build(name)
    whole = abslrp.explain(model, x, [1, 2], contrast=None)
    with torch.autocast("cpu", dtype=dtype):
        half = abslrp.explain(model, x, [1, 2], contrast=None)
    assert torch.isfinite(half).all()
    assert half.dtype == torch.float32
    assert cosine(half, whole) > (0.999 if dtype == torch.float16 else 0.99)
    torch.testing.assert_close(half.sum((1, 2, 3)), whole.sum((1, 2, 3)), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision(dtype: torch.dtype) -> None:
    model, x = build("vit")
    whole = abslrp.explain(model, x, [1, 2], contrast=None)
    half = abslrp.explain(model.to(dtype), x.to(dtype), [1, 2], contrast=None)
    assert half.dtype == dtype
    assert cosine(half, whole) > 0.98


@pytest.mark.parametrize("rules", ["epsilon", "alpha1beta0", "alpha2beta1", "RAP"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_rule_set_runs_under_autocast(rules: str, dtype: torch.dtype) -> None:
    model, x = build("vgg")
    with torch.autocast("cpu", dtype=dtype):
        assert torch.isfinite(abslrp.explain(model, x, [1, 2], rules=rules)).all()


@pytest.mark.parametrize("how", ["model", "autocast", "float32"])
@pytest.mark.parametrize("rules", sorted(RULE_SETS))
def test_rule_sets_whose_sums_cancel_warn_in_16_bits(rules: str, how: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    x = torch.rand(2, 4)
    if how == "model":
        model, x = model.bfloat16(), x.bfloat16()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            abslrp.explain(model, x, [0, 1], rules=rules)
    told = [one for one in caught if "bfloat16 rounds" in str(one.message)]
    assert len(told) == (how != "float32" and rules != "absLRP")


@pytest.mark.parametrize("conserve", ["argument", None])
def test_the_other_kinds_of_conservation(conserve: Any) -> None:
    model, x = build("vit")
    whole = abslrp.explain(model, x, [1, 2], contrast=None, conserve=conserve)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = abslrp.explain(model, x, [1, 2], contrast=None, conserve=conserve)
    assert cosine(half, whole) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_deep_networks_stay_finite(name: str, dtype: torch.dtype) -> None:
    model, x = deep(name)
    whole = abslrp.explain(model, x, 1, contrast=None)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        assert torch.isfinite(model(x)).all()
        maps = abslrp.explain(model, x, 1)
        stream = abslrp.explain(model, x, 1, contrast=None)
    assert torch.isfinite(maps).all()
    assert cosine(stream, whole) > 0.99
    torch.testing.assert_close(stream.sum((1, 2, 3)), torch.ones(1), rtol=0, atol=0.05)


class Repeated(nn.Module):
    """A sum of two inputs, 2^16 times."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True).expand(-1, 2**16)


@pytest.mark.parametrize("conserve", ["operation", None])
def test_relevance_on_its_way_leaves_the_range_of_float16(conserve: Any) -> None:
    """The sum receives 2^16, which float16 has not; each input receives half of it."""
    start = torch.ones(1, 2**16, dtype=torch.float16)
    x = torch.ones(1, 2, dtype=torch.float16)
    found = abslrp.relevance(Repeated().eval(), x, start, conserve=conserve)
    assert found.dtype == torch.float16
    assert found.tolist() == [[2**15, 2**15]]


class Scaled(nn.Module):
    """A layer whose outputs are a number times another's, to which factors cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        return self.outer(self.inner(x) * 0.1)


@pytest.mark.parametrize("kind", ["type", "device"])
def test_torchs_default_type_and_device_change_nothing(kind: str) -> None:
    torch.manual_seed(0)
    model, x, start = Scaled().eval(), torch.randn(3, 6), torch.eye(3)
    expected = abslrp.relevance(model, x, start, conserve=None)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16 if kind == "type" else default)
        with torch.device("meta" if kind == "device" else "cpu"):
            found = abslrp.relevance(model, x, start, conserve=None)
    finally:
        torch.set_default_dtype(default)
    assert expected.any()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_numbers_and_masks_meet_on_any_device() -> None:
    relevance = torch.ones(2, 4, 3, device="meta")
    masked = above(Value(torch.empty(4, 3, device="meta"), None))
    for number in (0.5, torch.tensor(0.5)):  # which lies on the CPU
        found = multiplied(relevance, [constant(number), masked], owned=False)
        assert found.shape == relevance.shape
        assert found.is_meta


class SeveralTypes(nn.Module):
    """Its first weights are of another type than the layers that take the input."""

    def __init__(self, first: torch.dtype, kind: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale = nn.Parameter(torch.ones(5, dtype=first))
        self.layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).to(kind)
        self.seen: list[tuple[torch.dtype, int]] = []

    def forward(self, x: Tensor) -> Any:
        self.seen.append((x.dtype, len(x)))
        return self.layers[2](self.layers[:2](x) * self.scale.to(self.layers[0].weight.dtype))


TYPES = torch.float32, torch.float64, torch.bfloat16


@pytest.mark.parametrize("first", TYPES)
@pytest.mark.parametrize("kind", TYPES)
def test_an_input_is_of_a_type_that_the_model_takes(first: torch.dtype, kind: torch.dtype) -> None:
    model = SeveralTypes(first, kind).eval()
    x = torch.randn(2, 6, dtype=kind)
    found = abslrp.explain(model, x, [0, 1])
    assert found.dtype == kind
    assert model.seen.pop() == (kind, 2)
    torch.testing.assert_close(found, abslrp.explain(model.layers, x, [0, 1]))
    for other in {*TYPES} - {first}:  # of the first type it is taken at its word
        abslrp.explain(model, x.to(other), [0, 1])
        assert model.seen.pop() == (kind, 2)


def test_no_model_is_asked_of_inputs_of_its_own_type() -> None:
    model = SeveralTypes(torch.float32, torch.float32).eval()
    for kind in (torch.float32, torch.bfloat16, torch.float16):  # which float32 holds
        x = torch.randn(2, 6).to(kind)
        abslrp.relevance(model, x, torch.ones(2, 3), conserve=None)
        assert model.seen == [(torch.float32, 2)]
        model.seen.clear()


class AtATime(nn.Module):
    """What it takes besides is more exact than its weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor, time: Tensor) -> Any:
        wave = (time[:, None] * torch.arange(1, 6)).sin().to(x.dtype)
        return self.head(torch.relu(self.layer(x) + wave))


@pytest.mark.parametrize("given", [torch.bfloat16, torch.float32])
def test_other_arguments_are_not_rounded_to_the_weights_type(given: torch.dtype) -> None:
    """999 is 1000 in bfloat16, and 2049.5 is 2048."""
    model, x = AtATime().to(torch.bfloat16).eval(), torch.randn(2, 6).to(torch.bfloat16)
    time = torch.tensor([999.0, 2049.5])
    logits: list[Tensor] = []
    handle = model.register_forward_hook(lambda module, args, result: logits.append(result))
    abslrp.explain(model, x.to(given), [0, 1], model_kwargs={"time": time})
    handle.remove()
    torch.testing.assert_close(logits[-1], model(x, time), rtol=0, atol=0)
    assert not torch.allclose(logits[-1], model(x, time.to(x.dtype).float()), rtol=1e-2)


class OfBuffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.linspace(-1, 1, 18).view(6, 3))

    def forward(self, x: Tensor) -> Any:
        return x @ self.weight


def test_a_model_without_parameters() -> None:
    x = torch.randn(2, 6)
    found = abslrp.explain(OfBuffers().eval(), x.double(), [0, 1])
    torch.testing.assert_close(found.float(), abslrp.explain(OfBuffers().eval(), x, [0, 1]))


@pytest.mark.parametrize(("kind", "scale"), [(torch.float16, 2.0**-10), (torch.float32, 2.0**-66)])
def test_streams_of_which_little_arrives(kind: torch.dtype, scale: float) -> None:
    """Without totals relevance may be so small that 1 / sum is more than the type holds."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0, 1.0], [1.0, 1.0]]) * scale)
        model[1].weight.copy_(torch.eye(2) * scale)
        model[1].bias.fill_(1.0)
    x = torch.tensor([[1.0, 1.0]], dtype=kind)
    found = abslrp.explain(model.to(kind), x, [0], conserve=None)
    # Each class is of one hidden value, which are 2 + 1 and 1 + 1.
    expected = torch.tensor([[2 / 3 - 1 / 2, 1 / 3 - 1 / 2]], dtype=kind)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
