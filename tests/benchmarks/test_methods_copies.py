"""Working copies: functional, repeated and overwriting operations as libraries need them."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

captum_attr = pytest.importorskip("captum.attr", reason="Captum (extra 'captum') is not installed")

from benchmarks.methods import METHODS, InapplicableError  # noqa: E402
from benchmarks.methods.cam import cam_layer  # noqa: E402
from benchmarks.methods.copies import (  # noqa: E402  # noqa: E402
    DEEPLIFT,
    RELUS,
    OutOfPlace,
    Unrolled,
    base_name,
    refuse_unlinear,
    working_copy,
)
from tests.benchmarks.quick import assert_same, state  # noqa: E402

TARGETS = torch.tensor([1, 0])


def images(n=2):
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(3))


class Written(nn.Module):
    """A residual network whose activations are modules, each used once."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 64, 3)
        self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU()])
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.relus[0](self.first(x))
        y = self.relus[1](self.norm(self.second(x)))
        x = self.relus[2](y + x)
        return self.head(self.pool(x).flatten(1))


class Reused(Written):
    """One ReLU module for all calls, additions in place, as torchvision's ResNets have it."""

    def forward(self, x):
        relu = self.relus[0]
        x = relu(self.first(x))
        y = relu(self.norm(self.second(x)))
        y += x
        x = F.relu(y, True)
        return self.head(F.max_pool2d(x, kernel_size=2).flatten(1))


def reused():
    """The network written out, and the same function with everything that hooks cannot see."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        written = Written()
        nn.init.normal_(written.norm.running_mean, std=0.2)
        nn.init.uniform_(written.norm.running_var, 0.5, 2)
    model = Reused()
    model.load_state_dict(written.state_dict())
    model.relus[0].inplace = True
    return written.eval(), model.eval()


@pytest.mark.parametrize(
    ("name", "library"),
    [("DeepLIFT", "DeepLift"), ("Deconvolution", "Deconvolution"), ("Saliency", "Saliency")],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_however_a_network_is_written(name, library):
    written, model = reused()
    x = images()
    assert torch.equal(written(x), model(x))
    theirs = getattr(captum_attr, library)(written).attribute(x.clone(), target=TARGETS).detach()
    before = state(model)
    torch.testing.assert_close(METHODS[name](model, x, TARGETS), theirs)
    torch.testing.assert_close(METHODS[name](written, x, TARGETS), theirs)
    assert_same(before, state(model))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_captum_itself_fails_on_them():
    """So that the copies are no longer made once they are not needed."""
    _, model = reused()
    with pytest.raises((RuntimeError, AssertionError)):
        captum_attr.DeepLift(model).attribute(images().requires_grad_(), target=TARGETS)


def test_a_model_that_relies_on_overwriting_is_refused():
    class Relies(Written):
        def forward(self, x):
            h = self.first(x)
            h.mul_(2.0)
            return self.head(self.pool(h + self.second(h)).flatten(1))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Relies().eval()
    with pytest.raises(InapplicableError, match="overwritten in place"):
        OutOfPlace(model, images()[:1])
    with pytest.raises(InapplicableError, match="overwritten in place"):
        METHODS["DeepLIFT"](model, images(), TARGETS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(num_classes=3),
        lambda: torchvision.models.mobilenet_v2(num_classes=3),
        lambda: torchvision.models.densenet121(num_classes=3, memory_efficient=False),
        lambda: timm.create_model("resnet10t", num_classes=3),
    ],
    ids=["resnet18", "mobilenet_v2", "densenet121", "resnet10t"],
)
def test_deeplift_sums_to_the_difference_of_the_outputs(make):
    """Shrikumar et al.'s summation to delta, which a single missed activation would break."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval().double()
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    maps = METHODS["DeepLIFT"](model, x, [1])
    expected = (model(x) - model(torch.zeros_like(x)))[0, 1].detach()
    assert abs(maps.sum() - expected) < 1e-6 * expected.abs().clamp(min=1)


