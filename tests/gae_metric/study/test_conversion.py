"""Inputs, classes and maps of any kind: what metrics take, and explainers, and quantus.evaluate."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import quantus
import scipy.sparse
import torch
from quantus.helpers.enums import DataType
from torch import nn

from abslrp.arrays import as_numbers
from gae_metric import GAE, LocalConsistency, LocalFaithfulness, ProbeSet, tensor_explainer
from gae_metric.explainers import EXPLAINERS, explainer, input_x_gradient, saliency
from gae_metric.study.conversion import as_tensor, at_work, like
from tests.gae_metric.nets import conv_net, images, series_net, tabular_net, top_classes

#: Whole numbers, which every type holds.
WHOLE = np.random.default_rng(0).integers(0, 200, (5, 3, 8, 8))

FORMS = {
    "float64": lambda x: x.astype(np.float64),
    "float32": lambda x: x.astype(np.float32),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "big endian": lambda x: x.astype(">f4"),
    "big endian integers": lambda x: x.astype(">i2"),
    **{f"{kind}": lambda x, kind=kind: x.astype(kind) for kind in ("uint8", "int16", "int64")},
    **{f"{kind}": lambda x, kind=kind: x.astype(kind) for kind in ("uint16", "uint32", "uint64")},
    "flipped view": lambda x: np.ascontiguousarray(x[:, :, ::-1, ::-1])[:, :, ::-1, ::-1],
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "strides": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "Fortran order": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0),
    "read only": lambda x: np.broadcast_to(x, x.shape),
    "masked without a mask": np.ma.asarray,
    "nested lists": lambda x: x.tolist(),
    "list of arrays": list,
    "list of tensors": lambda x: list(torch.tensor(x).double().requires_grad_()),
    "tensor": torch.tensor,
    "uint16 tensor": lambda x: torch.tensor(x.astype(np.uint16)),
    "bfloat16": lambda x: torch.tensor(x).bfloat16(),
    "with gradient": lambda x: torch.tensor(x).double().requires_grad_(),
    "flipped tensor": lambda x: torch.tensor(x[..., ::-1].copy()).flip(-1),
    "channels last": lambda x: torch.tensor(x).float().to(memory_format=torch.channels_last),
    "sparse": lambda x: torch.tensor(x).to_sparse(),
    "negative view": lambda x: negative_view(torch.tensor(x).double()),
}


def negative_view(values):
    """What the imaginary part of a conjugate is."""
    return torch.complex(torch.zeros_like(values), -values).conj().imag


@pytest.fixture(scope="module")
def whole():
    net = conv_net()
    net.insert(0, Scaled())
    return net, top_classes(net, WHOLE)


@pytest.mark.parametrize("kind", ["Float64", "Int64", "Float32", "boolean"])
def test_what_a_table_lacks_is_not_known(kind):
    """Pandas marks it with an object of its own, which no array of numbers holds."""
    table = pd.DataFrame({"a": [1, None, 0], "b": [1, 0, 1]}).astype(kind)
    expected = np.array([[1, 1], [np.nan, 0], [0, 1]])
    np.testing.assert_array_equal(as_tensor(table, "x"), expected)
    np.testing.assert_array_equal(as_tensor(table["a"], "x"), expected[:, 0])
    np.testing.assert_array_equal(as_numbers(table, "x"), expected)
    np.testing.assert_array_equal(as_numbers(table["a"], "x"), expected[:, 0])
    texts = pd.DataFrame({"a": ["1", None]}, dtype=object)
    with pytest.raises(ValueError, match="x: expected an array or a tensor of numbers"):
        as_tensor(texts, "x")


def test_samples_that_a_table_lacks_values_of_have_no_score():
    net, x = tabular_net(), images(5, (7,))
    table, y = pd.DataFrame(x).astype("Float64"), top_classes(net, x)
    maps = table.abs().copy()
    table.iloc[1, 2] = maps.iloc[3, 0] = pd.NA
    metric = LocalFaithfulness(disable_warnings=True)
    metric.data_applicability = {*metric.data_applicability, DataType.TABULAR}
    scores = metric(net, table, y, a_batch=maps)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [1, 3]


class Scaled(nn.Module):
    def forward(self, x):
        return x / 100 - 1


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_inputs_gives_the_scores_and_maps(whole, form):
    """As integers of eight bits at most, the same in every type."""
    net, y = whole
    values = WHOLE // 2 if form == "bfloat16" else WHOLE
    expected = GAE(disable_warnings=True)(net, values, y, explain_func=saliency)
    given = FORMS[form](values)
    found = GAE(disable_warnings=True)(net, given, y, explain_func=saliency)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    for name in ("Saliency", "InputXGradient", "IntegratedGradients", "GradCAM", "Random"):
        function = EXPLAINERS[name]
        maps = function(net, given, y)
        right = function(net, values.astype(np.float64), y)
        assert isinstance(maps, torch.Tensor) == isinstance(given, torch.Tensor)
        maps = as_tensor(maps, "maps").double().numpy()
        coarse = form in ("bfloat16", "float16")  # what comes back is of the type of the inputs
        np.testing.assert_allclose(
            maps, right, rtol=0, atol=(0.02 if coarse else 1e-5) * right.max()
        )


@pytest.mark.parametrize("form", [f for f in FORMS if "list" not in f and f != "sparse"])
def test_quantus_evaluate_takes_them(whole, form):
    net, y = whole
    given = FORMS[form](WHOLE)
    if isinstance(given, torch.Tensor):
        pytest.skip("quantus.evaluate wants arrays")
    expected = GAE(disable_warnings=True)(net, WHOLE, y, explain_func=input_x_gradient)
    (found,) = quantus.evaluate(
        {"GAE": GAE(disable_warnings=True)},
        {"mine": input_x_gradient},
        net,
        given,
        y,
        explain_func_kwargs={},
    ).values()
    # evaluate's maps of x_batch are of its type.
    np.testing.assert_allclose(found["GAE"], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda y: y[::-1].copy()[::-1],
        lambda y: y.astype(">i4"),
        lambda y: y.astype(np.uint16),
        lambda y: torch.tensor(y).int(),
        lambda y: list(torch.tensor(y)),
    ],
)
def test_every_form_of_classes(whole, form):
    net, y = whole
    expected = saliency(net, WHOLE, y)
    np.testing.assert_array_equal(saliency(net, WHOLE, form(y)), expected)
    metric = LocalConsistency(disable_warnings=True)
    found = metric(net, WHOLE, form(y), explain_func=saliency)
    assert found == metric(net, WHOLE, y, explain_func=saliency)


def test_a_map_comes_back_as_the_input_was():
    maps = torch.ones(1, 2, dtype=torch.float64)
    assert like(maps, np.ones((1, 2), ">f4")).dtype == np.float32
    assert like(maps, np.ones((1, 2), np.uint8)).dtype == np.float64
    assert like(maps, torch.ones(1, 2).half()).dtype == torch.float16
    assert like(maps.bfloat16(), [[1, 2]]).dtype == np.float32


MAPS = {
    "sparse COO": lambda a: torch.tensor(a).to_sparse(),
    "sparse CSR": lambda a: torch.tensor(a).to_sparse_csr(),
    "scipy CSR": scipy.sparse.csr_array,
    "scipy COO matrix": scipy.sparse.coo_matrix,
    "list of tensors with gradients": lambda a: list(torch.tensor(a).requires_grad_()),
    "masked without a mask": np.ma.asarray,
    "big endian": lambda a: a.astype(">f8"),
    "flipped": lambda a: a[:, ::-1].copy()[:, ::-1],
    "negative view of tensors": lambda a: negative_view(torch.tensor(a)),
}


@pytest.mark.parametrize("form", MAPS)
def test_every_form_of_maps(form):
    net, x = tabular_net(), images(5, (7,))
    y = top_classes(net, x)
    expected = LocalConsistency(disable_warnings=True)(net, x, y, explain_func=input_x_gradient)

    def function(model, inputs, targets, **kwargs):
        return MAPS[form](input_x_gradient(model, inputs, targets))

    metric = LocalConsistency(disable_warnings=True)
    assert metric(net, x, y, explain_func=function) == expected
    given = MAPS[form](input_x_gradient(net, x, y))
    assert metric(net, x, y, a_batch=given, explain_func=function) == expected
    if "tensors" in form or "masked" in form or form == "sparse COO":
        probe = ProbeSet.build(net, x, y, metric="LocalConsistency")
        maps = {
            name: np.abs(row)
            for names, inputs, _ in probe.explain_items()
            for name, row in zip(names, inputs, strict=True)
        }
        given = {name: MAPS[form](row[None])[0] for name, row in maps.items()}
        scores = probe.score(given, disable_warnings=True)
        assert scores.equals(probe.score(maps, disable_warnings=True))


def test_maps_may_have_one_channel_in_some_calls():
    """A map with fewer channels than the input is that of each channel."""
    net, x = conv_net(), images(5, (3, 10, 10))
    y = top_classes(net, x)
    calls = []

    def function(model, inputs, targets, **kwargs):
        calls.append(len(inputs))
        maps = saliency(model, inputs, targets).max(axis=1, keepdims=True)
        return np.repeat(maps, 3, axis=1) if len(calls) % 2 else maps

    found, expected = (LocalConsistency(disable_warnings=True) for _ in range(2))
    found(net, x, y, explain_func=function, batch_size=7)
    expected(net, x, y, explain_func=lambda **k: saliency(**k).max(axis=1))
    np.testing.assert_allclose(found.components, expected.components, rtol=0, atol=1e-9)


def test_what_a_mask_hides_is_not_known():
    """Neither the value below the mask nor 0: the sample has no score, and a warning names it."""
    net, x = tabular_net(), images(5, (7,))
    y = top_classes(net, x)
    hidden = np.ma.array(x, mask=np.zeros_like(x, dtype=bool))
    hidden[2, 3] = np.ma.masked
    for form in (hidden, list(hidden)):
        with pytest.warns(RuntimeWarning, match="features are not finite: samples 2"):
            scores = LocalConsistency()(net, form, y, explain_func=input_x_gradient)
        assert np.isnan(scores).tolist() == [False, False, True, False, False]
    maps = np.ma.masked_where(hidden.mask, np.abs(x))
    with pytest.warns(RuntimeWarning, match="attributions are not finite: samples 2"):
        scores = LocalFaithfulness()(net, x, y, a_batch=maps)
    assert np.isnan(scores).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    "values", ["text", None, object(), [1, "a"], [[1], [1, 2]], np.array(["a"])]
)
def test_what_holds_no_numbers_is_refused(values):
    with pytest.raises(ValueError, match="x: expected an array or a tensor of numbers, got"):
        as_tensor(values, "x")


def test_arrays_of_several_shapes_are_named():
    with pytest.raises(ValueError, match=r"got list of ndarray of several shapes$"):
        as_tensor([np.zeros((3, 4)), np.zeros((3, 5))], "x")


class Returned:
    def __init__(self, logits):
        self.logits = logits


class Wrapped(nn.Module):
    """A model that returns what Hugging Face's do."""

    def __init__(self, net, kind):
        super().__init__()
        self.net, self.kind = net, kind
        self.eval()

    def forward(self, x):
        return self.kind(self.net(x))


