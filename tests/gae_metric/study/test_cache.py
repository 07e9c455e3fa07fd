"""One trajectory serves every method and metric, and never a model that has changed."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import numpy as np
import pytest
import quantus
import torch
from torch import nn

import gae_metric
from gae_metric import GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, LocalRobustness
from gae_metric.study import fingerprint
from gae_metric.study.cache import DEFAULT_LIMIT, TrajectoryCache
from tests.gae_metric.nets import (
    Counting,
    CountingModel,
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    top_classes,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()
    gae_metric.set_cache_limit(DEFAULT_LIMIT)
    yield
    gae_metric.clear_cache()
    gae_metric.set_cache_limit(DEFAULT_LIMIT)


@pytest.fixture
def case():
    net = CountingModel(conv_net())
    x = images(6, (3, 10, 10))
    return net, x, top_classes(net.model, x)


def faithfulness(net, x, y, **options):
    """LC_F of a fixed map: it depends on the trajectory alone."""
    metric = LocalFaithfulness(**options, disable_warnings=True)
    maps = np.linspace(1, 2, x[0, :1].size).reshape(1, 1, *x.shape[2:]).repeat(len(x), axis=0)
    return metric(net, x, y, a_batch=maps)


# Whenever something is used again, one gradient says whether the model is still the same.


def test_evaluate_with_m_methods_costs_one_trajectory_and_m_times_2t_explanations(case):
    net, x, y = case
    methods = {f"method {i}": Counting(gradient_at_home) for i in range(3)}
    metrics = {
        "GAE": GAE(disable_warnings=True),
        "LC": LocalConsistency(disable_warnings=True),
        "LC_F": LocalFaithfulness(disable_warnings=True),
        "LC_R": LocalRobustness(disable_warnings=True),
        "C": Contrastiveness(disable_warnings=True),
    }
    quantus.evaluate({"GAE": metrics["GAE"]}, methods, net, x, y, explain_func_kwargs={})
    assert net.gradients == 6 * 14 + 2
    # evaluate's own map of x_batch is the first of the 2T; two are made again, to see that it is.
    # States that are masked as a whole are among the first 64 maps of each method, then no more.
    assert [method.samples for method in methods.values()] == [6 * 15 + 3 * 5 + 2] * 3
    quantus.evaluate(metrics, methods, net, x, y, explain_func_kwargs={})
    assert net.gradients == 6 * 14 + 2 + 4 * 3


def test_uniform_trajectory_costs_2t_minus_1_once(case):
    net, x, y = case
    for _ in range(3):
        GAE(schedule="uniform", disable_warnings=True)(net, x, y, explain_func=gradient_at_home)
    assert net.gradients == 6 * 19 + 2


def gradient_at_home(model, inputs, targets, **kwargs):
    return np.abs(inputs)


def test_entries_are_of_samples_whatever_batch_they_come_in(case):
    net, x, y = case
    first = faithfulness(net, x[:4], y[:4])
    assert net.gradients == 4 * 14
    found = faithfulness(net, x[[5, 2, 4, 0]], y[[5, 2, 4, 0]])
    assert net.gradients == 6 * 14 + 1
    np.testing.assert_allclose([found[1], found[3]], [first[2], first[0]], rtol=0, atol=1e-12)
    info = gae_metric.cache_info()
    assert (info.entries, info.misses, info.hits) == (12, 6, 2)  # with the logits of each


def test_scores_from_the_cache_are_those_without(case):
    net, x, y = case
    options = {"explain_func": input_x_gradient}
    GAE(disable_warnings=True)(net.model, x, y, **options)
    cached = GAE(disable_warnings=True)
    cached(net.model, x, y, **options)
    gae_metric.set_cache_limit(0)
    alone = GAE(disable_warnings=True)
    alone(net.model, x, y, **options)
    np.testing.assert_array_equal(cached.components, alone.components)
    assert gae_metric.cache_info().entries == 0


@pytest.mark.parametrize(
    "other",
    [
        {"steps": 5},
        {"schedule": "uniform"},
        {"mask_value": 0.5},
        {"mask_value": "mean"},
        {"mask_value": np.ones((3, 1, 1))},
        {"output": lambda logits: logits},
    ],
)
def test_other_settings_are_other_trajectories(case, other):
    net, x, y = case
    faithfulness(net, x, y)
    rows = net.gradients
    faithfulness(net, x, y, **other)
    assert net.gradients > rows
    rows = net.gradients
    faithfulness(net, x, y, **copy.copy(other))
    assert net.gradients == rows + 1


def test_other_inputs_and_targets_are_other_trajectories(case):
    net, x, y = case
    faithfulness(net, x, y)
    rows = net.gradients
    faithfulness(net, x, (y + 1) % 5)
    faithfulness(net, np.where(x == x[0, 0, 0, 0], x + 1e-12, x), y)
    assert net.gradients == rows + 6 * 14 + 1 * 14 + 1


def set_data(net):
    net[0].weight.data[0, 0, 0, 0] += 1e-12


def permute_weights(net):
    net[8].weight.data = net[8].weight.data[:, torch.arange(47, -1, -1)]


def swap_in_place(net):
    with torch.no_grad():
        net[4].weight[[0, 1]] = net[4].weight[[1, 0]].clone()


def randomise(net):
    torch.nn.init.normal_(net[8].weight)


def buffer(net):
    net[1].running_var += 1e-9


def layer(net):
    net[2] = nn.LeakyReLU()


def hook(net):
    net[2].register_forward_hook(lambda module, args, result: result * 2)


def option(net):
    net[1].eps = 0.1


def load(net):
    net.load_state_dict(conv_net(seed=1).state_dict())


def method(net):
    net.forward = lambda x: nn.Sequential.forward(net, x) * 1


@pytest.mark.parametrize(
    "change",
    [
        set_data,
        permute_weights,
        swap_in_place,
        randomise,
        buffer,
        layer,
        hook,
        option,
        load,
        method,
    ],
)
def test_a_changed_model_is_noticed(case, change):
    net, x, y = case
    faithfulness(net, x, y)
    rows = net.gradients
    faithfulness(net, x, y)
    assert net.gradients == rows + 1
    change(net.model)
    faithfulness(net, x, y)
    assert net.gradients == 2 * rows + 1


@pytest.mark.parametrize("kind", ["hook", "pre-hook", "backward hook", "global hook", "forward"])
def test_hooks_that_come_after_one_another_are_told_apart(kind):
    """Python gives the id of a function that is gone to the next one."""
    net, seen = conv_net(), []
    for factor in range(2, 6):

        def change(module, *values, factor=factor):
            return factor * values[-1] if kind == "hook" else tuple(factor * v for v in values[0])

        def forward(x, factor=factor):
            return factor * x

        if kind == "forward":
            net[2].forward = forward
        else:
            handle = {
                "hook": net[2].register_forward_hook,
                "pre-hook": net[2].register_forward_pre_hook,
                "backward hook": net[2].register_full_backward_hook,
                "global hook": nn.modules.module.register_module_forward_hook,
            }[kind](change)
        seen.append(str(fingerprint.of_model(net, CPU)))
        if kind == "forward":
            del net[2].forward
        else:
            handle.remove()
            del handle
        del change, forward
    assert "None" not in seen
    assert len(set(seen)) == 4
    assert fingerprint.of_model(net, CPU) == fingerprint.of_model(net, CPU)


def test_hooks_on_gradients_count(case):
    """As those that guided backpropagation leaves on a network."""
    net, x, y = case
    plain = faithfulness(net, x, y)
    net.model[3].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0].abs(),))
    assert np.abs(np.subtract(faithfulness(net, x, y), plain)).max() > 1e-3


def test_a_function_that_holds_the_model_does_not_keep_it():
    nets, x = [conv_net()], images(4, (3, 8, 8))
    y = top_classes(nets[0], x)
    faithfulness(nets[0], x, y, output=lambda logits, net=nets[0]: logits * bool(net))
    assert gae_metric.cache_info().entries == 8
    alive = weakref.ref(nets.pop())
    gc.collect()
    assert alive() is None
    assert gae_metric.cache_info().entries == 0


def test_another_model_of_the_same_weights_is_another(case):
    net, x, y = case
    faithfulness(net, x, y)
    other = CountingModel(copy.deepcopy(net.model))
    faithfulness(other, x, y)
    assert other.gradients == net.gradients


def test_entries_go_with_their_model():
    net, x = conv_net(), images(4, (3, 8, 8))
    faithfulness(net, x, top_classes(net, x))
    assert gae_metric.cache_info().entries == 8
    del net
    gc.collect()
    info = gae_metric.cache_info()
    assert (info.entries, info.nbytes) == (0, 0)


def test_entries_are_compact(case):
    net, x, y = case
    x = np.repeat(np.repeat(x, 5, axis=2), 5, axis=3)  # 50 x 50
    faithfulness(net, x, y)
    # One byte a feature for each order and the sign, and a few hundred for the rest.
    assert gae_metric.cache_info().nbytes <= 6 * (3 * 3 * 2500 + 2 * 10 * 8 + 2 * 5 * 8)


def test_clear_and_limit(case):
    net, x, y = case
    faithfulness(net, x, y)
    size = gae_metric.cache_info().nbytes
    gae_metric.set_cache_limit(size // 2)
    assert 0 < gae_metric.cache_info().nbytes <= size // 2
    rows = net.gradients
    faithfulness(net, x, y)
    assert rows < net.gradients < 2 * rows + 2
    gae_metric.clear_cache()
    info = gae_metric.cache_info()
    assert (info.entries, info.nbytes, info.hits, info.misses) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="limit: expected a non-negative number of bytes, got -1"):
        gae_metric.set_cache_limit(-1)
    for wrong in ("1GB", float("nan"), None):
        with pytest.raises(ValueError, match=f"number of bytes, got {wrong!r}"):
            gae_metric.set_cache_limit(wrong)


def test_least_recently_used_go_first():
    cache, model = TrajectoryCache(limit=100), nn.Linear(1, 1)
    for key in "ab":
        cache.put(model, key, torch.zeros(10))
    cache.get(model, "a")
    cache.put(model, "c", torch.zeros(10))
    assert [cache.get(model, key) is not None for key in "abc"] == [True, False, True]
    cache.put(model, "a", torch.zeros(12))  # replaced, not added
    assert cache.info().nbytes == 88
    cache.put(model, "large", torch.zeros(100))
    assert cache.get(model, "large") is None
    assert cache.info().entries == 2


def test_a_users_own_entries_do_not_go_for_others_of_it():
    cache, model = TrajectoryCache(limit=100), nn.Linear(1, 1)
    ours, theirs = object(), object()
    for user, key in ((theirs, "a"), (ours, "b"), (ours, "c"), (ours, "d")):
        cache.put(model, key, torch.zeros(10), user)
    held = [cache.get(model, key, ours) is not None for key in "abcd"]
    assert held == [False, True, True, False]
    cache.get(model, "b", theirs)
    cache.get(model, "c", ours)
    for key in "ef":  # "e" in place of "b", but "f" in place of none
        cache.put(model, key, torch.zeros(10), ours)
    assert [cache.get(model, key) is not None for key in "bcef"] == [False, True, True, False]


def test_a_second_call_finds_what_fits_of_samples_that_do_not(case):
    """By plain least recent use it would find none: each goes just before it is asked for."""
    net, x, y = case
    faithfulness(net, x, y)
    size = gae_metric.cache_info().nbytes
    gae_metric.clear_cache()
    gae_metric.set_cache_limit(size * 2 // 3)
    scores = faithfulness(net, x, y)
    assert 0 < gae_metric.cache_info().nbytes <= size * 2 // 3
    before, hits = net.gradients, gae_metric.cache_info().hits
    assert faithfulness(net, x, y) == scores
    again, found = net.gradients - before, gae_metric.cache_info().hits - hits
    assert found > 0
    assert 0 < again < before


def test_what_cannot_be_compared_is_not_shared(case):
    net, x, y = case

    class Unhashable:
        __hash__ = None

        def __call__(self, logits):
            return logits

    for _ in range(2):
        faithfulness(net, x, y, output=Unhashable())
    assert net.gradients == 2 * 6 * 14
    assert gae_metric.cache_info().entries == 0


def test_threads_share_it(case):
    net, x, y = case
    expected = GAE(steps=4, disable_warnings=True)(net.model, x, y, explain_func=gradient_tensor)
    gae_metric.clear_cache()
    gae_metric.set_cache_limit(gae_metric.cache_info().limit // 10**6)  # entries come and go
    results, errors = {}, []

    def work(i):
        try:
            for _ in range(2):
                metric = GAE(steps=4, disable_warnings=True)
                results[i] = metric(
                    net.model, x, y, explain_func=gradient_tensor, batch_size=1 + i % 3
                )
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for found in results.values():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_fingerprints_of_models_see_each_bit_of_large_parameters():
    net = nn.Linear(700, 900)  # several rows of check sums and a rest
    before = fingerprint.of_model(net, CPU)
    assert fingerprint.of_model(net, CPU) == before
    rng = np.random.default_rng(0)
    for index in [0, 629_999, *rng.integers(630_000, size=20)]:
        value = net.weight.data.view(-1)[index].item()
        net.weight.data.view(-1)[index] = float(np.nextafter(np.float32(value), np.float32(9)))
        assert fingerprint.of_model(net, CPU) != before
        net.weight.data.view(-1)[index] = value
    assert fingerprint.of_model(net, CPU) == before
    flat = net.weight.data.view(-1)
    for first, second in ([3, 4], [2, 5000], [10, 2058]):  # in and across rows
        flat[[first, second]] = flat[[second, first]]
        assert fingerprint.of_model(net, CPU) != before
        flat[[first, second]] = flat[[second, first]]
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert fingerprint.of_model(copy.deepcopy(net).to(dtype), CPU) != before


FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64, torch.int8, torch.complex64])
@pytest.mark.parametrize("size", [1, 7, 64 * 64, 5000])
def test_fingerprints_of_tensors_see_what_check_sums_do_not(size, dtype, reduced):
    """Signs, pairs of signs and order, of which sums of words modulo 2^64 may know nothing."""
    values = torch.arange(1, size + 1).remainder(97).add(1).to(dtype)
    one = torch.ones((), dtype=dtype)
    others = [-values, values.flip(0) if size > 1 else -values, values * (2 * one)]
    for part in (slice(0, 2), slice(-1, None), slice(size // 2, None)):
        others.append(values.clone())
        others[-1][part] *= -1

    def of(tensor):
        if reduced:  # as on a GPU
            return fingerprint.keyed_sums(tensor.view(torch.uint8)).numpy().tobytes()
        return fingerprint.of_tensors([tensor])[0]

    assert of(values.clone()) == of(values)
    for other in others:
        assert of(other) != of(values)


def test_fingerprints_of_tensors_are_of_values_wherever_they_lie():
    values = torch.randn(4100, 3)
    wide = torch.zeros(4101, 7)
    wide[1:, 2:5] = values
    for same in (values.clone(), wide[1:, 2:5], values.mT.contiguous().mT):
        assert fingerprint.of_tensors([same]) == fingerprint.of_tensors([values])
    others = [values.half(), values.reshape(3, 4100), values.view(torch.int32), values[1:]]
    assert len({*fingerprint.of_tensors([values, *others])}) == 5
    shifted = torch.cat([torch.zeros(1), values.flatten()])[1:]  # words that are not aligned
    bits = shifted.half().view(torch.uint8)[2:]
    assert fingerprint.keyed_sums(bits).equal(fingerprint.keyed_sums(bits.clone()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("part", [slice(None), slice(16), slice(1)])
def test_negated_weights_are_noticed(dtype, part):
    """The highest bit of 64, of which sums in 64 bits lose every second one."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 32))
    net = net.to(dtype).eval()
    x = images(6, (3, 8, 8))
    y = top_classes(net, x)
    metric = GAE(disable_warnings=True)
    metric(net, x, y, explain_func=gradient_at_home)
    for layer in (net[1], net[3]):
        layer.weight.data[part].neg_()
        hits = gae_metric.cache_info().hits
        metric(net, x, y, explain_func=gradient_at_home)
        assert gae_metric.cache_info().hits == hits


