"""What scores do not depend on, on generated data and small networks of every kind.

Order, subset, batch, chunk, threads, dtype and form of the inputs, the cache, and what ran before;
``tests/hardening/checks_another_device.py`` has the device.
"""

from __future__ import annotations

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import gae_metric
from gae_metric import GAE, LocalConsistency, MosaicPlan
from gae_metric.companions import ROAD
from gae_metric.explainers import EXPLAINERS
from gae_metric.functional import content_hashes
from tests.gae_metric.nets import conv_net, images, series_net, tabular_net

CLASSES = 3


class Residual(nn.Module):
    """Shortcuts and activations in place, as timm and torchvision have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.block = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 1))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.block(x.clone())
        y += x
        return self.head(y.relu_().mean((2, 3)))


class Attention(nn.Module):
    """Patches, a class token, and an encoder with layer norms and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.encoder(tokens)[:, 0])


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.GRU) -> None:
        super().__init__()
        self.rnn, self.head = kind(2, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x.mT)[0].mean(1))


class Frames(nn.Module):
    """A perceptron on the frames of a waveform (N, L), of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.unfold(-1, 4, 2)).mean(1)


IMAGE, SERIES, ROW, VOLUME, WAVE = (3, 8, 8), (2, 12), (7,), (1, 3, 6, 6), (24,)
KINDS = {
    "convolutions": (lambda: conv_net(classes=CLASSES, dtype=torch.float64), IMAGE),
    "residual": (Residual, IMAGE),
    "attention": (Attention, IMAGE),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, groups=3), nn.GroupNorm(2, 6), nn.GELU(),
            nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES),
        ),
        IMAGE,
    ),
    "series": (series_net, SERIES),
    "recurrent": (Recurrent, SERIES),
    "rows": (tabular_net, ROW),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.ReLU6(inplace=True),
            nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.Hardswish(inplace=True),
            nn.Conv2d(6, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ),
        IMAGE,
    ),
    "lstm": (lambda: Recurrent(nn.LSTM), SERIES),
    "waveform": (Frames, WAVE),
    "volume": (
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool3d((1, 2, 2)),
            nn.Flatten(), nn.Linear(108, CLASSES),
        ),
        VOLUME,
    ),
}  # fmt: skip
#: Those that each property is tried on by itself in every run; all of them together, below.
QUICK = ("convolutions", "residual", "attention", "grouped", "series", "recurrent", "rows")
MODELS: dict[str, nn.Module] = {}


def case(kind: str, seed: int) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    build, shape = KINDS[kind]
    if kind not in MODELS:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            MODELS[kind] = build().double().eval()
    x = images(7, shape, seed=seed)
    y = np.random.default_rng(seed).integers(CLASSES, size=7)
    y[:2] = 0, 1  # mosaics need two classes
    return MODELS[kind], x, y


def score(kind, net, x, y, plan=None, explain="InputXGradient", keep=False, **options):
    """Components; of Local Consistency where there are no mosaics."""
    if not keep:
        gae_metric.clear_cache()
    own = {key: options.pop(key) for key in ("explain_batch_size", "cache") if key in options}
    if KINDS[kind][1] == ROW:
        metric = LocalConsistency(steps=4, disable_warnings=True, **own)
    else:
        metric = GAE(steps=4, mosaics=plan, disable_warnings=True, **own)
    metric(net, x, y, explain_func=EXPLAINERS[explain], **options)
    return metric.components.to_numpy()


def generated(function):
    """Run a test on generated cases, the same in every run, for each kind of network."""
    kinds = [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in KINDS]
    return pytest.mark.parametrize("kind", kinds)(cases(4)(function))


def cases(number):
    return settings(
        max_examples=number,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


SEEDS = st.integers(0, 10**6)


@given(seed=SEEDS, data=st.data())
@generated
def test_batches_and_chunks_do_not_matter(kind, seed, data):
    net, x, y = case(kind, seed)
    batch, chunk = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    found = score(kind, net, x, y, batch_size=batch, explain_batch_size=chunk)
    np.testing.assert_allclose(found, score(kind, net, x, y), rtol=0, atol=1e-6)


@given(seed=SEEDS, order=st.permutations(range(7)))
@generated
def test_order_does_not_matter(kind, seed, order):
    net, x, y = case(kind, seed)
    expected = score(kind, net, x, y)
    found = score(kind, net, x[order], y[order])
    np.testing.assert_allclose(found, expected[order], rtol=0, atol=1e-6)


@given(seed=SEEDS, chosen=st.sets(st.integers(0, 6), min_size=1))
@generated
def test_local_consistency_of_a_subset_is_that_of_the_whole(kind, seed, chosen):
    net, x, y = case(kind, seed)
    rows = sorted(chosen)
    metric = LocalConsistency(steps=4, disable_warnings=True, cache=False)
    metric(net, x, y, explain_func=EXPLAINERS["InputXGradient"])
    whole = metric.components.to_numpy()
    metric(net, x[rows], y[rows], explain_func=EXPLAINERS["InputXGradient"])
    np.testing.assert_allclose(metric.components, whole[rows], rtol=0, atol=1e-6)


@given(seed=SEEDS, data=st.data())
@generated
def test_the_cache_and_what_ran_before_do_not_matter(kind, seed, data):
    """Other methods, orders, samples and classes, a clean explainer or one that leaves a hook."""
    net, x, y = case(kind, seed)
    plan = MosaicPlan.draw(content_hashes(x), y, seed=1)
    expected = score(kind, net, x, y, plan, cache=False)
    before = data.draw(
        st.lists(st.sampled_from(["method", "order", "classes", "part", "dirty", "changed"]))
    )
    gae_metric.clear_cache()
    for what in before:
        if what == "method":
            score(kind, net, x, y, plan, explain="Saliency", keep=True)
        elif what == "order":
            score(kind, net, x[::-1], y[::-1], keep=True, batch_size=3)
        elif what == "classes":
            score(kind, net, x, (y + 1) % CLASSES, plan, keep=True)
        elif what == "part":
            LocalConsistency(steps=4, disable_warnings=True)(
                net, x[2:5], y[2:5], explain_func=EXPLAINERS["Random"]
            )
        elif what == "dirty":
            handles = []

            def dirty(model, inputs, targets, net=net, handles=handles, **kwargs):
                handles.append(net.register_forward_hook(lambda m, a, o: o.roll(1, 1)))
                return np.abs(inputs)

            metric = LocalConsistency(steps=4, explain_batch_size=5, disable_warnings=True)
            metric(net, x, y, explain_func=dirty, batch_size=2)
            for handle in handles:
                handle.remove()
        else:
            weight = next(net.parameters())
            weight.data.neg_()
            score(kind, net, x, y, plan, keep=True)
            weight.data.neg_()
    np.testing.assert_allclose(score(kind, net, x, y, plan, keep=True), expected, rtol=0, atol=1e-6)


@given(seed=SEEDS, form=st.sampled_from(["float64", ">f8", "view", "tensor", "list"]))
@generated
def test_the_form_of_the_inputs_does_not_matter(kind, seed, form):
    net, x, y = case(kind, seed)
    forms = {
        "view": lambda: np.ascontiguousarray(x[::-1])[::-1],
        "tensor": lambda: torch.tensor(x),
        "list": lambda: list(x),
    }
    same = forms[form]() if form in forms else x.astype(form)
    np.testing.assert_array_equal(score(kind, net, same, y.tolist()), score(kind, net, x, y))


@given(seed=SEEDS)
@generated
def test_what_float32_holds_is_scored_alike_in_either_type(kind, seed):
    """The inputs' type: the model computes in its own."""
    net, x, y = case(kind, seed)
    single = x.astype(np.float32)
    np.testing.assert_array_equal(
        score(kind, net, single, y), score(kind, net, single.astype(np.float64), y)
    )