KINDS = [Returned, lambda z: {"logits": z, "loss": None}, lambda z: (z,), lambda z: [z]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*EXPLAINERS, "captum:DeepLift", "captum:InputXGradient"])
def test_models_that_return_their_logits_in_something(kind, name):
    if name == "absLRP":
        pytest.skip("tests/abslrp")
    net, x = conv_net(), images(4, (3, 10, 10))
    if "DeepLift" in name:  # which refuses layers in place
        net[2], net[5] = nn.ReLU(), nn.ReLU()
    y = top_classes(net, x)
    function = explainer(name)[1]
    model = Wrapped(net, kind)
    np.testing.assert_array_equal(function(model, x, y), function(net, x, y))
    (found,) = quantus.evaluate(
        {"GAE": GAE(disable_warnings=True)}, {name: function}, model, x, y, explain_func_kwargs={}
    ).values()
    assert found["GAE"] == GAE(disable_warnings=True)(net, x, y, explain_func=function)


def test_a_layer_for_gradcam_has_the_models_own_name():
    net, x = conv_net(), images(4, (3, 10, 10))
    y = top_classes(net, x)
    function = functools.partial(EXPLAINERS["GradCAM"], layer="net.4")
    expected = GAE(disable_warnings=True)(
        net, x, y, explain_func=functools.partial(EXPLAINERS["GradCAM"], layer="4")
    )
    for model in (Wrapped(net, lambda z: {"logits": z}), Wrapped(net, lambda z: z)):
        assert GAE(disable_warnings=True)(model, x, y, explain_func=function) == expected


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("name", [*EXPLAINERS, "captum:Saliency"])
def test_no_mode_of_the_caller_is_in_the_way(mode, name):
    net, x = conv_net(), images(4, (3, 10, 10))
    y = top_classes(net, x)
    function = explainer(name)[1]
    expected = function(net, x, y)
    with mode():
        np.testing.assert_allclose(function(net, x, y), expected, rtol=1e-9)
        made = torch.tensor(x)  # an inference tensor
        found = function(net, made, torch.tensor(y)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        scores = quantus.evaluate(
            {"GAE": GAE(disable_warnings=True)}, {"m": function}, net, x, y, explain_func_kwargs={}
        )
    right = GAE(disable_warnings=True)(net, x, y, explain_func=function)
    np.testing.assert_allclose(scores["m"]["GAE"], right, rtol=0, atol=1e-9)


@tensor_explainer
def on_tensors(model, inputs, targets, **kwargs):
    images = inputs.clone().requires_grad_()
    chosen = model(images).gather(1, targets[:, None])
    (gradient,) = torch.autograd.grad(chosen.sum(), images)
    return gradient.square()


def test_a_tensor_explainer_takes_arrays_where_quantus_calls_it():
    net, x = conv_net(), images(4, (3, 10, 10))
    y = top_classes(net, x)
    expected = GAE(disable_warnings=True)(net, x, y, explain_func=on_tensors)
    for given in (x, x.astype(">f8"), x[::-1].copy()[::-1]):
        maps = on_tensors(net, given, y)
        assert isinstance(maps, np.ndarray)
        with torch.inference_mode():
            np.testing.assert_array_equal(on_tensors(net, given, y), maps)
        found = quantus.evaluate(
            {"GAE": GAE(disable_warnings=True)}, {"m": on_tensors}, net, given, y,
            explain_func_kwargs={},
        )  # fmt: skip
        np.testing.assert_allclose(found["m"]["GAE"], expected, rtol=0, atol=1e-9)
    assert isinstance(on_tensors(net, torch.tensor(x), torch.tensor(y)), torch.Tensor)


def test_recurrent_layers_are_used_without_cudnn():
    """Which refuses their gradients in evaluation mode; it is back afterwards."""
    seen = set()

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)
            self.eval()

        def forward(self, x):
            seen.add(torch.backends.cudnn.enabled)
            return self.head(self.rnn(x.mT)[0][:, -1])

    enabled = torch.backends.cudnn.enabled
    x = images(5, (2, 16), np.float32)
    GAE(disable_warnings=True)(Recurrent(), x, [0, 1, 2, 0, 1], explain_func=saliency)
    saliency(Recurrent(), x, [0, 1, 2, 0, 1])
    assert seen == {False}
    assert torch.backends.cudnn.enabled == enabled
    seen.clear()
    net = series_net()
    net.register_forward_hook(lambda *_: seen.add(torch.backends.cudnn.enabled))
    saliency(net, x, 0)
    assert seen == {enabled}


