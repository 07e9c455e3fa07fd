"""Our explanation functions against Captum, and what every explanation function promises."""

import copy
import random
import threading

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

captum_attr = pytest.importorskip("captum.attr", reason="Captum (extra 'captum') is not installed")

from gae_metric._names import METHODS  # noqa: E402
from gae_metric.explainers import grad_cam as gradcam_module  # noqa: E402
from gae_metric.explainers.grad_cam import NotApplicableError  # noqa: E402
from gae_metric.explainers.gradients import EXPLAINERS, explainer, not_applicable  # noqa: E402

GRADIENT_METHODS = ("Saliency", "InputXGradient", "IntegratedGradients")


def make(builder, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builder().eval()


def small_resnet():
    return timm.models.resnet.ResNet(
        timm.models.resnet.BasicBlock,
        [1, 1, 1, 1],
        num_classes=5,
        stem_width=8,
        channels=(8, 8, 16, 16),
    )


def small_vgg():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(12 * 16, 5),
    )


def numpy_state():
    return np.random.get_state()[1]  # noqa: NPY002 - the global one is what must not change


@pytest.fixture(scope="module", params=[small_vgg, small_resnet], ids=["vgg", "resnet"])
def model(request):
    return make(request.param)


@pytest.fixture(scope="module")
def images():
    return torch.randn(5, 3, 32, 40, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([0, 3, 1, 4, 2])


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_equals_captum(model, images, name):
    ours = EXPLAINERS[name](model, images, TARGETS)
    options = {"n_steps": 20} if name == "IntegratedGradients" else {}
    theirs = getattr(captum_attr, name)(model).attribute(images.clone(), target=TARGETS, **options)
    assert theirs.abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs.detach().to(ours.dtype), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("builder", "layer"),
    [
        (small_vgg, "4"),
        (small_resnet, "layer4"),
        (lambda: torchvision.models.vgg11(num_classes=5, init_weights=False), "features.19"),
        (lambda: torchvision.models.resnet18(num_classes=5), "layer4"),
        (lambda: torchvision.models.squeezenet1_1(num_classes=5), "classifier.2"),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=5), "features"),
        (lambda: timm.create_model("resnet18", num_classes=5), "layer4"),
        (lambda: timm.create_model("convnext_atto", num_classes=5), "stages"),
    ],
    ids=["vgg", "resnet", "vgg11", "resnet18", "squeezenet", "mobilenet", "timm", "convnext"],
)
def test_gradcam_finds_the_last_feature_map_and_equals_captum(builder, layer, images):
    images = F.interpolate(images, (64, 80))
    model = make(builder)
    module = dict(model.named_modules())[layer]
    their_map = captum_attr.LayerGradCam(model, module).attribute(
        images.clone(), target=TARGETS, relu_attributions=True
    )
    theirs = F.interpolate(their_map, images.shape[2:], mode="bilinear", align_corners=False)
    assert theirs.max() > 0
    scale = theirs.max().item()
    found = EXPLAINERS["GradCAM"](model, images, TARGETS)
    torch.testing.assert_close(found / scale, theirs.detach() / scale, rtol=1e-5, atol=1e-5)
    named = EXPLAINERS["GradCAM"](model, images, TARGETS, layer=layer)
    torch.testing.assert_close(named, found, rtol=0, atol=1e-7)
    given = EXPLAINERS["GradCAM"](model, images, TARGETS, layer=module)
    torch.testing.assert_close(given, named, rtol=0, atol=0)


def test_gradcam_finds_maps_whose_channels_come_last(images):
    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)
            self.head = nn.Linear(6, 5)

        def forward(self, x):
            return self.head(self.conv(x).permute(0, 2, 3, 1).mean((1, 2)))

    model = make(ChannelsLast)
    found = EXPLAINERS["GradCAM"](model, images, TARGETS)
    named = EXPLAINERS["GradCAM"](model, images, TARGETS, layer="conv")
    torch.testing.assert_close(found, named)


