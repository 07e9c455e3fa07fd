"""GradCAM's relatives against the libraries that have them."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gae_metric.demo import digits, networks
from gae_metric.explainers import cams
from gae_metric.explainers.grad_cam import NotApplicableError


@pytest.fixture(scope="module")
def case():
    x, y = digits.load("test", n=4)
    return networks.load("resnet"), x, y


def test_guided_backpropagation_is_captums(case):
    attr = pytest.importorskip("captum.attr", reason="Captum (extra 'captum') is not installed")
    x, y = map(torch.tensor, case[1:])
    model = networks.load("resnet")
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # Captum's hooks need it
    expected = attr.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=y)
    found = cams.guided_backpropagation(case[0], x, y)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_relus_that_are_functions_guide_too():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.two(torch.relu(self.one(x)))

    torch.manual_seed(0)
    model = Functional().eval()
    x, target = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 0])
    active = (model.one(x) > 0).double() * model.two.weight[target].clamp(min=0)
    expected = active.float() @ model.one.weight
    torch.testing.assert_close(cams.guided_backpropagation(model, x, target), expected)


def test_without_a_relu_nothing_guides():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(NotApplicableError, match="no ReLU of the model"):
        cams.guided_gradcam(model.eval(), torch.rand(1, 1, 8, 8), [0])


class Clamp(torch.autograd.Function):
    """A ReLU of one's own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


class Part(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Checkpointed(nn.Sequential):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=True)


@pytest.mark.parametrize("how", ["scripted", "compiled", "checkpointed", "a function"])
def test_relus_that_cannot_be_seen_are_refused_in_each_run(how):
    torch.compiler.reset()  # or torch may have compiled Sequential too often, and run it as it is
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    parts = {
        "scripted": lambda: torch.jit.script(inner),
        "compiled": lambda: torch.compile(inner, backend="aot_eager"),
        "checkpointed": lambda: Checkpointed(*inner),
        "a function": lambda: Part(Clamp.apply),
    }
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), parts[how](), nn.Linear(4, 2)).eval()
    for _ in range(4):  # scripts are compiled in a later one
        with pytest.raises(NotApplicableError, match=r"cannot be seen"):
            cams.guided_backpropagation(model, torch.rand(2, 3), torch.tensor([0, 1]))