def test_fingerprints_of_settings():
    of = fingerprint.of_setting
    assert of({"a": [1, 2.0, "x"], "b": np.ones(3)}) == of({"a": [1, 2.0, "x"], "b": np.ones(3)})
    assert of(1) != of(1.0) != of(True)
    assert of(np.ones(3)) != of(np.ones(3, dtype=np.float32))
    assert of(torch.ones(2)) == of(torch.ones(2))
    assert of(object()) is None
    assert of([1, object()]) is None


class _Guided(torch.autograd.Function):
    """A ReLU whose gradient, but not whose value, depends on a switch that nothing shows."""

    on = False

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return (gradient.clamp(min=0) if _Guided.on else gradient) * (x > 0)


class Guided(nn.Module):
    def forward(self, x):
        return _Guided.apply(x)


@pytest.mark.parametrize("targets", ["y_batch", "predicted"])
def test_a_changed_gradient_is_noticed_whatever_chooses_the_classes(targets, monkeypatch):
    """Where the model does, its outputs are found, and compared, before its trajectories."""
    net, x = conv_net(), images(6, (3, 10, 10))
    net[2], net[5] = Guided(), Guided()
    y = top_classes(net, x)
    before = faithfulness(net, x, y, targets=targets)
    monkeypatch.setattr(_Guided, "on", True)
    after = faithfulness(net, x, y, targets=targets)
    gae_metric.clear_cache()
    assert after == faithfulness(net, x, y, targets=targets)
    assert np.abs(np.subtract(after, before)).max() > 0.01