#: What ends in one value for each of eight channels, of maps (B, 8, h, w), and (B, h, w, 8).
POOLS = {
    "mean of both": lambda f: f.mean((2, 3)),
    "kept axes": lambda f: f.mean((2, 3), keepdim=True).flatten(1),
    "one axis at a time": lambda f: f.mean(3).mean(2),
    "flattened": lambda f: f.flatten(2).mean(2),
    "viewed": lambda f: f.view(*f.shape[:2], -1).amax(-1),
    "another function": lambda f: f.logsumexp((2, 3)),
    "einsum": lambda f: torch.einsum("bchw->bc", f),
    "a convolution": lambda f: F.conv2d(f, torch.ones(8, 1, 8, 8), groups=8)[:, :, 0, 0],
    "tokens": lambda f: f.flatten(2).transpose(1, 2).mean(1),
}
POOLS_LAST = {
    "mean of both": lambda f: f.mean((1, 2)),
    "kept axes": lambda f: f.mean((1, 2), keepdim=True)[:, 0, 0],
    "flattened": lambda f: f.flatten(1, 2).mean(1),
    "einsum": lambda f: f.flatten(1, 2).amax(1),
}


class Pooled(nn.Module):
    """A network with an earlier pooling, and attention to channels and places, before the last."""

    def __init__(self, pool, last=False):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.relu, self.head, self.pool = nn.ReLU(), nn.Linear(8, 5), pool
        self.turn = (0, 2, 3, 1) if last else (0, 1, 2, 3)

    def forward(self, x):
        found = self.b(F.max_pool2d(self.a(x).relu(), 2))
        found = found * found.mean((2, 3), keepdim=True).sigmoid() * found.mean(1)[:, None]
        return self.head(self.pool(self.relu(found).permute(self.turn)))


@pytest.mark.parametrize(
    ("pool", "last"),
    [*((pool, False) for pool in POOLS.values()), *((pool, True) for pool in POOLS_LAST.values())],
    ids=[*POOLS, *(f"channels last, {name}" for name in POOLS_LAST)],
)
def test_gradcam_finds_the_last_feature_map_however_it_is_pooled(pool, last):
    # As many channels as places on a side, so that shapes alone do not tell.
    model, x = make(lambda: Pooled(pool, last)), torch.randn(4, 3, 16, 16)
    found = EXPLAINERS["GradCAM"](model, x, [0, 1, 2, 3])
    assert found.max() > 0
    torch.testing.assert_close(
        found, EXPLAINERS["GradCAM"](model, x, [0, 1, 2, 3], layer="relu"), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("tokens", [False, True])
def test_gradcam_takes_the_feature_map_of_the_head_that_is_explained(tokens):
    class TwoHeads(Pooled):
        def __init__(self):
            super().__init__(POOLS["mean of both"])
            self.other, self.mix = nn.Conv2d(6, 4, 1), nn.Linear(4, 4)

        def forward(self, x):
            logits, quality = super().forward(x), self.other(self.a(x)).mean((2, 3), keepdim=True)
            return {"logits": logits, "quality": self.mix(quality.flatten(2).transpose(1, 2))}

    model, x = make(TwoHeads), torch.randn(4, 3, 16, 16)
    if not tokens:
        model.mix = nn.Identity()
    found = EXPLAINERS["GradCAM"](model, x, [0, 1, 2, 3])
    named = EXPLAINERS["GradCAM"](model, x, [0, 1, 2, 3], layer="relu")
    torch.testing.assert_close(found, named, rtol=1e-4, atol=1e-6)


def test_gradcam_of_a_layer_keeps_to_its_own_thread():
    """What another thread has the model do in the middle of it is not explained."""
    model, x = make(small_resnet), torch.randn(2, 3, 32, 32)
    expected = EXPLAINERS["GradCAM"](model, x, [0, 1], layer="layer4")
    passes = []

    def elsewhere(module, args):
        if not passes:
            passes.append(threading.Thread(target=model, args=(torch.randn(5, 3, 64, 64),)))
            passes[0].start()
            passes[0].join()

    with model.fc.register_forward_pre_hook(elsewhere):
        found = EXPLAINERS["GradCAM"](model, x, [0, 1], layer="layer4")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=(32, 48)), "no feature map"),
        (
            lambda: timm.create_model("vit_tiny_r_s16_p8_224", img_size=(64, 64)),
            "works on tokens after",
        ),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 48, 4)), "no feature map"),
    ],
    ids=["vit", "hybrid", "mlp"],
)
def test_gradcam_says_where_it_does_not_apply(builder, reason):
    model = make(builder)
    size = (64, 64) if "tokens" in reason else (32, 48)
    x = torch.rand(1, 3, *size)
    assert reason in not_applicable("GradCAM", model, x)
    with pytest.raises(NotApplicableError, match=f"{reason}.*layer="):
        EXPLAINERS["GradCAM"](model, x, [0])
    assert not_applicable("Saliency", model, x) is None
    assert not_applicable("GradCAM", make(small_vgg), torch.rand(1, 3, 32, 32)) is None


