"""Every method on every digits network: its map, what it leaves behind, what it depends on."""

import numpy as np
import pytest
import torch

from benchmarks.methods import METHODS, InapplicableError, find, method
from benchmarks.methods.rise import random_masks
from gae_metric.errors import InputError
from gae_metric.explainers.grad_cam import NotApplicableError
from gae_metric.study.explaining import accepts_tensors
from tests.benchmarks.quick import QUICK, assert_same, canvases, network, state

NETWORKS = {"vgg": "cnn", "resnet": "cnn", "vit": "vit"}
PAPER_CNN = [
    "Constant",
    "Random",
    "Saliency",
    "Input*Gradient",
    "Deconvolution",
    "LRP-epsilon",
    "DeepLIFT",
    "LRP-alpha1beta0",
    "LRP-alpha2beta1",
    "Integrated Gradients",
    "SmoothGrad",
    "GradCAM",
    "HiResCAM",
    "LayerCAM",
    "GradCAM++",
    "GuidedGradCAM",
    "cLRP",
    "RAP",
    "cRAP",
    "absLRP",
]
PAPER_VIT = [
    "GradCAM",
    "GradCAM++",
    "HiResCAM",
    "LayerCAM",
    "LLAttention",
    "Rollout",
    "TIBAV",
    "absLRP",
    "absLRP: patch relevance",
    "absLRP: value relevance",
    "absLRP: query and key relevance",
]
CAMS = ("GradCAM", "GradCAM++", "HiResCAM", "LayerCAM")


def installed(row):
    return pytest.mark.skipif(not row.installed, reason=f"{row.source} is not installed")


def applicable():
    return [
        pytest.param(name, row.name, id=f"{row.name}-{name}", marks=installed(row))
        for name, kind in NETWORKS.items()
        for row in METHODS.values()
        if row.family in ("any", kind)
    ]


def refused():
    return [
        pytest.param(name, row.name, id=f"{row.name}-{name}")
        for name, kind in NETWORKS.items()
        for row in METHODS.values()
        if row.family not in ("any", kind)
    ]


def test_the_paper_s_methods_are_all_there():
    cnn = [row.paper_name for row in METHODS.values() if "cnn" in row.paper]
    vit = [row.paper_name for row in METHODS.values() if "vit" in row.paper]
    assert sorted(cnn) == sorted(PAPER_CNN)
    assert sorted(vit) == sorted(PAPER_VIT)
    beyond = {row.name for row in METHODS.values() if not row.paper}
    variants = {"LRP-epsilon-0.1", "LRP-alpha1beta0-contrastive", "RAP-eq5", "TIBAV-epsilon"}
    variants |= {"absLRP-signed"}
    assert beyond == {"AttnLRP", "EpsilonPlusFlat", "GradientSHAP", "RISE"} | variants
    assert all(row.citation and row.source for row in METHODS.values())


@pytest.mark.parametrize(("net", "name"), applicable())
def test_maps_and_what_is_left(net, name):
    model = network(net)
    x, y = canvases()
    some = next(model.parameters())
    try:
        some.requires_grad_(True)
        some.grad = torch.ones_like(some)
        before = state(model)
        maps = METHODS[name](model, x, y, device="cpu", softmax=False, **QUICK.get(name, {}))
        assert_same(before, state(model))
    finally:
        some.grad = None
        some.requires_grad_(False)
    assert isinstance(maps, np.ndarray)
    assert maps.dtype == np.float32
    assert maps.shape in (x.shape, (len(x), 1, *x.shape[2:]))
    assert np.isfinite(maps).all()
    assert (np.abs(maps).reshape(len(x), -1).max(1) > 0).all()
    if name != "Constant":  # a map of one value says nothing
        assert (maps.reshape(len(x), -1).std(1) > 0).all()
    unlike = [np.abs(maps[0] - maps[1]).max(), np.abs(maps[0] - maps[2]).max()]
    assert (min(unlike) > 0) == (name != "Constant")