@given(seed=SEEDS)
@generated
def test_threads_do_not_matter(kind, seed):
    """Neither torch's own nor the caller's."""
    net, x, y = case(kind, seed)
    expected = score(kind, net, x, y)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with ThreadPoolExecutor(3) as pool:
            jobs = [pool.submit(score, kind, net, x, y, keep=True) for _ in range(3)]
            for job in jobs:
                np.testing.assert_allclose(job.result(), expected, rtol=0, atol=1e-6)
    finally:
        torch.set_num_threads(threads)


@given(seed=SEEDS, batch=st.integers(1, 9), chunk=st.integers(1, 9))
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@pytest.mark.parametrize("kind", ["convolutions", "residual", "attention", "grouped"])
def test_road_does_not_depend_on_batches(kind, seed, batch, chunk):
    net, x, y = case(kind, seed)

    def road(**options):
        call = {
            "explain_func": EXPLAINERS["InputXGradient"],
            "batch_size": options.pop("batch", 64),
        }
        return ROAD(percentages=[30, 70], disable_warnings=True, **options)(net, x, y, **call)

    assert road(batch=batch, explain_batch_size=chunk) == road()


def dirty(model, inputs, targets, **kwargs):
    """Leaves a hook at each call."""
    model.register_forward_hook(lambda module, args, output: output.roll(1, 1))
    return np.abs(inputs)


