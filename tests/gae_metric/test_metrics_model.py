"""What metrics ask of a model, and that they leave it as it was."""

from __future__ import annotations

import copy
import functools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import gae_metric
from gae_metric import GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, tensor_explainer
from gae_metric.explainers.gradients import saliency
from gae_metric.study.explaining import accepts_tensors
from tests.gae_metric.nets import (
    Counting,
    CountingModel,
    conv_net,
    gradient_tensor,
    images,
    top_classes,
)


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


def case(n=5, dtype=torch.float64):
    net = conv_net(dtype=dtype)
    x = images(n, (3, 10, 10))
    return net, x, top_classes(net, x)


@tensor_explainer
def no_model(model, inputs, targets, **kwargs):
    return inputs


def test_cost_of_gae_and_its_parts():
    net, x, y = case()
    for metric, rows, maps, more in (
        (GAE(schedule="uniform"), 19, 20, 0),
        (GAE(), 14, 15, 5),  # MoRF masks all from state 4 on; the first sample tells if it matters
        (GAE(schedule="uniform", steps=4, n_mosaics=3), 7, 7 + 3, 0),
        (LocalConsistency(schedule="uniform"), 19, 19, 0),
        (LocalFaithfulness(schedule="uniform"), 19, 1, 0),
        (Contrastiveness(), 1, 1, 0),
    ):
        gae_metric.clear_cache()
        model, counting = CountingModel(net), Counting(no_model)
        metric(model, x, y, explain_func=counting, batch_size=20)
        # Six more for the guard: a sample alone, before and after another, and alone at the end.
        assert model.rows == 5 * rows + 6
        assert counting.samples == 5 * maps + more


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_batch_size_bounds_the_rows_of_the_model_and_of_explain_func(batch_size):
    net, x, y = case(n=9)
    model, counting = CountingModel(net), Counting(no_model)
    GAE()(model, x, y, explain_func=counting, batch_size=batch_size)
    assert model.largest <= max(2, batch_size)
    assert counting.largest == batch_size


def state(model):
    return (
        [(name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks),
          len(module._backward_hooks)) for name, module in model.named_modules()],
        [(name, p.requires_grad, p.grad is None, id(p)) for name, p in model.named_parameters()],
        sorted(vars(model)),
    )  # fmt: skip


@pytest.mark.parametrize("cls", [GAE, LocalConsistency, Contrastiveness, LocalFaithfulness])
def test_nothing_is_left_on_the_model(cls):
    net, x, y = case()
    net[0].weight.requires_grad_(False)
    before, values = state(net), copy.deepcopy(net.state_dict())
    x_before, y_before = x.copy(), y.copy()
    cls(disable_warnings=True)(net, x, y, explain_func=gradient_tensor)
    assert state(net) == before
    assert all(value.equal(values[name]) for name, value in net.state_dict().items())
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(y, y_before)


class Raises(nn.Module):
    def __init__(self, net, after):
        super().__init__()
        self.net, self.after = net, after
        self.eval()

    def forward(self, x):
        object.__setattr__(self, "after", self.after - 1)
        if self.after < 0:
            raise ArithmeticError("broken")
        return self.net(x)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_nothing_is_left_on_a_model_that_raises(after):
    net, x, y = case()
    model = Raises(net, after)
    before = state(model)
    with pytest.raises(ArithmeticError, match="broken"):
        GAE()(model, x, y, explain_func=gradient_tensor)
    assert state(model) == before


def test_results_of_a_failed_call_are_not_those_of_the_one_before():
    net, x, y = case()
    metric = GAE()
    metric(net, x, y, explain_func=gradient_tensor)

    def raises(model, inputs, targets, **kwargs):
        raise ArithmeticError("broken")

    with pytest.raises(ArithmeticError):
        metric(net, x, y, explain_func=raises)
    assert len(metric.components) == 0
    assert metric.curves == {}