@pytest.mark.parametrize(("net", "name"), applicable())
def test_maps_do_not_depend_on_the_batch(net, name):
    model = network(net, torch.float64)
    x = torch.from_numpy(canvases()[0]).double()
    y = torch.from_numpy(canvases()[1])
    options = QUICK.get(name, {})
    with torch.random.fork_rng():  # nor on what was drawn before
        torch.manual_seed(1)
        whole = METHODS[name](model, x, y, **options)
        torch.manual_seed(2)
        chunks = METHODS[name](model, x, y, batch_size=2, **options)
    turned = METHODS[name](model, x.flip(0), y.flip(0), **options).flip(0)
    assert whole.dtype == torch.float64
    # pytorch-grad-cam computes in float32
    tolerance = 1e-5 if name in CAMS else 1e-8
    scale = whole.abs().max()
    assert (whole - chunks).abs().max() <= tolerance * scale
    assert (whole - turned).abs().max() <= tolerance * scale


@pytest.mark.parametrize(("net", "name"), refused())
def test_methods_of_another_family_say_why(net, name):
    model = network(net)
    before = state(model)
    with pytest.raises(InapplicableError) as refusal:
        METHODS[name](model, *canvases())
    assert isinstance(refusal.value, NotApplicableError)  # what evaluations expect
    assert len(refusal.value.reason) > 10
    assert_same(before, state(model))


@pytest.mark.parametrize("name", ["Random", "SmoothGrad", "GradientSHAP", "RISE"])
def test_seeds(name):
    model = network("vgg")
    options = QUICK.get(name, {})
    one, same, other = (
        METHODS[name](model, *canvases(), seed=seed, **options) for seed in (0, 0, 1)
    )
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    "name", ["absLRP", "GradCAM", "LRP-epsilon", "Rollout", "IntegratedGradients"]
)
def test_arguments_are_checked(name):
    row = METHODS[name]
    model = network("vit" if row.family == "vit" else "resnet")
    x, y = canvases()
    with pytest.raises(ValueError, match="targets"):
        row(model, x, y[:2])
    with pytest.raises(ValueError, match="model"):
        row(None, x, y)
    model.train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            row(model, x, y)
    finally:
        model.eval()
    with pytest.raises(ValueError, match="batch_size"):
        row(model, x, y, batch_size=-1)


def test_options_are_checked():
    with pytest.raises(InputError, match="n_steps"):
        METHODS["IntegratedGradients"](network("vgg"), *canvases(), n_step=3)
    with pytest.raises(InputError, match="no option 'nsteps'; did you mean 'n_steps'"):
        METHODS["IntegratedGradients"].bind(nsteps=3)
    bound = METHODS["IntegratedGradients"].bind(n_steps=2)
    expected = METHODS["IntegratedGradients"](network("vgg"), *canvases(), n_steps=2)
    assert accepts_tensors(bound)
    assert (bound(network("vgg"), *canvases()) == expected).all()


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InapplicableError, match="Captum is not installed: pip install"):
        METHODS["Saliency"](network("vgg"), *canvases())
    assert METHODS["absLRP"].installed


def test_registry():
    with pytest.raises(InputError, match="did you mean 'Saliency'"):
        find("salency")
    assert find("absLRP: value relevance").name == "absLRP-values"
    assert METHODS["SmoothGrad"].defaults == {"n_samples": 50, "noise": 0.15, "seed": 0}


def test_duplicates_are_refused_at_registration():
    count = len(METHODS)
    with pytest.raises(ValueError, match="already"):
        method("rise", family="any", source="x", citation="x")(lambda model, x, y: x)
    assert len(METHODS) == count


def test_rise_is_the_mean_of_masks_weighted_by_probability():
    model = network("vgg")
    x, y = (torch.from_numpy(one) for one in canvases())
    masks = torch.stack(list(random_masks(6, (48, 48), cells=7, keep=0.5, seed=3)))
    assert 0 <= masks.min() < 0.1
    assert 0.9 < masks.max() <= 1
    for i in range(len(x)):
        expected = torch.zeros(1, 48, 48)
        for mask in masks:
            probability = torch.softmax(model(x[i : i + 1] * mask), 1)[0, y[i]]
            expected += probability * mask / (6 * 0.5)
        got = METHODS["RISE"](model, x, y, n_masks=6, seed=3, batch_size=4)[i]
        torch.testing.assert_close(got, expected)
