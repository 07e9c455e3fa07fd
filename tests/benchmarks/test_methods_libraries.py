"""Methods against their libraries, called as their documentation does, without our copies."""

import copy
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from timm.models.resnet import BasicBlock as TimmBlock
from torch import nn

captum_attr = pytest.importorskip("captum.attr", reason="Captum (extra 'captum') is not installed")
cams = pytest.importorskip(
    "pytorch_grad_cam", reason="grad-cam (extra 'benchmarks') is not installed"
)
zennit = pytest.importorskip("zennit", reason="Zennit (extra 'zennit') is not installed")

from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from zennit.attribution import Gradient  # noqa: E402
from zennit.canonizers import (  # noqa: E402
    AttributeCanonizer,
    CompositeCanonizer,
    SequentialMergeBatchNorm,
)
from zennit.composites import EpsilonPlusFlat, LayerMapComposite, layer_map_base  # noqa: E402
from zennit.layer import Sum  # noqa: E402
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


def equal(ours, theirs, share=1e-5):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= share * theirs.abs().max()


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


@pytest.mark.parametrize("net", ["vgg", "resnet", "vit"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_captum_s_methods_that_draw(net):
    x, y = tensors()
    model = plain(net)
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


class SumsOfTimm(AttributeCanonizer):
    """What Zennit's canonizer does for torchvision's block, for timm's, which it does not know."""

    def __init__(self):
        super().__init__(self.attributes)

    @staticmethod
    def attributes(name, module):
        if isinstance(module, TimmBlock):
            return {"forward": partial(summed, module), "canonizer_sum": Sum()}
        return None


def summed(block, x):
    """A block's own forward, but for the sum, which is a module."""
    assert block.se is None
    identity = x if block.downsample is None else block.downsample(x)
    out = block.aa(block.act1(block.drop_block(block.bn1(block.conv1(x)))))
    out = block.bn2(block.conv2(out))
    out = out if block.drop_path is None else block.drop_path(out)
    return block.act2(block.canonizer_sum(torch.stack([identity, out], dim=-1)))


def canonizer(net):
    """The canonizer with which Zennit sees one of the digits networks."""
    merge = SequentialMergeBatchNorm()
    return CompositeCanonizer((merge, SumsOfTimm())) if net == "resnet" else merge


def test_the_canonizer_leaves_the_function_as_it_is():
    x, _ = tensors()
    model = with_small_eps(plain("resnet").double())
    before = model(x.double())
    torch.testing.assert_close(before, network("resnet", torch.float64)(x.double()))
    handles = canonizer("resnet").apply(model)
    assert sum(hasattr(module, "canonizer_sum") for module in model.modules()) == 4
    torch.testing.assert_close(model(x.double()), before)
    for handle in handles:
        handle.remove()


def with_small_eps(model):
    """The same function, with the eps of batch norms within their variances.

    Zennit's merged norm keeps dividing by sqrt(1 + eps), so that its network is another one.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var += module.eps - 1e-30
            module.eps = 1e-30
    return model


def zennit_map(model, composite):
    x, y = tensors()
    x = x.to(next(model.parameters()).dtype)
    with Gradient(model, composite) as attributor:
        _, relevance = attributor(x.clone().requires_grad_(), torch.eye(10).to(x)[y])
    return relevance.detach()


@pytest.mark.parametrize("net", ["vgg", "resnet"])
def test_zennit_s_epsilon_plus_flat(net):
    x, y = tensors()
    theirs = zennit_map(plain(net).double(), EpsilonPlusFlat(canonizers=[canonizer(net)]))
    # Both keep sums of activations, which are some hundredths, from 0 by 1e-6, in other places.
    equal(METHODS["EpsilonPlusFlat"](plain(net).double(), x.double(), y), theirs, 1e-4)


def test_the_composite_explains_a_vision_transformer():
    """For whose norms and attention Zennit has no rules."""
    maps = METHODS["EpsilonPlusFlat"](network("vit"), *tensors())
    assert np.isfinite(maps).all() if isinstance(maps, np.ndarray) else maps.isfinite().all()


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
    model = model.double()
    theirs = zennit_map(copy.deepcopy(model), EpsilonPlusFlat(canonizers=[ResNetCanonizer()]))
    x, y = tensors()
    equal(METHODS["EpsilonPlusFlat"](model, x.double(), y), theirs, 1e-4)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("LRP-epsilon", Epsilon(1e-6)),
        ("LRP-alpha1beta0", AlphaBeta(1, 0)),
        ("LRP-alpha2beta1", AlphaBeta(2, 1)),
    ],
)
@pytest.mark.parametrize("net", ["vgg", "resnet"])
def test_our_lrp_rules_are_zennit_s_where_zennit_has_them(name, rule, net):
    x, y = tensors()
    rules = [*layer_map_base(1e-6), (Linear, rule)]
    composite = LayerMapComposite(rules, canonizers=[canonizer(net)])
    model = with_small_eps(plain(net).double())
    theirs = zennit_map(copy.deepcopy(model), composite)
    ours = METHODS[name](model, x.double(), y)
    assert (ours - theirs).abs().max() <= 1e-9 * theirs.abs().max()


def test_libraries_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("DeepLIFT", "GuidedGradCAM", "Saliency", "GradCAM", "Deconvolution"):
            assert np.isfinite(METHODS[name](network("resnet"), *canvases())).all()