def test_callers_gradient_mode_does_not_matter():
    net, x, y = case()
    expected = GAE()(net, x, y, explain_func=gradient_tensor)
    for mode in (torch.no_grad, torch.inference_mode):
        gae_metric.clear_cache()
        with mode():
            found = GAE()(net, x, y, explain_func=gradient_tensor)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_model_without_parameters():
    class Sums(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), x[:, 0].mean((1, 2))], dim=1)

    x = np.abs(images(5, (3, 8, 8), np.float32))
    scores = GAE()(Sums().eval(), x, [0, 1, 0, 1, 0], explain_func=gradient_tensor)
    assert np.isfinite(scores).all()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "convert",
    [
        torch.jit.script,
        lambda net: torch.jit.trace(net, torch.ones(1, 3, 10, 10).double()),
        lambda net: torch.jit.freeze(torch.jit.script(net)),
        lambda net: torch.compile(net, backend="eager"),
        lambda net: nn.DataParallel(net).eval(),
    ],
)
def test_models_in_other_forms(convert):
    net, x, y = case()
    expected = GAE(steps=4)(net, x, y, explain_func=saliency)
    found = GAE(steps=4)(convert(net), x, y, explain_func=saliency)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_predict_arguments_reach_the_model():
    net, x, y = case()

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, scale=1.0):
            return self.net(x * scale)

    metric = LocalFaithfulness()
    for scale in (2.0, 0.5):
        found = metric(
            Scaled().eval(),
            x,
            y,
            explain_func=no_model,
            model_predict_kwargs={"scale": scale},
        )
        expected = LocalFaithfulness()(net, x * scale, y, explain_func=no_model)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_lack_of_memory_halves_the_chunk_without_changing_scores(limit):
    net, x, y = case()
    expected = GAE()(net, x, y, explain_func=gradient_tensor)

    @tensor_explainer
    def scarce(model, inputs, targets, **kwargs):
        if len(inputs) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return gradient_tensor(model, inputs, targets)

    with pytest.warns(RuntimeWarning, match="out of memory: explain_func goes on with") as caught:
        found = GAE()(net, x, y, explain_func=scarce, batch_size=16)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    sizes = [16, 8, 4, 2, 1]
    assert len(caught) == next(i for i, size in enumerate(sizes) if size <= limit)