def test_the_last_thread_turns_cudnn_on_again():
    """The first did, so that the second had no gradients."""
    enabled, net = torch.backends.cudnn.enabled, nn.LSTM(2, 4)
    inside, left = threading.Event(), threading.Event()

    def second():
        with at_work(net):
            inside.set()
            assert left.wait(60)
            return torch.backends.cudnn.enabled

    with ThreadPoolExecutor(1) as threads:
        with at_work(net):
            work = threads.submit(second)
            assert inside.wait(60)
        left.set()
        assert work.result(60) is False
    assert torch.backends.cudnn.enabled == enabled


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("layer", [None, "4"])
@pytest.mark.parametrize(
    "convert",
    [
        torch.jit.script,
        lambda net: torch.jit.trace(net, torch.ones(1, 3, 10, 10).double()),
        lambda net: torch.jit.freeze(torch.jit.script(net)),
        lambda net: nn.Sequential(torch.jit.script(net)).eval(),
    ],
)
def test_gradcam_says_that_torchscript_cannot_be_watched(convert, layer):
    net, x = conv_net(), images(2, (3, 10, 10))
    model = convert(net)
    if layer is not None:
        layer = next((n for n, _ in model.named_modules() if n.endswith(layer)), None)
    with pytest.raises(ValueError, match="TorchScript, whose calls and layers cannot be watched"):
        EXPLAINERS["GradCAM"](model, x, [0, 1], layer=layer)


def test_chunks_come_as_a_list_too():
    net, x = conv_net(), images(4, (3, 10, 10))
    probe = ProbeSet.build(net, x, top_classes(net, x), steps=3)
    chunks = [(ids, np.abs(inputs)) for ids, inputs, _ in probe.explain_items(5)]
    expected = probe.score(iter(chunks), disable_warnings=True)
    for form in (chunks, tuple(chunks), [[tuple(ids), maps] for ids, maps in chunks]):
        assert probe.score(form, disable_warnings=True).equals(expected)
    maps = np.concatenate([maps for _, maps in chunks])
    assert probe.score(list(maps), disable_warnings=True).equals(expected)
    nested = probe.score(maps.tolist(), disable_warnings=True)
    np.testing.assert_allclose(nested, expected, rtol=0, atol=1e-6)