def test_guided_backpropagation_of_relu6_is_that_of_a_clipped_relu():
    class Six(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU6()

        def forward(self, x):
            return self.act(x).flatten(1) @ torch.tensor([[1.0], [-1.0], [1.0], [1.0]])

    x = torch.tensor([[[[2.0, 3.0, 7.0, -1.0]]]])
    ours = METHODS["Deconvolution"](Six().eval(), x, [0])
    # the gradient that reaches the ReLU6 is (1, -1, 1, 1): its positive part passes
    assert ours.flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("clip", [nn.ReLU6(), nn.Hardtanh(-1.0, 2.0)], ids=["relu6", "hardtanh"])
def test_deeplift_of_a_clipped_activation_is_its_rescale_rule(clip):
    """Output difference over input difference, 0 being the baseline."""

    class Clips(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = clip

        def forward(self, x):
            return self.act(x).flatten(1).sum(1, keepdim=True)

    x = torch.tensor([[[[-3.0, -0.5, 1.0, 9.0]]]])
    torch.testing.assert_close(METHODS["DeepLIFT"](Clips().eval(), x, [0]), clip(x))


def test_unrolled_calls_are_modules_in_order():
    _, model = reused()
    unrolled = Unrolled(model, images()[:1], DEEPLIFT, refuse_unlinear)
    assert [type(one) for one in unrolled.calls] == [nn.ReLU] * 3
    assert len({id(one) for one in unrolled.calls}) == 3
    assert [type(one) for one in Unrolled(model, images()[:1], RELUS).calls] == [nn.ReLU] * 3
    torch.testing.assert_close(unrolled(images()), model(images()))


def test_a_copy_shares_values_and_nothing_else():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    copied = working_copy(model)
    for one, other in zip(
        (*model.parameters(), *model.buffers()),
        (*copied.parameters(), *copied.buffers()),
        strict=True,
    ):
        assert one is not other
        assert one.data_ptr() == other.data_ptr()
        assert not other.requires_grad
    before = copy.deepcopy(model.state_dict())
    copied[0].weight.data = torch.zeros(1)
    copied[1].running_mean.data = torch.ones(4)
    copied[2].register_forward_hook(lambda *_: None)
    assert_same(before, model.state_dict())
    assert model[2].inplace
    assert not model[2]._forward_hooks


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.Tensor.__iadd__, "add"),
        (torch.Tensor.__radd__, "add"),
        (torch.Tensor.add_, "add"),
        (torch.relu_, "relu"),
        (torch.Tensor.__matmul__, "matmul"),
        (F.max_pool2d, "max_pool2d"),
    ],
)
def test_base_names(function, name):
    assert base_name(function) == name


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: torchvision.models.resnet18(num_classes=3), "layer4"),
        (lambda: torchvision.models.squeezenet1_1(num_classes=3), "classifier.0"),
        (lambda: torchvision.models.densenet121(num_classes=3), "features"),
        (lambda: timm.create_model("convnext_atto", num_classes=3), "norm_pre"),
        (lambda: timm.create_model("mobilenetv3_small_050", num_classes=3), "blocks"),
    ],
    ids=["resnet18", "squeezenet", "densenet121", "convnext_atto", "mobilenetv3"],
)
def test_cam_layers(make, expected):
    model = make().eval()
    x = torch.randn(1, 3, 64, 64)
    assert cam_layer(OutOfPlace(model, x), x).name == expected


def test_cam_methods_differ_on_a_network_whose_last_map_is_of_class_scores():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.squeezenet1_1(num_classes=3).eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    names = ("GradCAM", "HiResCAM", "LayerCAM")
    maps = {name: METHODS[name](model, x, [1]) for name in names}
    assert torch.equal(maps["GradCAM"], METHODS["GradCAM"](model, x, [1], layer="features"))
    assert (maps["LayerCAM"] - maps["GradCAM"]).abs().max() > 0.01