def test_predict_arguments_reach_the_model_that_is_explained():
    """Whatever it returns, explain_func gets the model with them."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv_net(seed=1), conv_net(seed=2)

        def forward(self, x, head="a"):
            return getattr(self, head)(x)

    net, x = Heads().eval(), images(5, (3, 10, 10))
    y = top_classes(net.b, x)
    found, right = GAE(steps=3), GAE(steps=3)
    found(net, x, y, explain_func=saliency, model_predict_kwargs={"head": "b"})
    right(net.b, x, y, explain_func=saliency)
    np.testing.assert_allclose(found.components, right.components, rtol=0, atol=1e-9)


def test_explainers_find_the_layers_of_a_wrapped_model_by_their_names():
    """Whatever these are, also where the logits must be taken out of what it returns."""

    class Names(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.output, self.single = conv_net(), nn.Identity(), nn.Identity()

        def forward(self, x):
            return {"logits": self.single(self.output(self.model(x)))}

    net, x = Names().eval(), images(5, (3, 10, 10))
    y = top_classes(net.model, x)

    def looks(model, inputs, targets):
        assert (model.model, model.output, model.single) == (net.model, net.output, net.single)
        return saliency(model, inputs, targets)

    found = GAE(steps=3)(net, x, y, explain_func=looks)
    np.testing.assert_array_equal(found, GAE(steps=3)(net.model, x, y, explain_func=saliency))


def test_lack_of_memory_while_masking():
    net, x, y = case()
    expected = GAE()(net, x, y, explain_func=no_model)

    class Scarce(CountingModel):
        def forward(self, x):
            if len(x) > 3:
                raise RuntimeError("CUDA error: out of memory")
            return super().forward(x)

    with pytest.warns(RuntimeWarning, match="masking goes on with") as caught:
        found = GAE()(Scarce(net), x, y, explain_func=no_model, batch_size=10)
    assert [str(each.message).split(";")[0] for each in caught] == [
        "out of memory: masking goes on with 2 instead of 5 samples at a time",
        "out of memory: masking goes on with 1 instead of 2 samples at a time",
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GAE(disable_warnings=True)(Scarce(net), x, y, explain_func=no_model, batch_size=10)


@pytest.mark.parametrize("protocol", ["paper", "repository"])
def test_lack_of_memory_on_predictions_and_mosaics(protocol):
    net, x, _ = case(n=12)
    options = {"targets": "predicted", "protocol": protocol, "disable_warnings": True}
    expected = Contrastiveness(**options)(net, x, None, explain_func=no_model)
    gae_metric.clear_cache()

    class Scarce(CountingModel):
        def forward(self, x):
            if len(x) > 2:
                raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas")
            return super().forward(x)

    found = Contrastiveness(**options)(Scarce(net), x, None, explain_func=no_model, batch_size=12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_lack_of_memory_for_a_single_sample_is_an_error():
    net, x, y = case()

    def scarce(model, inputs, targets, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with (
        pytest.warns(RuntimeWarning, match="out of memory"),
        pytest.raises(torch.OutOfMemoryError),
    ):
        GAE()(net, x, y, explain_func=scarce)


class Marked:
    """An explainer in all forms that a class has."""

    @tensor_explainer
    def method(self, model, inputs, targets, **kwargs):
        return gradient_tensor(model, inputs, targets)

    @classmethod
    @tensor_explainer
    def of_class(cls, model, inputs, targets, **kwargs):
        return gradient_tensor(model, inputs, targets)

    @tensor_explainer
    @classmethod
    def marked_last(cls, model, inputs, targets, **kwargs):
        return gradient_tensor(model, inputs, targets)

    @tensor_explainer
    @staticmethod
    def static(model, inputs, targets, **kwargs):
        return gradient_tensor(model, inputs, targets)

    @tensor_explainer
    def __call__(self, model, inputs, targets, **kwargs):
        assert isinstance(inputs, torch.Tensor)
        return gradient_tensor(model, inputs, targets)


@pytest.mark.parametrize("form", ["method", "of_class", "marked_last", "static", "__call__"])
def test_methods_may_take_tensors(form):
    net, x, y = case()
    function = Marked() if form == "__call__" else getattr(Marked(), form)
    assert accepts_tensors(functools.partial(function, option=1))
    metric = LocalConsistency(steps=3)
    assert metric(net, x, y, explain_func=function) == metric(
        net, x, y, explain_func=gradient_tensor
    )
    expected = gradient_tensor(net, x, y)
    np.testing.assert_array_equal(function(net, x, y), expected)
    np.testing.assert_array_equal(function(net, inputs=x, targets=y, option=1), expected)
    with pytest.raises(TypeError, match="targets"):
        function(net, torch.tensor(x))


def test_tensor_marks():
    def plain(model, inputs, targets):
        return inputs

    assert not accepts_tensors(plain)
    assert not accepts_tensors(functools.partial(plain))
    assert accepts_tensors(functools.partial(gradient_tensor, option=1))
    assert accepts_tensors(tensor_explainer(plain))
    assert not accepts_tensors(plain)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_model_on_cuda_is_used_there_and_stays():
    net, x, y = case()
    expected = GAE()(net, x, y, explain_func=gradient_tensor)
    moved = copy.deepcopy(net).cuda()
    found = GAE()(moved, x, y, explain_func=gradient_tensor)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert next(moved.parameters()).is_cuda
    found = GAE()(net, x, y, explain_func=gradient_tensor, device="cuda")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not next(net.parameters()).is_cuda
