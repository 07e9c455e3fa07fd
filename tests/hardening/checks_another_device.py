"""Checks on a pretended device; ``test_another_device.py`` runs them in a process of their own."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

import abslrp
import gae_metric
from abslrp.registry import RULE_SETS, RuleSet
from gae_metric import GAE, ProbeSet
from gae_metric.demo import digits, networks
from gae_metric.explainers.gradients import EXPLAINERS
from gae_metric.functional.precision import wide_dtype
from gae_metric.study import fingerprint
from tests.gae_metric.nets import conv_net, images
from tests.gae_metric.test_properties import IMAGE, KINDS, case, score
from tests.hardening import another_device
from tests.hardening.another_device import NAME, Away, Device, register, taken
from tests.hardening.device import Crossings
from tests.hardening.networks import NAMES, inputs, network
from tests.hardening.test_cuda import EXACT, METRICS, distance, returned


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    """Not on import, as a collection of doctests imports every file."""
    register()


@pytest.fixture(autouse=True)
def _device(_registered: None) -> Iterator[None]:
    gae_metric.clear_cache()
    with Device():
        yield


def same(function, model: nn.Module, x: Tensor, y: object, **options: object) -> Crossings:
    """Check that a function explains on both devices alike; returns what crossed.

    In float64, as MKL's last digit depends on where a tensor lies in memory.
    """
    model, x = copy.deepcopy(model).double(), x.double()
    wanted = function(model, x, y, **options)
    there, images = taken(model), x.to(NAME)
    with Crossings(NAME) as seen:
        found = function(there, images, y, **options)
    assert isinstance(found, Away)
    assert distance(found.held, wanted) <= EXACT
    return seen


def digits_of_two_classes() -> tuple[np.ndarray, np.ndarray]:
    """Four in float64, two of each class, without which Focus has no mosaic."""
    x, y = digits.load("test", n=20)
    chosen = np.argsort(y, kind="stable")[:4]
    assert len(set(y[chosen])) == 2
    return x[chosen].astype(np.float64), y[chosen]


def noise_of_two_classes() -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """A small network in float32, and four images in float64, which have scores of all metrics."""
    x = images(24, seed=2)[[0, 1, 3, 4]]
    return conv_net(dtype=torch.float32), x, np.array([1, 1, 2, 2])


def made(metric: str) -> GAE:
    """A metric that masks in few steps."""
    found = VARIANTS[metric]()
    if "steps" in vars(found):
        found.steps = 3
    return found


def test_a_tensor_of_the_host_is_refused():
    """The checks below can fail."""
    with pytest.raises(RuntimeError, match="of the host"):
        torch.ones(3).to(NAME) + torch.ones(3)
    with Crossings(NAME) as seen:
        torch.ones(3).to(NAME).sum().item()
    assert seen.copies == {("cpu", NAME): 1}
    assert seen.waits == {"_local_scalar_dense": 1}


def test_a_rule_that_asks_for_a_value_is_found():
    rules = RuleSet("asks", RULE_SETS["absLRP"])

    @rules.rule(torch.nn.functional.linear)
    def linear(operation, input, weight, bias=None):
        float(input.tensor.sum())
        return lambda relevance: (relevance @ weight,)

    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 5)).eval()
    assert same(abslrp.explain, model, inputs()[0], 1, rules=rules).waits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contrast": "signed"},
        {"conserve": "argument"},
        {"conserve": "argument", "contrast": "signed"},
        {"conserve": None, "contrast": None},
        {"targets": [[0, 1]] * 5},
        {"reduce": "channels"},
        *({"rules": rules} for rules in RULE_SETS if rules != "absLRP"),
        {"attention": "values"},
        {"attention": "queries_keys"},
        {"relevance_at": "patches"},
    ],
    ids=str,
)
def test_an_explanation_stays_there(name, options):
    if {"attention", "relevance_at"} & set(options) and name != "vit":
        pytest.skip("the network has no attention and no patches")
    x, y = inputs()
    options = dict(options)
    seen = same(abslrp.explain, network(name), x, options.pop("targets", y), **options)
    assert (NAME, "cpu") not in seen.copies, seen.copies
    assert seen.nbytes["cpu", NAME] <= 4096  # targets
    assert not seen.waits, seen.waits


SLOW = ("vgg11", "densenet121", "efficientnet_b0", "swin_t", "maxvit_t")


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v3_small", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_an_explanation_of_a_model_stays_there(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, num_classes=10).eval().requires_grad_(False)
        x = torch.randn(1, 3, *[96 if name == "mobilenet_v3_small" else 224] * 2)
    seen = same(abslrp.explain, model, x, [1])
    assert (NAME, "cpu") not in seen.copies, seen.copies
    assert not seen.waits, seen.waits


@pytest.mark.parametrize("method", EXPLAINERS)
def test_other_explainers_stay_there(method):
    (x, y), model = inputs(), network("vgg")
    same(EXPLAINERS[method], model, x, y)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        *(("GAE", name) for name in networks.NAMES),
        *((metric, "resnet") for metric in METRICS if metric != "GAE"),
    ],
)
def test_scores_are_the_cpus(metric, name):
    (x, y), model = (
        digits_of_two_classes(),
        networks.load(name).double(),
    )  # no score rests on rounding
    wanted = made(metric)(model, x, y, explain_func=abslrp.explain, device="cpu")
    assert np.isfinite(wanted).all()
    assert np.any(wanted)
    gae_metric.clear_cache()
    found = made(metric)(taken(model), x, y, explain_func=abslrp.explain, device=NAME)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    "kind",
    [
        *("series", "rows", "waveform", "volume"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if KINDS[kind][1] == IMAGE),
    ],
)
def test_scores_of_networks_of_every_kind_are_the_cpus(kind):
    """But recurrent ones, whose kernels the pretended device has not."""
    net, x, y = case(kind, 0)
    found = score(kind, taken(net), x, y, device=NAME, batch_size=5)
    np.testing.assert_allclose(found, score(kind, net, x, y), rtol=0, atol=EXACT)


def test_maps_of_a_metric_stay_there():
    """What comes back is a byte a feature of the trajectory, and numbers; no map does."""
    x, y = digits.load("test", n=8)
    model = taken(networks.load("resnet"))
    crossed = returned(model, x, y, abslrp.explain, NAME)
    features, steps = x[0].size, 10
    maps = 8 * (2 * steps) * features * 4
    assert crossed < 8 * features * 3 + 0.1 * maps, (crossed, maps)


def test_a_probe_set_is_the_cpus():
    x, y = digits.load("test", n=6)
    model = networks.load("vgg")
    cpu = ProbeSet.build(model, x, y, steps=4)
    gae_metric.clear_cache()
    there = ProbeSet.build(taken(model), x, y, steps=4)
    maps = np.concatenate([np.abs(inputs) for _, inputs, _ in cpu.explain_items()])
    np.testing.assert_allclose(
        there.score(maps, disable_warnings=True),
        cpu.score(maps, disable_warnings=True),
        rtol=0,
        atol=EXACT,
    )


@pytest.fixture
def without_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As Apple's mps."""
    run = another_device._run

    def refuse(func, args, kwargs):
        result = run(func, args, kwargs)
        for one in another_device.tree_leaves(result):
            if isinstance(one, Away) and one.dtype == torch.float64:
                raise TypeError("Cannot convert a tensor to float64, which the device has not")
        return result

    monkeypatch.setattr(another_device, "_run", refuse)
    wide_dtype.cache_clear()
    yield
    wide_dtype.cache_clear()


