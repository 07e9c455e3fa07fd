"""What a call notices of its model: changes before it, what explaining leaves, what rows do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import gae_metric
from gae_metric import GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, ProbeSet
from gae_metric.companions import ROAD, Focus
from gae_metric.explainers import input_x_gradient, saliency
from tests.gae_metric.nets import CountingModel, conv_net, images, tabular_net, top_classes


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


@pytest.fixture
def case():
    net = conv_net()
    x = images(8, (3, 10, 10))
    return net, x, top_classes(net, x)


def scored(net, x, y, explain_func=input_x_gradient, cls=GAE, **options):
    """Components and the warnings that tell of the model."""
    metric = cls(**options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metric(net, x, y, explain_func=explain_func)
    texts = [str(each.message) for each in caught]
    return metric.components.to_numpy(), [t for t in texts if t.startswith(("model", "explain_f"))]


class Flagged(nn.Module):
    """A network whose plain state, which no fingerprint sees, changes what it computes."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.power, self.adapter = 1.0, {"off": False}
        self.steep = 1.0
        self.eval()

    def __repr__(self):
        return "Flagged()"

    def forward(self, x):
        if self.adapter["off"]:
            x = x.flip(-1)
        # The same output, and another gradient.
        x = x * self.steep - (x * (self.steep - 1)).detach()
        return self.net(x.abs().pow(self.power) * x.sign())


class StatefulHook:
    def __init__(self):
        self.factor = 1.0

    def __call__(self, module, args, output):
        return output * self.factor


def flag(model, hook, closure):
    model.power = 2.0


def nested(model, hook, closure):
    model.adapter["off"] = True


def hook_state(model, hook, closure):
    hook.factor = -1.0


def closure_state(model, hook, closure):
    closure.append(0)


def gradient_state(model, hook, closure):
    model.steep = 3.0