def test_gradcam_refuses_a_layer_that_is_none(model, images):
    with pytest.raises(ValueError, match="has no module 'layer9'"):
        EXPLAINERS["GradCAM"](model, images, TARGETS, layer="layer9")
    with pytest.raises(ValueError, match="not a module of the model"):
        EXPLAINERS["GradCAM"](model, images, TARGETS, layer=nn.ReLU())
    last = list(dict(model.named_modules()))[-1]
    with pytest.raises(ValueError, match=r"expected an output of shape \(B, K, h, w\)"):
        EXPLAINERS["GradCAM"](model, images, TARGETS, layer=last)
    with pytest.raises(ValueError, match="expects images"):
        gradcam_module.cam(nn.Linear(3, 2).eval(), torch.ones(2, 3), torch.sum)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_arrays_and_tensors_in_the_same_kind_out(model, images, name):
    maps = EXPLAINERS[name](model, images, TARGETS)
    array = EXPLAINERS[name](model, images.numpy(), TARGETS.numpy(), method=name, device="cpu")
    assert isinstance(maps, torch.Tensor)
    assert not maps.requires_grad
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float32
    channels = 1 if name == "GradCAM" else 3
    assert maps.shape == (5, channels, 32, 40)
    np.testing.assert_array_equal(array, maps.numpy())
    assert EXPLAINERS[name].accepts_tensors


@pytest.mark.parametrize("name", EXPLAINERS)
def test_maps_do_not_depend_on_batches(images, name):
    model = make(small_resnet).double()
    x = images.double()
    together = EXPLAINERS[name](model, x, TARGETS)
    chunked = EXPLAINERS[name](model, x, TARGETS, batch_size=2)
    order = torch.tensor([3, 1, 4, 0, 2])
    permuted = EXPLAINERS[name](model, x[order], TARGETS[order])
    alone = EXPLAINERS[name](model, x[3:4], TARGETS[3:4])
    scale = together.abs().max()
    assert (chunked - together).abs().max() < 1e-12 * scale
    assert (permuted - together[order]).abs().max() < 1e-12 * scale
    assert (alone[0] - together[3]).abs().max() < 1e-12 * scale


@pytest.mark.parametrize("name", EXPLAINERS)
def test_nothing_is_left_behind(model, images, name):
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    attributes = {id(m): set(vars(m)) for m in model.modules()}
    generators = torch.get_rng_state(), numpy_state().copy(), random.getstate()
    x = images.clone()
    EXPLAINERS[name](
        model, x, TARGETS, layer=None if name != "GradCAM" else next(iter(model.children()))
    )
    assert torch.equal(x, images)
    assert x.grad is None
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert not module._forward_pre_hooks
        assert set(vars(module)) == attributes[id(module)]
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(numpy_state(), generators[1])
    assert random.getstate() == generators[2]


def test_gradcam_removes_its_hook_when_the_model_raises(images):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            self.conv(x)
            raise RuntimeError("broken")

    model = make(Fails)
    with pytest.raises(RuntimeError, match="broken"):
        EXPLAINERS["GradCAM"](model, images, TARGETS, layer="conv")
    assert not model.conv._forward_hooks


@pytest.mark.parametrize("name", ["Saliency", "GradCAM", "IntegratedGradients"])
def test_bad_arguments_are_named(model, images, name):
    function = EXPLAINERS[name]
    with pytest.raises(
        ValueError, match=r"targets: expected classes from 0 to 4, .* got 7 at position 2"
    ):
        function(model, images, [0, 1, 7, 0, 0])
    with pytest.raises(ValueError, match=r"targets: expected integers of shape \(5,\)"):
        function(model, images, [0, 1])
    with pytest.raises(ValueError, match=r"inputs: expected a batch axis, got shape \(3, 32, 40\)"):
        function(model, images[0], 3)
    with pytest.raises(ValueError, match="inputs: expected real values"):
        function(model, images.to(torch.complex128), TARGETS)
    with pytest.raises(ValueError, match="batch_size"):
        function(model, images, TARGETS, batch_size=0)
    training = copy.deepcopy(model).train()
    with pytest.raises(ValueError, match="training mode"):
        function(training, images, TARGETS)
    with pytest.raises(ValueError, match=r"torch\.nn\.Module"):
        function(abs, images, TARGETS)


