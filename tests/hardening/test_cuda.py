"""On a CUDA device: the CPU's results, autocast within bounds, memory that runs out, few crossings.

Run by ``python -m pytest tests -m cuda``; where there is no such device, all of it skips.

In float64 both devices agree to 1e-6. In float32 they agree to 1e-4, except where float32 itself
does not say more: a map divides by pre-activations, some of which are rounding errors, and a mask
follows a ranking. How little it says is seen on the CPU alone, by its distance from float64.
"""

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
from gae_metric import GAE, Contrastiveness, LocalConsistency, ProbeSet, tensor_explainer
from gae_metric.companions import ROAD, Focus
from gae_metric.demo import digits, networks
from gae_metric.explainers.gradients import EXPLAINERS
from gae_metric.study.fingerprint import of_model
from tests.gae_metric.test_properties import KINDS, case, score
from tests.hardening.device import Crossings
from tests.hardening.networks import DEEP, NAMES, deep, inputs, network
from tests.hardening.state import Unchanged

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

#: Largest difference to the CPU, of maps relative to their largest value, and of scores.
TOLERANCE = 1e-4
EXACT = 1e-6
#: Times the CPU's own rounding error, where that is larger.
ROUNDING = 4


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """No TensorFloat-32, whose ten digits are not float32's, and nothing cached."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    gae_metric.clear_cache()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def distance(found: Tensor, wanted: Tensor) -> float:
    """Largest difference of maps, relative to the largest value of each; a map may be zero."""
    found, wanted = found.cpu().double(), wanted.cpu().double()
    scale = wanted.abs().amax(tuple(range(1, wanted.ndim)), keepdim=True)
    return float(((found - wanted).abs() / scale.clamp(min=torch.finfo().tiny)).max())


def same(function, model: nn.Module, x: Tensor, y: object, **options: object) -> Tensor:
    """Check that a function explains on both devices alike; returns the GPU's maps."""
    double = copy.deepcopy(model).double()
    exact = function(double, x.double(), y, **options)
    single = function(model, x, y, **options)
    on_device = y.cuda() if isinstance(y, Tensor) else y
    found = function(double.cuda(), x.double().cuda(), on_device, **options)
    assert distance(found, exact) <= EXACT
    found = function(copy.deepcopy(model).cuda(), x.cuda(), on_device, **options)
    assert found.is_cuda
    assert distance(found, single) <= max(TOLERANCE, ROUNDING * distance(single, exact))
    return found


