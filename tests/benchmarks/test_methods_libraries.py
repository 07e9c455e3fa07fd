"""Methods against their libraries, called as their documentation does, without our copies."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

captum_attr = pytest.importorskip("captum.attr", reason="Captum (extra 'captum') is not installed")
cams = pytest.importorskip(
    "pytorch_grad_cam", reason="grad-cam (extra 'benchmarks') is not installed"
)
zennit = pytest.importorskip("zennit", reason="Zennit (extra 'zennit') is not installed")

from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.canonizers import SequentialMergeBatchNorm  # noqa: E402
from zennit.composites import EpsilonPlusFlat, LayerMapComposite, layer_map_base  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon  # noqa: E402
from zennit.torchvision import ResNetCanonizer  # noqa: E402
from zennit.types import Linear  # noqa: E402

from benchmarks.methods import METHODS  # noqa: E402
from benchmarks.methods.gradients import seeded  # noqa: E402
from tests.benchmarks.quick import QUICK, canvases, network  # noqa: E402

LAYERS = {"vgg": "pre_logits", "resnet": "layer4", "vit": "blocks.3.norm1"}


def tensors():
    x, y = canvases()
    return torch.from_numpy(x), torch.from_numpy(y)


def plain(name):
    """A copy whose activations are not overwritten, as the libraries ask for."""
    model = copy.deepcopy(network(name))
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return model


def equal(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("net", ["vgg", "resnet", "vit"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Saliency", {}),
        ("InputXGradient", {}),
        ("Deconvolution", {}),
        ("DeepLIFT", {}),
        ("IntegratedGradients", {"n_steps": 3, "method": "gausslegendre"}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_captum(name, options, net):
    if net == "vit" and METHODS[name].family == "cnn":
        with pytest.raises(ValueError, match=r"no ReLU|no rule"):
            METHODS[name](network(net), *tensors())
        return
    library = getattr(captum_attr, {"DeepLIFT": "DeepLift"}.get(name, name))
    x, y = tensors()
    theirs = library(plain(net)).attribute(x.clone(), target=y, **options)
    equal(METHODS[name](network(net), x, y, **QUICK.get(name, {})), theirs.detach())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_captum_s_methods_that_draw():
    x, y = tensors()
    model = plain("vgg")
    for i in range(len(x)):
        one, label = x[i : i + 1], y[i : i + 1]
        with seeded(one, 5):
            smooth = captum_attr.NoiseTunnel(captum_attr.Saliency(model)).attribute(
                one.clone(),
                target=label,
                nt_samples=3,
                stdevs=0.15 * float(one.max() - one.min()),
            )
        equal(METHODS["SmoothGrad"](model, one, label, n_samples=3, seed=5), smooth.detach())
        with seeded(one, 5):
            shap = captum_attr.GradientShap(model).attribute(
                one.clone(), torch.zeros_like(one), target=label, n_samples=3, stdevs=0.09
            )
        equal(METHODS["GradientSHAP"](model, one, label, n_samples=3, seed=5), shap.detach())


@pytest.mark.parametrize("net", ["vgg", "resnet"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_captum_s_guided_gradcam(net):
    model = plain(net)
    x, y = tensors()
    library = captum_attr.GuidedGradCam(model, model.get_submodule(LAYERS[net]))
    theirs = library.attribute(x.clone().requires_grad_(), target=y)
    equal(METHODS["GuidedGradCAM"](network(net), x, y), theirs.detach())


@pytest.mark.parametrize("net", ["vgg", "resnet", "vit"])
@pytest.mark.parametrize("name", ["GradCAM", "GradCAM++", "HiResCAM", "LayerCAM"])
def test_pytorch_grad_cam(name, net):
    model = plain(net).requires_grad_(True)
    layer = model.get_submodule(LAYERS[net])

    def reshape(output):  # of the vision transformer: 6x6 patches behind the class token
        return output[:, 1:].reshape(len(output), 6, 6, -1).permute(0, 3, 1, 2)

    x, y = tensors()
    kind = getattr(cams, name.replace("++", "PlusPlus"))
    with kind(model, [layer], reshape if net == "vit" else None) as library:
        theirs = library(x, [ClassifierOutputTarget(int(label)) for label in y])
    ours = METHODS[name](network(net), x, y)
    equal(ours, torch.from_numpy(theirs)[:, None])
    given = METHODS[name](network(net), x, y, layer=LAYERS[net])
    assert torch.equal(given, ours)


def zennit_map(model, composite):
    x, y = tensors()
    x = x.to(next(model.parameters()).dtype)
    with Gradient(model, composite) as attributor:
        _, relevance = attributor(x.clone().requires_grad_(), torch.eye(10).to(x)[y])
    return relevance.detach()


def test_zennit_s_epsilon_plus_flat():
    x, y = tensors()
    theirs = zennit_map(plain("vgg"), EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()]))
    equal(METHODS["EpsilonPlusFlat"](network("vgg"), x, y), theirs)


def test_zennit_s_epsilon_plus_flat_on_torchvision_s_resnet():
    """Additions, which Zennit's own canonizer rewrites for this class, and a ReLU used twice."""
    from torchvision.models.resnet import BasicBlock, ResNet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 2)
    theirs = zennit_map(copy.deepcopy(model), EpsilonPlusFlat(canonizers=[ResNetCanonizer()]))
    x, y = tensors()
    equal(METHODS["EpsilonPlusFlat"](model, x, y), theirs)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("LRP-epsilon", Epsilon(1e-6)),
        ("LRP-alpha1beta0", AlphaBeta(1, 0)),
        ("LRP-alpha2beta1", AlphaBeta(2, 1)),
    ],
)
def test_our_lrp_rules_are_zennit_s_where_zennit_has_them(name, rule):
    x, y = tensors()
    composite = LayerMapComposite([*layer_map_base(1e-6), (Linear, rule)])
    theirs = zennit_map(plain("vgg").double(), composite)
    ours = METHODS[name](network("vgg", torch.float64), x.double(), y)
    assert (ours - theirs).abs().max() <= 1e-9 * theirs.abs().max()


def test_libraries_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("DeepLIFT", "GuidedGradCAM", "Saliency", "GradCAM", "Deconvolution"):
            assert np.isfinite(METHODS[name](network("resnet"), *canvases())).all()