def test_n_steps_must_be_positive(model, images):
    with pytest.raises(ValueError, match="n_steps"):
        EXPLAINERS["IntegratedGradients"](model, images, TARGETS, n_steps=0)


def test_a_nan_image_spoils_no_other(model, images):
    broken = images.clone()
    broken[2, 0, 3, 3] = float("nan")
    for name in ("Saliency", "InputXGradient", "IntegratedGradients", "GradCAM"):
        good = EXPLAINERS[name](model, images, TARGETS)
        maps = EXPLAINERS[name](model, broken, TARGETS)
        others = [0, 1, 3, 4]
        assert torch.equal(maps[others], good[others])


def test_random_maps_are_standard_normal_and_seeded(images):
    x = images[:, :, :32, :32]
    maps = EXPLAINERS["Random"](None, x, TARGETS)
    assert abs(maps.mean()) < 0.05
    assert abs(maps.std() - 1) < 0.05
    assert not torch.equal(maps[0], maps[1])
    assert torch.equal(EXPLAINERS["Random"](None, x, TARGETS), maps)
    assert not torch.equal(EXPLAINERS["Random"](None, x, TARGETS, seed=1), maps)
    assert not torch.equal(EXPLAINERS["Random"](None, x + 1e-3, TARGETS), maps)


def test_names_are_found_in_any_case_and_corrected():
    assert explainer("gradcam") == ("GradCAM", EXPLAINERS["GradCAM"])
    assert {explainer(name)[0] for name in METHODS} == set(METHODS)
    assert explainer("epsilonplusflat")[0] == "EpsilonPlusFlat"
    with pytest.raises(ValueError, match="did you mean 'EpsilonPlusFlat'"):
        explainer("zennit:EpsilonPlusFlat")
    with pytest.raises(ValueError, match="did you mean 'Saliency'"):
        explainer("Salliency")
    with pytest.raises(ValueError, match=r"captum.*did you mean 'DeepLift'"):
        explainer("captum:DepLift")


@pytest.mark.filterwarnings("error")
def test_captum_methods_by_name(images):
    model = make(small_vgg)
    name, saliency = explainer("captum:saliency")
    assert name == "captum:Saliency"
    maps = saliency(model, images.numpy(), TARGETS.numpy(), batch_size=2, method=name, softmax=True)
    np.testing.assert_array_equal(
        maps, EXPLAINERS["Saliency"](model, images, TARGETS, batch_size=2).numpy()
    )
    _, guided = explainer("captum:GuidedBackprop")
    assert guided(model, images, TARGETS).shape == images.shape


def test_captum_methods_that_draw_are_seeded_and_leave_the_generators(images):
    model = make(small_vgg)
    _, gradient_shap = explainer("captum:GradientShap")
    states = torch.get_rng_state(), numpy_state().copy()
    first = gradient_shap(model, images, TARGETS, n_samples=3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(numpy_state(), states[1])
    assert torch.equal(first, gradient_shap(model, images, TARGETS, n_samples=3))
    other = gradient_shap(model, images, TARGETS, n_samples=4)
    assert (other - first).abs().max() > 0.01 * first.abs().max()


class Cut(nn.Module):
    """Its output has a gradient, but none with respect to the input."""

    def __init__(self, scale):
        super().__init__()
        self.net, self.scale = make(small_vgg), scale
        self.eval()

    def forward(self, x):
        return self.net(x).detach() * self.scale


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, "GradCAM"])
@pytest.mark.parametrize("scale", [1.0, nn.Parameter(torch.ones(1))])
def test_a_model_without_a_gradient_is_refused(method, scale):
    with pytest.raises(ValueError, match="model: its output does not depend on the input"):
        EXPLAINERS[method](Cut(scale), torch.rand(2, 3, 32, 32), [0, 1])