def large(name: str) -> nn.Module:
    """A model of the paper's kinds at full size, with random weights that are not all alike."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=10)
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # the ViT's head starts at zero
                nn.init.normal_(parameter, std=0.02)
    return model.eval().requires_grad_(False)


def photographs(n: int) -> Tensor:
    return torch.randn(n, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contrast": "signed"},
        {"conserve": "argument"},
        {"conserve": None, "contrast": None},
        *({"rules": rules} for rules in ("epsilon", "alpha1beta0", "alpha2beta1", "cLRP", "RAP")),
        {"attention": "values"},
        {"attention": "queries_keys"},
    ],
    ids=str,
)
def test_explanations_are_the_cpus(name, options):
    if "attention" in options and name != "vit":
        pytest.skip("the network has no attention")
    (x, y), model = inputs(), network(name)
    same(abslrp.explain, model, x, y, **options)


@pytest.mark.parametrize("name", networks.NAMES)
def test_explanations_of_trained_networks_are_the_cpus(name):
    x, y = (torch.as_tensor(value) for value in digits.load("test", n=16))
    same(abslrp.explain, networks.load(name), x, y)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "resnet50", "vit_b_16"])
def test_explanations_of_full_size_are_the_cpus(name):
    same(abslrp.explain, large(name), photographs(2), [1, 2])


@pytest.mark.parametrize("method", EXPLAINERS)
def test_other_explainers_are_the_cpus(method):
    (x, y), model = inputs(), network("vgg")
    same(EXPLAINERS[method], model, x, y)


METRICS = {
    "GAE": lambda: GAE(disable_warnings=True),
    "GAE, uniform": lambda: GAE(schedule="uniform", n_mosaics=2, disable_warnings=True),
    "LocalConsistency": lambda: LocalConsistency(mask_value="mean", disable_warnings=True),
    "Contrastiveness": lambda: Contrastiveness(interpolation="bilinear", disable_warnings=True),
    "ROAD": lambda: ROAD(percentages=[20, 60], disable_warnings=True),
    "Focus": lambda: Focus(disable_warnings=True),
}


@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_the_cpus(name, metric):
    x, y = digits.load("test", n=8)

    def scores(device: str, dtype: torch.dtype) -> np.ndarray:
        gae_metric.clear_cache()
        model = copy.deepcopy(networks.load(name)).to(device, dtype)
        images = torch.as_tensor(x).to(dtype).numpy()
        found = METRICS[metric]()(model, images, y, explain_func=abslrp.explain, device=device)
        assert next(model.parameters()).device.type == device
        return np.asarray(found)

    exact, single = scores("cpu", torch.float64), scores("cpu", torch.float32)
    np.testing.assert_allclose(scores("cuda", torch.float64), exact, rtol=0, atol=EXACT)
    bound = max(TOLERANCE, ROUNDING * np.abs(single - exact).max())
    np.testing.assert_allclose(scores("cuda", torch.float32), single, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_networks_of_every_kind_are_the_cpus(kind):
    net, x, y = case(kind, 0)
    found = score(kind, copy.deepcopy(net).cuda(), x, y, batch_size=5)
    np.testing.assert_allclose(found, score(kind, net, x, y), rtol=0, atol=EXACT)


def test_scores_do_not_depend_on_the_batch_size():
    x, y = digits.load("test", n=8)
    model = networks.load("resnet").cuda()
    scores = []
    for batch_size in (1, 3, 64):
        gae_metric.clear_cache()
        metric = GAE(disable_warnings=True)
        scores.append(metric(model, x, y, explain_func=abslrp.explain, batch_size=batch_size))
    np.testing.assert_allclose(scores[1], scores[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(scores[2], scores[0], rtol=0, atol=TOLERANCE)


def test_a_probe_set_is_the_cpus():
    x, y = digits.load("test", n=6)
    x = x.astype(np.float64)
    model = copy.deepcopy(networks.load("vgg")).double()
    cpu = ProbeSet.build(model, x, y, steps=4)
    gae_metric.clear_cache()
    cuda = ProbeSet.build(copy.deepcopy(model).cuda(), x, y, steps=4)
    maps = np.concatenate([np.abs(inputs) for _, inputs, _ in cpu.explain_items()])
    np.testing.assert_allclose(
        cuda.score(maps, disable_warnings=True),
        cpu.score(maps, disable_warnings=True),
        rtol=0,
        atol=TOLERANCE,
    )


# Half precision. Bounds of docs/abslrp.md: cosine of maps, and difference of GAE.


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.flatten(1).double().cpu(), b.flatten(1).double().cpu()
    return float(torch.cosine_similarity(a, b).min())


@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize(
    ("dtype", "near", "close"), [(torch.float16, 0.999, 0.02), (torch.bfloat16, 0.98, 0.1)]
)
def test_autocast(name, dtype, near, close):
    x, y = digits.load("test", n=8)
    model, images = networks.load(name).cuda(), torch.as_tensor(x).cuda()
    whole = abslrp.explain(model, images, y, contrast=None)
    scores = GAE(disable_warnings=True)(model, x, y, explain_func=abslrp.explain)
    gae_metric.clear_cache()
    with torch.autocast("cuda", dtype=dtype):
        half = abslrp.explain(model, images, y, contrast=None)
        under = GAE(disable_warnings=True)(model, x, y, explain_func=abslrp.explain)
    assert half.dtype == torch.float32
    assert torch.isfinite(half).all()
    assert cosine(half, whole) > near
    assert abs(np.mean(under) - np.mean(scores)) < close


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision(dtype):
    (x, y), model = inputs(), network("vit").cuda()
    whole = abslrp.explain(model, x.cuda(), y, contrast=None)
    half = abslrp.explain(model.to(dtype), x.cuda().to(dtype), y, contrast=None)
    assert half.dtype == dtype
    assert cosine(half, whole) > 0.98


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_deep_networks_stay_finite(name, dtype):
    model, x = (one.cuda() for one in deep(name, 2))
    whole = abslrp.explain(model, x, 1, contrast=None)
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        assert torch.isfinite(model(x)).all()
        maps = abslrp.explain(model, x, 1)
        stream = abslrp.explain(model, x, 1, contrast=None)
    assert torch.isfinite(maps).all()
    assert cosine(stream, whole) > 0.98


# Memory.


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process have little more of the device's memory than it has."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + (1 << 30)) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("where", ["explaining", "masking"])
def test_memory_that_runs_out_halves_the_chunk(where, little_memory):
    """A real allocation that fails: the score is that of small chunks, and a warning says so."""
    x, y = digits.load("test", n=8)
    model = networks.load("vgg").cuda()

    class Greedy(nn.Module):
        """A model that needs 300 MB for each input while it masks."""

        def __init__(self) -> None:
            super().__init__()
            self.net = model
            self.greedy = True

        def forward(self, inputs: Tensor) -> Tensor:
            held = torch.empty(len(inputs) * 300_000_000 if self.greedy else 1, dtype=torch.uint8,
                               device=inputs.device)  # fmt: skip
            logits: Tensor = self.net(inputs)
            del held
            return logits

    @tensor_explainer
    def greedy(model: nn.Module, inputs: Tensor, targets: Tensor, **kwargs: object) -> Tensor:
        held = torch.empty(len(inputs) * 300_000_000, dtype=torch.uint8, device=inputs.device)
        maps: Tensor = abslrp.explain(model, inputs, targets)
        del held
        return maps

    explains = where == "explaining"
    used = model if explains else Greedy().eval()
    function = greedy if explains else abslrp.explain
    if not explains:
        used.greedy = True
    wanted = GAE(steps=4, disable_warnings=True)(
        model, x, y, explain_func=abslrp.explain, batch_size=1
    )
    gae_metric.clear_cache()
    what = "explain_func" if explains else "masking"
    with pytest.warns(RuntimeWarning, match=f"out of memory: {what} goes on with"):
        found = GAE(steps=4)(
            used, x, y, explain_func=function, batch_size=8,
            **({} if explains else {"explain_func_kwargs": {"batch_size": 1}}),
        )  # fmt: skip
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


def test_nothing_stays_on_the_device():
    (x, y), model = inputs(), network("resnet").cuda()
    x = x.cuda()
    abslrp.explain(model, x, y)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        abslrp.explain(model, x, y)
    with pytest.raises(ZeroDivisionError):
        abslrp.explain(model, x, y, output=lambda logits: 1 / 0)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


def test_the_state_of_torch_is_left_alone():
    (x, y), model = inputs(), network("vit").cuda()
    state = torch.cuda.get_rng_state()
    with Unchanged(model):
        abslrp.explain(model, x.cuda(), y)
    assert torch.equal(torch.cuda.get_rng_state(), state)


# Crossings.


@pytest.mark.parametrize("name", NAMES)
def test_an_explanation_stays_on_the_device(name):
    """Targets cross, as they are given on the host; nothing comes back and nothing is awaited."""
    (x, y), model = inputs(), network(name).cuda()
    x = x.cuda()
    abslrp.explain(model, x, y)
    with Crossings() as seen:
        abslrp.explain(model, x, y)
    assert ("cuda", "cpu") not in seen.copies, seen.copies
    assert seen.nbytes[("cpu", "cuda")] <= 4096
    # The check of the targets, which are the host's own.
    assert sum(seen.waits.values()) <= 1, seen.waits


def test_an_explanation_never_waits_for_the_device():
    """By torch's own account: a synchronisation is an error."""
    (x, y), model = inputs(), network("vit").cuda()
    x = x.cuda()
    abslrp.explain(model, x, y)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        abslrp.explain(model, x, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_maps_of_a_metric_stay_on_the_device():
    """What comes back is a byte a feature of the trajectory, and numbers; no map does."""
    x, y = digits.load("test", n=8)
    model = networks.load("resnet").cuda()
    crossed = {}
    for explain in ("tensors", "arrays"):
        function = abslrp.explain if explain == "tensors" else _through_arrays
        crossed[explain] = returned(model, x, y, function, "cuda")
    features, steps = x[0].size, 10
    maps = 8 * (2 * steps) * features * 4
    # masked_from of both orders and the sign of the impact: three bytes a feature.
    assert crossed["tensors"] < 8 * features * 3 + 0.1 * maps, (crossed, maps)
    assert crossed["arrays"] > crossed["tensors"] + 0.9 * maps, (crossed, maps)


def returned(model: nn.Module, x: np.ndarray, y: np.ndarray, function: object, kind: str) -> int:
    """Bytes that GAE brings back from a device, without those of the model's fingerprint."""
    gae_metric.clear_cache()
    with Crossings(kind) as seen:
        GAE(disable_warnings=True)(model, x, y, explain_func=function, device=kind)
    with Crossings(kind) as alone:
        of_model(model, torch.device(kind))
    return seen.nbytes[kind, "cpu"] - alone.nbytes[kind, "cpu"]


def _through_arrays(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **kwargs: object):
    return abslrp.explain(model, inputs, targets)