@pytest.mark.parametrize(
    "change", [flag, nested, hook_state, closure_state, gradient_state], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("cls", [GAE, LocalFaithfulness, Contrastiveness])
def test_plain_state_that_changes_what_the_model_computes(case, change, cls):
    net, x, y = case
    model, hook, closure = Flagged(net), StatefulHook(), []
    net[2].register_forward_hook(hook)
    output = {"output": lambda logits: logits.roll(len(closure), 1)}
    if cls is Contrastiveness and change is gradient_state:
        pytest.skip("it takes no gradient")
    before, said = scored(model, x, y, cls=cls, **output)
    assert not said
    change(model, hook, closure)
    found, said = scored(model, x, y, cls=cls, **output)
    assert len(said) == 1
    assert "has changed since the last call" in said[0]
    right, _ = scored(model, x, y, cls=cls, cache=False, **output)
    np.testing.assert_array_equal(found, right)
    if change is not gradient_state:
        assert np.abs(found - before).max() > 1e-3
    # What was computed anew is shared.
    hits = gae_metric.cache_info().hits
    again, said = scored(model, x, y, cls=cls, **output)
    assert not said
    assert gae_metric.cache_info().hits >= hits + len(x)
    np.testing.assert_array_equal(again, found)


def test_the_check_of_what_is_used_again_costs_a_pass_a_call(case):
    net, x, y = case
    model = CountingModel(net)
    scored(model, x, y, cls=LocalFaithfulness)
    rows = model.rows
    scored(model, x, y, cls=LocalFaithfulness)
    # 8 explanations, the guard's 6 rows, and one sample of those that are used again.
    assert model.rows == rows + 8 + 6 + 1


@pytest.mark.parametrize("cls", [GAE, LocalConsistency, Contrastiveness])
def test_without_the_cache_nothing_is_shared(case, cls):
    net, x, y = case
    first, _ = scored(net, x, y, cls=cls, cache=False)
    assert gae_metric.cache_info().entries == gae_metric.cache_info().misses == 0
    shared, _ = scored(net, x, y, cls=cls)
    np.testing.assert_array_equal(first, shared)
    assert gae_metric.cache_info().entries
    assert cls(cache=False).get_params["cache"] is False


def forward_hook(net):
    return net[3].register_forward_hook(lambda m, a, o: o * 0.5)


def pre_hook(net):
    return net[4].register_forward_pre_hook(lambda m, a: (a[0] * 0.5,))


def backward_hook(net):
    return net[8].register_full_backward_hook(lambda m, gi, go: (gi[0].clamp(min=0),))


def backward_pre_hook(net):
    return net[8].register_full_backward_pre_hook(lambda m, go: (go[0].clamp(min=0),))


def global_hook(net):
    return nn.modules.module.register_module_forward_hook(
        lambda m, a, o: o * 0.5 if isinstance(m, nn.ReLU) else None
    )


class Undo:
    def __init__(self, undo):
        self.remove = undo


def train_mode(net):
    net.train()
    return Undo(net.eval)


def train_layer(net):
    net[1].train()
    return Undo(net.eval)


def weights(net):
    old = net[8].weight.data.clone()
    net[8].weight.data.neg_()
    return Undo(lambda: net[8].weight.data.copy_(old))


def patched(net):
    net[2].forward = lambda x: x.clamp(max=0.5)
    return Undo(lambda: net[2].__dict__.pop("forward"))


def invisible(net):
    old, net[4]._conv_forward = (
        net[4]._conv_forward,
        lambda x, w, b: nn.functional.conv2d(x, -w, b, padding=1),
    )
    return Undo(lambda: setattr(net[4], "_conv_forward", old))


@pytest.mark.parametrize("call", [1, 3])
@pytest.mark.parametrize(
    ("leave", "what"),
    [
        (forward_hook, "the hooks of the layer '3'"),
        (pre_hook, "the hooks of the layer '4'"),
        (backward_hook, "the hooks of the layer '8'"),
        (backward_pre_hook, "the hooks of the layer '8'"),
        (global_hook, "the hooks of all modules"),
        (train_mode, "the training mode of the model"),
        (train_layer, "the training mode of the layer '1'"),
        (weights, "the values of '8.weight'"),
        (patched, "the forward method of the layer '2'"),
        (invisible, "something that cannot be seen"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_an_explainer_leaves_is_named_and_shared_with_nobody(case, leave, what, call):
    net, x, y = case
    right, _ = scored(net, x, y, cls=LocalConsistency, cache=False)
    left, calls = [], []
    state = {name: value.clone() for name, value in net.state_dict().items()}

    def dirty(model, inputs, targets, **kwargs):
        maps = np.abs(inputs)
        calls.append(len(inputs))
        if len(calls) == call:
            left.append(leave(net))
        return maps

    _, said = scored(net, x, y, dirty, cls=LocalConsistency, explain_batch_size=20)
    assert len(said) == 1
    assert said[0].startswith("explain_func: it left the model changed")
    assert what in said[0]
    assert gae_metric.cache_info().entries == 0
    left[0].remove()
    net.load_state_dict(state)
    found, said = scored(net, x, y, cls=LocalConsistency)
    assert not said
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    ("leave", "hook"),
    [
        ("register_forward_hook", lambda module, inputs, output: 2 * output.flip(-1)),
        ("register_full_backward_hook", lambda module, given, got: (2 * given[0].flip(-1),)),
    ],
)
def test_what_an_explainer_leaves_on_the_logits_changes_no_score(case, leave, hook):
    """With ``output=`` it gets a wrapper of the model, and the one that is evaluated is another."""
    net, x, y = case

    def dirty(model, inputs, targets, **kwargs):
        getattr(model, leave)(hook)
        return input_x_gradient(net, inputs, targets)

    def found(explain_func):
        metric = LocalConsistency(output=same, disable_warnings=True)
        metric(net, x, y, explain_func=explain_func, batch_size=2)
        return metric.components

    right = found(input_x_gradient)
    gae_metric.clear_cache()
    assert found(dirty).equals(right)
    assert found(input_x_gradient).equals(right)


def same(logits):
    return logits


@pytest.mark.parametrize("cls", [ROAD, Focus, Contrastiveness])
def test_every_metric_tells_what_is_left(case, cls):
    net, x, _ = case
    left = []

    def dirty(model, inputs, targets, **kwargs):
        left.append(forward_hook(net))
        return np.abs(inputs)

    _, said = scored(net, x, np.arange(8) % 2, dirty, cls=cls)
    assert [text[:40] for text in said] == ["explain_func: it left the model changed "]


def test_an_explainer_that_fails_leaves_nothing_shared(case):
    net, x, y = case
    calls = []

    def dirty(model, inputs, targets, **kwargs):
        calls.append(forward_hook(net) if len(calls) == 1 else None)
        if len(calls) == 3:
            raise ArithmeticError("broken")
        return np.abs(inputs)

    with pytest.warns(RuntimeWarning, match="left the model"), pytest.raises(ArithmeticError):
        LocalConsistency(explain_batch_size=30)(net, x, y, explain_func=dirty)
    assert gae_metric.cache_info().entries == 0


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("cls", [LocalConsistency, Focus, ROAD])
def test_what_an_explainer_leaves_when_it_fails_is_told(case, cls, call):
    """No one is there to take the hook away again, and the next method would be scored with it."""
    net, x, _ = case
    calls = []

    def broken(model, inputs, targets, **kwargs):
        calls.append(0)
        if len(calls) == call:
            forward_hook(net)
            raise ArithmeticError("broken")
        return np.abs(inputs)

    hooks = r"left the model changed \(the hooks of the layer '3'\)"
    with pytest.warns(RuntimeWarning, match=hooks), pytest.raises(ArithmeticError, match="broken"):
        cls(explain_batch_size=1)(net, x, np.arange(8) % 2, explain_func=broken)
    assert gae_metric.cache_info().entries == 0


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("cls", [LocalConsistency, ROAD])
def test_a_type_that_an_explainer_leaves_is_told_before_the_model_fails(case, cls, call):
    net, x, _ = case
    calls = []

    def halving(model, inputs, targets, **kwargs):
        calls.append(model.float() if len(calls) == call - 1 else None)
        return np.abs(inputs)

    values = "left the model changed .*the values of '0.weight'"
    with pytest.warns(RuntimeWarning, match=values), pytest.raises(RuntimeError, match="type"):
        cls(explain_batch_size=1)(net, x, np.arange(8) % 2, explain_func=halving, batch_size=2)


def test_a_relu_that_is_left_in_training_mode_does_no_harm(case):
    """As pytorch-grad-cam's guided backpropagation leaves new ones in place of a model's."""
    net, x, y = case

    def renewing(model, inputs, targets, **kwargs):
        model[2] = nn.ReLU(inplace=True)
        return input_x_gradient(model, inputs, targets)

    right, _ = scored(net, x, y, cls=LocalConsistency, explain_batch_size=20)
    found, said = scored(net, x, y, renewing, cls=LocalConsistency, explain_batch_size=20)
    assert not said
    np.testing.assert_array_equal(found, right)
    assert gae_metric.cache_info().hits


def test_hooks_that_are_taken_back_are_none_of_our_business(case):
    net, x, y = case

    def clean(model, inputs, targets, **kwargs):
        handle = forward_hook(net)
        maps = saliency(model, inputs, targets)
        handle.remove()
        return maps

    _, said = scored(net, x, y, clean)
    assert not said
    assert gae_metric.cache_info().entries


class Graph(nn.Module):
    """Rows are the nodes of a graph."""

    def __init__(self, nodes):
        super().__init__()
        self.net = tabular_net()
        self.register_buffer("adjacency", torch.rand(nodes, nodes).double().round() + 1)
        self.eval()

    def forward(self, x):
        return self.net(self.adjacency @ x)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = tabular_net()
        self.eval()

    def forward(self, x):
        return self.net((x - x.mean(0)) / (x.std(0, correction=0) + 1e-3))


class Attends(nn.Module):
    """Attention across samples."""

    def __init__(self):
        super().__init__()
        self.net = tabular_net()
        self.eval()

    def forward(self, x):
        return self.net(torch.softmax(x @ x.mT, 1) @ x)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = tabular_net()
        self.eval()
        torch.manual_seed(0)  # with others, two of its masks may be the same

    def forward(self, x):
        return self.net(nn.functional.dropout(x))  # whose default is to train


ROWS = images(6, (7,))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("kind", [Centred, Attends])
def test_rows_that_depend_on_other_rows_are_warned_of(kind, n, batch_size):
    with pytest.warns(RuntimeWarning, match="model: its output for sample 0 is another one beside"):
        LocalConsistency()(
            kind(), ROWS[:n], [0] * n, explain_func=input_x_gradient, batch_size=batch_size
        )
    assert gae_metric.cache_info().entries == 0


@pytest.mark.parametrize("kind", [Centred, Attends])
def test_they_are_asked_for_beside_another_sample_than_a_copy(kind):
    x = ROWS[[0, 1, 2, 0, 0]]
    with pytest.warns(RuntimeWarning, match="model: its output for sample 0 is another one beside"):
        LocalConsistency()(kind(), x, [0] * 5, explain_func=input_x_gradient)


class Recurrent(nn.Module):
    """A recurrent layer without ``batch_first``, which takes samples for steps, in one order."""

    def __init__(self, backwards):
        super().__init__()
        torch.manual_seed(0)
        self.backwards, self.layer, self.net = backwards, nn.GRU(7, 7), tabular_net()
        self.double().eval()

    def forward(self, x):
        x = x.flip(0) if self.backwards else x
        rows = self.layer(x[:, None])[0][:, 0]
        return self.net(rows.flip(0) if self.backwards else rows)


@pytest.mark.parametrize("backwards", [False, True])
def test_rows_that_depend_on_those_before_or_after_them_are_warned_of(backwards):
    with pytest.warns(RuntimeWarning, match="model: its output for sample 0 is another one beside"):
        LocalConsistency()(Recurrent(backwards), ROWS, [0] * 6, explain_func=input_x_gradient)


@pytest.mark.parametrize("place", [0, -1])
def test_rows_that_depend_on_one_of_them_are_warned_of(place):
    class Beside(nn.Sequential):
        def forward(self, x):
            return super().forward(x - x[place])

    model = Beside(tabular_net()).eval()
    with pytest.warns(RuntimeWarning, match="model: its output for sample 0 is another one beside"):
        LocalConsistency()(model, ROWS, [0] * 6, explain_func=input_x_gradient)


def test_a_model_that_takes_one_sample_alone_is_refused():
    program = torch.export.export(tabular_net().double(), (torch.from_numpy(ROWS[:1]).double(),))
    with pytest.raises(ValueError, match=r"model: expected .* \(2, 7\), got AssertionError: Guard"):
        LocalConsistency()(
            program.module(), ROWS, [0] * 6, explain_func=input_x_gradient, batch_size=1
        )


def test_a_batch_normalisation_without_statistics_depends_on_rows():
    net = nn.Sequential(nn.BatchNorm1d(7, track_running_stats=False), nn.Linear(7, 3)).eval()
    with pytest.raises(ValueError, match=r"on its own, .* statistics of the batch"):
        LocalConsistency()(net, ROWS, [0] * 6, explain_func=input_x_gradient)


def test_a_model_that_takes_all_rows_or_none_is_refused():
    with pytest.raises(ValueError, match="on its own, got one that takes all 6 rows or none"):
        LocalConsistency()(Graph(6), ROWS, [0] * 6, explain_func=input_x_gradient)
    with pytest.raises(
        ValueError,
        match=r"takes samples of x_batch, torch\.float64 \(1, 7\), got .* be multiplied",
    ):  # it takes no row at all
        LocalConsistency()(Graph(5), ROWS, [0] * 6, explain_func=input_x_gradient)


def test_keywords_that_a_model_does_not_take_are_named():
    net = nn.Sequential(nn.Linear(7, 3)).eval()
    for wrong, message in (
        ({"depth": 2}, r"model: expected one that takes .* \(1, 7\), depth=, got TypeError"),
        ([1], r"model_predict_kwargs: expected a mapping from names, got \[1\]"),
        ({1: 2}, r"model_predict_kwargs: expected a mapping from names, got \{1: 2\}"),
    ):
        with pytest.raises(ValueError, match=message):
            LocalConsistency()(
                net, ROWS, [0] * 6, explain_func=input_x_gradient, model_predict_kwargs=wrong
            )


@pytest.mark.parametrize("metric", [LocalConsistency, LocalFaithfulness])
def test_a_model_that_is_random_is_warned_of(metric):
    with pytest.warns(RuntimeWarning, match="two forward passes of sample 0 differ"):
        metric()(Noisy(), ROWS, [0] * 6, explain_func=input_x_gradient)
    assert gae_metric.cache_info().entries == 0


@pytest.mark.parametrize("step", [1e-9, 3e-4])
def test_a_model_that_drifts_is_not_said_to_be_changed_by_the_explainer(case, step):
    net, x, y = case
    calls = []

    def drift(module, args, output):
        calls.append(0)
        return output + step * len(calls)

    net.float().register_forward_hook(drift)
    _, said = scored(net, x, y, cls=GAE, explain_batch_size=1, cache=False)
    if step < 1e-6:
        assert not said
    else:
        assert len(said) == 1
        assert "model: two forward passes of sample 0 differ" in said[0]


class Growing(nn.Module):
    """Each call gives more, which it counts in a buffer."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("calls", torch.zeros(()))
        self.eval()

    def forward(self, x):
        self.calls += 1
        return self.net(x) * self.calls


def test_a_model_that_drifts_by_a_buffer_is_told_of_once(case):
    net, x, y = case
    _, said = scored(Growing(net), x, y, explain_batch_size=20)
    assert [text[:40] for text in said] == ["model: two forward passes of sample 0 dif"[:40]]


def test_a_probe_set_tells_of_it_too():
    with pytest.warns(RuntimeWarning, match="two forward passes of sample 0 differ"):
        ProbeSet.build(Noisy(), ROWS, [0] * 6, metric="LocalConsistency")


def test_the_first_sample_that_is_finite_is_asked_for():
    x = ROWS.copy()
    x[:2] = np.nan
    with pytest.warns(RuntimeWarning, match="output for sample 2 is another one"):
        LocalConsistency()(Centred(), x, [0] * 6, explain_func=input_x_gradient)
    x[:] = np.nan
    _, said = scored(Centred(), x, [0] * 6, cls=LocalConsistency)
    assert not said


class Coarse(nn.Module):
    """Computes in a coarser type than its outputs' and inputs'; rounds by the size of the batch."""

    def __init__(self, dtype, outputs):
        super().__init__()
        self.net, self.outputs = tabular_net(dtype=dtype), outputs
        self.eval()

    def forward(self, x):
        logits = self.net(x.to(self.net[0].weight.dtype))
        # What another order of additions may do.
        return (logits * (1 + len(x) * torch.finfo(logits.dtype).eps)).to(self.outputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("outputs", [torch.float32, torch.float64])
def test_rounding_of_a_coarser_type_within_is_no_dependence(dtype, outputs):
    model = Coarse(dtype, outputs)
    _, said = scored(model, ROWS, [0] * 6, cls=LocalFaithfulness)
    assert not said
    assert gae_metric.cache_info().entries


def test_rounding_of_autocast_is_no_dependence():
    model = Coarse(torch.float32, torch.float32)
    model.net.register_forward_hook(lambda m, a, o: o.bfloat16() * (1 + len(o) * 2.0**-7))
    with torch.autocast("cpu", torch.bfloat16):
        _, said = scored(model, ROWS, [0] * 6, cls=LocalFaithfulness)
        assert not said
    _, said = scored(model, ROWS, [0] * 6, cls=LocalFaithfulness)
    assert len(said) == 1


class Overwrites(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x):
        return self.net(x.add_(1))


def test_a_model_that_overwrites_its_input_is_neither_random_nor_changed(case):
    net, x, y = case

    class Adds(Overwrites):
        def forward(self, x):
            return self.net(x + 1)

    for cls in (GAE, ROAD):
        expected, _ = scored(Adds(net), x, y, cls=cls)
        for _ in range(2):
            found, said = scored(Overwrites(net), x, y, cls=cls)
            assert not said
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


class Counts(nn.Module):
    """Keeps count of its calls in a buffer, as observers and balanced experts do."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("calls", torch.zeros(()))
        self.eval()

    def forward(self, x):
        self.calls += 1
        return self.net(x)


@pytest.mark.parametrize("chunk", [None, 7])
def test_what_evaluating_a_model_changes_is_not_the_explainers(case, chunk):
    net, x, y = case
    model = Counts(net)
    _, said = scored(model, x, y, cls=LocalConsistency, explain_batch_size=chunk)
    assert not said

    def dirty(model, inputs, targets, **kwargs):
        net[8].weight.data.mul_(1.01)
        return input_x_gradient(model, inputs, targets)

    _, said = scored(model, x, y, dirty, cls=LocalConsistency, explain_batch_size=chunk)
    assert len(said) == 1
    assert "the values of 'net.8.weight'" in said[0]
    assert "calls" not in said[0]


def test_a_squeeze_of_single_rows_is_among_the_causes():
    class Squeezes(nn.Sequential):
        def forward(self, x):
            return super().forward(x).squeeze()

    with pytest.raises(
        ValueError, match=r"all 6 rows or none: .* a squeeze\(\) that takes the axis"
    ):
        LocalConsistency()(
            Squeezes(tabular_net()).eval(), ROWS, [0] * 6, explain_func=input_x_gradient
        )