class Heads(nn.Module):
    """Two heads of other sizes, one of which is chosen by an attribute, or by ``output``."""

    def __init__(self, head):
        super().__init__()
        self.three, self.five, self.head = conv_net(classes=3), conv_net(classes=5), head
        self.eval()

    def forward(self, x):
        found = {"first": self.three(x), "logits": self.five(x)}
        return list(found.values()) if self.head is None else found[self.head]


def test_a_model_with_another_number_of_outputs_is_noticed():
    net, x, y = Heads("first"), images(6, (3, 10, 10)), np.arange(6) % 3
    faithfulness(net, x, y)
    net.head = "logits"
    np.testing.assert_allclose(faithfulness(net, x, y), faithfulness(net.five, x, y), rtol=1e-9)


def test_the_first_output_is_not_the_default_one():
    class Pair(tuple):
        logits = property(lambda self: self[1])

    net, x, y = Heads(None), images(6, (3, 10, 10)), np.arange(6) % 3
    forward = net.forward
    net.forward = lambda x: Pair(forward(x))
    default, first = faithfulness(net, x, y), faithfulness(net, x, y, output=0)
    np.testing.assert_allclose(default, faithfulness(net.five, x, y), rtol=1e-9)
    np.testing.assert_allclose(first, faithfulness(net.three, x, y), rtol=1e-9)
