"""Each of Captum's methods that is offered works with its defaults; the others say why not."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from gae_metric.demo import digits, networks
from gae_metric.explainers.captum import (
    _DRAWING,
    _REFUSED,
    _methods,
    attributed,
    captum_explainer,
    seeded,
)
from gae_metric.explainers.grad_cam import NotApplicableError
from gae_metric.explainers.gradients import saliency

METHODS = sorted(_methods(captum.attr))
#: Evaluations of the model for each feature, or several: half a minute an image and more.
MANY = ("FeatureAblation", "ShapleyValueSampling")
#: Those that change the gradient of ReLUs.
GUIDED = ("GuidedBackprop", "Deconvolution")


@pytest.mark.parametrize("network", networks.NAMES)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in MANY])
@pytest.mark.filterwarnings("ignore:captum.DeepLift:RuntimeWarning")
def test_runs_with_its_defaults(name, network):
    x, y = digits.load("test", n=2)
    if name in GUIDED and network == "vit":
        with pytest.raises(NotApplicableError, match=r"nn\.ReLU modules alone"):
            captum_explainer(name)[1](networks.load(network), x, y)
        return
    maps = captum_explainer(name)[1](networks.load(network), x, y)
    assert maps.shape == x.shape
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


@pytest.fixture
def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            *(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
            nn.Linear(24, 5),
        ).eval()
    return net, np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32), np.arange(4)


@pytest.mark.parametrize("name", sorted(_DRAWING))
def test_maps_of_methods_that_draw_do_not_depend_on_the_batch(name, small):
    net, x, y = small
    explain = captum_explainer(name)[1]
    together = explain(net, x, y, n_samples=4)
    order = [2, 0, 3, 1]
    tolerance = {"rtol": 0, "atol": 1e-5 * np.abs(together).max()}
    assert together.std() > 0
    np.testing.assert_allclose(
        explain(net, x[1:2], y[1:2], n_samples=4), together[1:2], **tolerance
    )
    np.testing.assert_allclose(
        explain(net, x[order], y[order], n_samples=4, batch_size=3), together[order], **tolerance
    )
    other = captum_explainer(name, seed=1)[1](net, x, y, n_samples=4)
    assert np.abs(other - together).max() > 0.01 * np.abs(together).max()


@pytest.mark.parametrize("name", METHODS)
def test_torchs_default_device_does_not_matter(name, small):
    net, x, y = small
    explain = captum_explainer(name)[1]
    expected = explain(net, x, y)
    torch.set_default_device("meta")
    try:
        found = explain(net, x, y)
    finally:
        torch.set_default_device(None)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", METHODS)
def test_torchs_default_type_does_not_matter(name, small):
    net, x, y = small
    explain = captum_explainer(name)[1]
    expected = explain(net, x, y)
    torch.set_default_dtype(torch.float64)
    try:
        found = explain(net, x, y)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == np.float32
    assert np.abs(found).max() > 0
    if name not in ("KernelShap", "Lime"):  # which draw other numbers of another type
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_models_of_16_bits_are_explained(name, dtype, small):
    net, x, y = small
    explain = captum_explainer(name)[1]
    expected = explain(net, x, y)
    found = explain(net.to(dtype), x, y)
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0
    if name not in _DRAWING:
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_overwrites_its_input_has_the_same_maps(name, small):
    net, x, y = small

    class Scaled(nn.Module):
        def __init__(self, in_place):
            super().__init__()
            self.net, self.in_place = net, in_place
            self.eval()

        def forward(self, x):
            return self.net(x.sub_(0.3).mul_(2) if self.in_place else (x - 0.3) * 2)

    explain = captum_explainer(name)[1]
    np.testing.assert_array_equal(explain(Scaled(True), x, y), explain(Scaled(False), x, y))


@pytest.mark.parametrize("name", _REFUSED)
def test_is_not_offered(name):
    assert hasattr(captum.attr, name)
    assert name not in METHODS
    with pytest.raises(ValueError, match=f"captum:{name} is not offered: {_REFUSED[name][:12]}"):
        captum_explainer(name.lower())


class Net(nn.Module):
    """Two layers, and what is between them: a module, a function, or both."""

    def __init__(self, module=None, function=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 9, 3)
        self.module, self.function, self.pool = module, function, nn.MaxPool2d(2)

    def forward(self, x):
        x = self.first(x)
        x = x if self.module is None else self.module(x)
        x = x if self.function is None else self.function(x - 0.1)
        return self.last(self.pool(x).flatten(1))


X = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
SEEN = [Net(nn.ReLU()), Net(nn.ReLU(inplace=True))]
UNSEEN = {
    "a function": Net(function=torch.relu),
    "a module and a function": Net(nn.ReLU(), torch.relu),
    "ReLU6": Net(nn.ReLU6()),
    "none": Net(nn.GELU()),
    "a scripted part": Net(torch.jit.script(nn.Sequential(nn.ReLU()))),
}


@pytest.mark.parametrize("name", GUIDED)
def test_guided_methods_refuse_what_captum_does_not_see(name):
    explain = captum_explainer(name)[1]
    for net in SEEN:
        assert explain(net.eval(), X, [0, 1, 2]).any()
    for net in UNSEEN.values():
        with pytest.raises(NotApplicableError, match=name):
            explain(net.eval(), X, [0, 1, 2])
        assert not any(one._forward_hooks for one in net.modules())


@pytest.mark.parametrize("what", ["a function", "a module and a function", "none"])
def test_deeplift_that_does_not_add_up_is_warned_of(what):
    explain = captum_explainer("DeepLift")[1]
    for net in SEEN[:1]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            maps = explain(net.eval(), X, [0, 1, 2])
        with torch.no_grad():
            change = (net(X) - net(torch.zeros(1, 3, 6, 6)))[range(3), range(3)]
        torch.testing.assert_close(maps.flatten(1).sum(1), change, rtol=1e-3, atol=1e-4)
    with pytest.warns(RuntimeWarning, match="does not add up"):
        explain(UNSEEN[what].eval(), X, [0, 1, 2])


@pytest.mark.parametrize("name", [*GUIDED, "DeepLift"])
def test_a_compiled_model_has_the_maps_of_what_was_compiled(name):
    explain = captum_explainer(name)[1]
    maps = explain(torch.compile(SEEN[0].eval(), backend="aot_eager"), X, [0, 1, 2])
    torch.testing.assert_close(maps, explain(SEEN[0], X, [0, 1, 2]))


@pytest.mark.parametrize("name", [*GUIDED, "DeepLift"])
def test_another_thread_does_not_meet_hooks(name):
    """What another method does with the model in the meantime is as without this one."""
    net, own = SEEN[0].eval(), threading.get_ident()
    expected = saliency(net, X, [0, 1, 2])
    found = []

    def meanwhile(*call):
        if threading.get_ident() == own:
            with ThreadPoolExecutor(1) as pool:
                found.append(pool.submit(saliency, net, X, [0, 1, 2]).result())

    with net.last.register_forward_hook(meanwhile):
        captum_explainer(name)[1](net, X, [0, 1, 2])
    assert len(found) > 0
    for one in found:
        torch.testing.assert_close(one, expected)


def test_threads_draw_from_the_seeded_generators_one_after_the_other():
    expected = []
    for seed in (1, 2):
        with seeded(seed):
            expected.append(torch.rand(2))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    inside, ended = threading.Event(), threading.Event()

    def other():
        with seeded(2):
            inside.set()
            ended.wait(60)
            return torch.rand(2)

    with ThreadPoolExecutor(1) as pool:
        with seeded(1):
            first = torch.rand(1)
            second = pool.submit(other)
            inside.wait(0.5)
            first = torch.cat([first, torch.rand(1)])
        ended.set()
        torch.testing.assert_close(first, expected[0])
        torch.testing.assert_close(second.result(), expected[1])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_threads_leave_the_filters_of_warnings_as_they_were():
    """The last one left that of the first, which hides Captum's warnings, for ever."""
    told, inside, left = warnings.filters, threading.Event(), threading.Event()
    x, work = torch.ones(1), []

    class First:
        def attribute(self, x, target):
            work.append(threads.submit(attributed, Second(), x, target))
            inside.wait(1)
            return x

    class Second:
        def attribute(self, x, target):
            inside.set()
            assert left.wait(60)
            assert warnings.filters is not told
            return x

    with ThreadPoolExecutor(1) as threads:
        attributed(First(), x, x)
        left.set()
        assert work[0].result(60) == 1
    assert warnings.filters is told