@pytest.fixture
def default_device() -> Iterator[None]:
    """As notebooks have it with "cuda"."""
    torch.set_default_device(NAME)
    yield
    torch.set_default_device(None)


VARIANTS = {
    **METRICS,
    "blur": lambda: gae_metric.GAE(mask_value="blur", disable_warnings=True),
    "array": lambda: gae_metric.GAE(mask_value=np.ones((3, 1, 1)), disable_warnings=True),
    "repository": lambda: gae_metric.GAE(protocol="repository", disable_warnings=True),
    "predicted": lambda: gae_metric.GAE(targets="predicted", disable_warnings=True),
}


@pytest.mark.parametrize("case", ["without_float64", "default_device"])
@pytest.mark.parametrize("metric", VARIANTS)
def test_scores_on_an_odd_device_are_the_cpus(metric, case, request):
    """Of float64 images and given maps, whose type the device may lack."""
    (model, x, y), function = noise_of_two_classes(), EXPLAINERS["InputXGradient"]
    maps = function(model, x, y)
    wanted = made(metric)(model, x, y, explain_func=function, device="cpu")
    assert np.isfinite(wanted).all()
    assert np.any(wanted)
    there = taken(model)
    request.getfixturevalue(case)
    for given in (None, maps):
        gae_metric.clear_cache()
        found = made(metric)(there, x, y, given, explain_func=function, device=NAME)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["without_float64", "default_device"])
def test_a_probe_set_on_an_odd_device(case, request):
    model, x, y = noise_of_two_classes()
    cpu = ProbeSet.build(model, x, y, steps=4)
    maps = np.abs(np.concatenate([inputs for _, inputs, _ in cpu.explain_items()]))
    wanted = cpu.score(maps, disable_warnings=True)
    there = taken(model)
    request.getfixturevalue(case)
    found = ProbeSet.build(there, x, y, steps=4).score(maps, disable_warnings=True)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_fingerprint_is_made_there_and_sees_what_changes(dtype):
    model = taken(nn.Sequential(nn.Linear(70, 90), nn.Linear(90, 3)).to(dtype))
    device = torch.device(NAME)

    def seen() -> str:
        return str(fingerprint.of_model(model, device))

    with Crossings(NAME) as crossed:
        before = seen()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    assert crossed.nbytes[NAME, "cpu"] < size / 2  # a 256th of whole rows, and what is left of them
    assert seen() == before
    for parameter in model.parameters():
        for change in (Tensor.neg_, lambda p: p.copy_(p.flip(0))):
            change(parameter.data)
            assert seen() != before
            change(parameter.data)
            assert seen() == before