def all_at_once(kind, seed, explain, data):
    """Compare the scores of some samples in every respect at once with those of the plainest call.

    Of all samples by GAE, whose mosaics need them; of some by Local Consistency.
    """
    net, x, y = case(kind, seed)
    x = x.astype(np.float32)
    rows = data.draw(st.permutations(range(7)))[: data.draw(st.sampled_from([7, 7, 5, 1]))]
    whole = len(rows) == 7 and KINDS[kind][1] != ROW
    make = GAE if whole else LocalConsistency
    gae_metric.clear_cache()
    plain = make(steps=4, disable_warnings=True, cache=False)
    plain(net, x, y, explain_func=EXPLAINERS[explain])
    expected = plain.components.to_numpy()[rows]

    before = data.draw(st.lists(st.sampled_from(["dirty", "same", "others"]), max_size=2))
    for what in before:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = dirty if what == "dirty" else EXPLAINERS["Saliency"]
            classes = y if what == "same" else (y + 1) % CLASSES
            make(steps=4, explain_batch_size=5)(net, x, classes, explain_func=function)
        if what == "dirty":
            net._forward_hooks.clear()
    forms = {
        "float32": lambda a: a,
        "float64": lambda a: a.astype(np.float64),
        "big endian": lambda a: a.astype(">f4"),
        "tensor": torch.tensor,
        "data set": lambda a: TensorDataset(torch.tensor(a), torch.tensor(y[rows])),
    }
    given = forms[data.draw(st.sampled_from([*forms]))](x[rows])
    options = {"batch_size": data.draw(st.integers(1, 9))}
    metric = make(
        steps=4,
        disable_warnings=True,
        cache=data.draw(st.booleans()),
        explain_batch_size=data.draw(st.none() | st.integers(1, 40)),
    )
    threads = data.draw(st.sampled_from([1, 3]))
    with ThreadPoolExecutor(threads) as pool:

        def run(_):
            one = copy.copy(metric)
            one(net, given, y[rows], explain_func=EXPLAINERS[explain], **options)
            return one.components.to_numpy()

        for found in pool.map(run, range(threads)):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


EXPLAIN = st.sampled_from(["InputXGradient", "Saliency", "IntegratedGradients"])


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, explain=EXPLAIN, data=st.data())
@cases(2)
def test_all_of_it_together_does_not_matter(kind, seed, explain, data):
    all_at_once(kind, seed, explain, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, explain=EXPLAIN, data=st.data())
@cases(12)
def test_all_of_it_together_in_many_ways(kind, seed, explain, data):
    all_at_once(kind, seed, explain, data)
