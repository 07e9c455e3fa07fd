"""The context: what it leaves behind (nothing), what it refuses, what it lets models do."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch._dynamo import eval_frame
from torch.overrides import _get_current_function_mode_stack

import abslrp
from abslrp.registry import COMMON, RULE_SETS, RuleSet
from tests.abslrp.single import Single, draw


def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(36, 5),
        ).eval()  # fmt: skip


X = torch.from_numpy(draw(2, 3, 8, 8)).float()


class Failing(nn.Module):
    """Raises after some layers of its own."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.net, self.error = small(), error

    def forward(self, x: Tensor) -> Tensor:
        self.net(x)
        raise self.error


def state(model: nn.Module) -> Any:
    """All that an explanation might leave on a model, or on torch."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        [(n, p.requires_grad, p.grad is None, p._version) for n, p in model.named_parameters()],
        [id(p) for p in model.parameters()],
        [(n, b._version, id(b)) for n, b in model.named_buffers()],
        [(n, m.training, sorted(m.__dict__), m.forward.__func__) for n, m in model.named_modules()],
        [len(getattr(m, hook)) for m in model.modules() for hook in hooks],
        [sorted(vars(p)) for p in model.parameters()],
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_rng_state().tolist(),
        len(_get_current_function_mode_stack()), F.linear, F.scaled_dot_product_attention,
        torch.get_default_dtype(), getattr(eval_frame, "_stance", None),
    )  # fmt: skip


@pytest.mark.parametrize("conserve", ["operation", "argument", None])
def test_nothing_is_left_after_success(conserve: Any) -> None:
    model, x = small(), X.clone()
    before = state(model)
    abslrp.explain(model, x, [0, 1], conserve=conserve)
    assert state(model) == before
    assert torch.equal(x, X)
    assert not x.requires_grad
    assert x.grad is None


def test_nothing_is_left_after_a_bad_target() -> None:
    model = small()
    before = state(model)
    with pytest.raises(ValueError, match="targets"):
        abslrp.explain(model, X, [0, 5])
    assert state(model) == before


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(1)])
def test_nothing_is_left_after_a_model_that_raises(error: BaseException) -> None:
    model = Failing(error)
    model.eval()
    before = state(model)
    with pytest.raises(type(error)):
        abslrp.explain(model, X, 0)
    assert state(model) == before
    assert torch.equal(small()(X), model.net(X))
    error.with_traceback(None)  # which pytest keeps, and with it the frames it went through


def test_nothing_is_left_after_an_unknown_function() -> None:
    model = Single(torch.lgamma, [(6,)], rectify=False).eval()
    before = state(model)
    with pytest.raises(abslrp.UnknownOperationError):
        abslrp.explain(model, draw(2, 6), 0)
    assert state(model) == before


def logarithmic(x: Tensor) -> Tensor:
    return torch.lgamma(x) * 2


def test_an_unknown_function_is_named_with_its_call_site() -> None:
    model = Single(logarithmic, [(6,)], rectify=False).eval()
    with pytest.raises(abslrp.UnknownOperationError) as caught:
        abslrp.explain(model, draw(2, 6), 0)
    text = str(caught.value)
    assert "lgamma" in text
    assert "test_engine.py" in text
    assert "in logarithmic" in text
    assert "@abslrp.rule(" in text
    assert "on_unknown='warn'" in text


def test_a_warning_instead_uses_the_gradient_and_comes_once() -> None:
    model = Single(lambda x: torch.lgamma(torch.lgamma(x)), [(6,)], rectify=False).eval()
    x, R = draw(2, 6), np.abs(draw(2, 6, seed=1))
    with pytest.warns(UserWarning, match="lgamma") as caught:
        got = abslrp.relevance(model, x, R, on_unknown="warn", conserve=None)
    assert len(caught) == 1
    leaf = torch.from_numpy(x).requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf), leaf, torch.from_numpy(R))
    np.testing.assert_allclose(got, gradient, rtol=1e-12)


def test_a_function_of_constants_or_without_gradient_needs_no_rule() -> None:
    def call(x: Tensor) -> Tensor:
        scale = torch.lgamma(torch.ones(()))
        return x * scale + (x.argmax(1) > -1).to(x.dtype)[:, None]

    assert abslrp.explain(Single(call, [(6,)], False).eval(), draw(2, 6), 0).shape == (2, 6)


def test_a_rule_is_registered_and_removed() -> None:
    model = Single(torch.lgamma, [(6,)], rectify=False).eval()
    x, R = draw(2, 6), draw(2, 6, seed=1)

    @abslrp.rule(torch.lgamma)
    def lgamma(call: abslrp.Call, input: Any) -> Any:
        return abslrp.passing(input)

    try:
        np.testing.assert_allclose(abslrp.relevance(model, x, R), R)
    finally:
        COMMON.remove(torch.lgamma)
    with pytest.raises(abslrp.UnknownOperationError):
        abslrp.relevance(model, x, R)


def test_a_second_rule_for_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match=r"already has a rule for torch\.relu"):
        abslrp.rule(torch.relu)(lambda call, x: None)
    with pytest.raises(ValueError, match="linear"):
        abslrp.rule([torch.sinc, F.linear], rules="absLRP")(lambda call, x: None)
    assert torch.sinc not in COMMON  # all or nothing
    for function in (F.linear, torch.Tensor.add, torch.softmax, [torch.sinc, F.layer_norm]):
        with pytest.raises(ValueError, match="'absLRP' already has a rule for"):
            abslrp.rule(function)(lambda call, x: None)
    assert torch.sinc not in COMMON
    with pytest.raises(ValueError, match="at least one"):
        abslrp.rule()
    with pytest.raises(ValueError, match="no-such-set"):
        abslrp.rule(torch.sinc, rules="no-such-set")


def test_a_rule_set_of_ones_own_overrides_one_rule() -> None:
    mine = RuleSet("mine", RULE_SETS["absLRP"])

    @mine.rule(torch.relu, torch.Tensor.relu)
    def relu(call: abslrp.Call, input: Any) -> Any:
        return lambda relevance: (relevance * 3,)

    model = Single(torch.relu, [(6,)], rectify=False).eval()
    x, R = draw(2, 6), np.abs(draw(2, 6, seed=1))
    np.testing.assert_allclose(abslrp.relevance(model, x, R, rules=mine, conserve=None), 3 * R)
    np.testing.assert_allclose(abslrp.relevance(model, x, R, conserve=None), R)


class Variant(nn.Module):
    """The same function of ``x`` in several spellings."""

    def __init__(self, call: Callable[..., Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.one, self.head = nn.Linear(6, 6), nn.Linear(6, 4)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.call(self.one, x))


def iadd(f: Any, x: Tensor) -> Tensor:
    y = f(x)
    y += x
    return y


def overwritten(f: Any, x: Tensor) -> Tensor:
    x.mul_(2.0)
    x += 1
    return f(x)


PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "relu": (lambda f, x: F.relu(f(x), inplace=True), lambda f, x: torch.relu(f(x))),
    "relu_": (lambda f, x: f(x).relu_(), lambda f, x: torch.relu(f(x))),
    "iadd": (iadd, lambda f, x: f(x) + x),
    "overwritten input": (overwritten, lambda f, x: f(x * 2.0 + 1)),
    "dropout": (lambda f, x: F.dropout(f(x), 0.5, False, True), lambda f, x: f(x)),
    "checkpoint": (
        lambda f, x: nn.Sequential(f, nn.SiLU(inplace=True))(x),
        lambda f, x: F.silu(f(x)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("conserve", ["operation", None])
def test_in_place_spellings_are_equal(name: str, conserve: Any) -> None:
    x = torch.from_numpy(draw(3, 6)).float()
    kept = x.clone()
    one, two = (
        abslrp.explain(Variant(call).eval(), x, [0, 1, 2], conserve=conserve)
        for call in PAIRS[name]
    )
    assert torch.equal(x, kept)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)
    assert one.abs().max() > 0


def test_a_module_used_twice_equals_two_with_the_same_weights() -> None:
    x, model = X[:, 0, :, :6].reshape(-1, 6)[:4], Variant(lambda f, v: f(F.relu(f(v)))).eval()
    copy = nn.Linear(6, 6)
    copy.load_state_dict(model.one.state_dict())
    other = Variant(lambda f, v: copy(F.relu(f(v)))).eval()
    assert torch.equal(abslrp.explain(model, x, 0), abslrp.explain(other, x, 0))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_parameters_make_no_difference(frozen: bool) -> None:
    model, wanted = small(), abslrp.explain(small(), X, [1, 2])
    model.requires_grad_(not frozen)
    assert torch.equal(abslrp.explain(model, X, [1, 2]), wanted)
    with torch.no_grad():
        assert torch.equal(abslrp.explain(model, X, [1, 2]), wanted)


def test_explained_within_inference_mode() -> None:
    model = small()
    with torch.inference_mode():
        inside = abslrp.explain(model, X, [1, 2])
    assert torch.equal(inside, abslrp.explain(model, X, [1, 2]))


def small_vgg() -> nn.Module:
    layers = torchvision.models.vgg.make_layers([16, "M", 32, 32, "M", 64, "M"], batch_norm=True)
    net = torchvision.models.VGG(layers, num_classes=9)
    net.classifier = nn.Sequential(nn.Linear(64 * 49, 64), nn.ReLU(True), nn.Linear(64, 9))
    return net


BUILDERS: dict[str, tuple[Callable[[], nn.Module], int, float]] = {
    "torchvision vgg11_bn": (small_vgg, 32, 0.0),
    "torchvision resnet18": (torchvision.models.resnet18, 48, 0.0),
    "timm resnet18": (lambda: timm.create_model("resnet18"), 48, 0.0),
    "timm vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=48, depth=4), 48, 1e-5
    ),
    "torchvision vit": (
        lambda: torchvision.models.VisionTransformer(32, 8, 3, 2, 48, 96, num_classes=9), 32, 1e-5
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILDERS)
def test_logits_inside_the_context(name: str) -> None:
    build, size, tolerance = BUILDERS[name]
    torch.manual_seed(0)
    model = build().eval()
    if name == "torchvision vit":
        nn.init.normal_(model.heads[0].weight, std=0.1)
    x = torch.from_numpy(draw(2, 3, size, size)).float()
    with torch.no_grad():
        outside = model(x)
    leaf = x.clone().requires_grad_()
    with abslrp.propagation(inputs=[leaf]):
        inside = model(leaf)
    assert outside.abs().max() > 0
    if tolerance:
        torch.testing.assert_close(inside, outside, rtol=tolerance, atol=tolerance)
    else:
        assert torch.equal(inside, outside)


def test_two_threads_explain_different_models_at_once() -> None:
    models = [small(), nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()]
    wanted = [abslrp.explain(model, X, [1, 2]) for model in models]
    got: list[list[Tensor]] = [[], []]
    barrier = threading.Barrier(2)

    def work(index: int) -> None:
        barrier.wait()
        for _ in range(5):
            got[index].append(abslrp.explain(models[index], X, [1, 2]))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for maps, one in zip(got, wanted, strict=True):
        assert len(maps) == 5
        assert all(torch.equal(m, one) for m in maps)


def test_threads_put_back_what_compiled_functions_do() -> None:
    """The second begins before the first ends, and meets a compiled part after it."""
    met, begun, ended = [], threading.Event(), threading.Event()

    def backend(graph: Any, _: Any) -> Any:
        met.append(graph)
        return graph.forward

    class Waiting(nn.Module):
        def __init__(self, wait: Callable[[], Any]) -> None:
            super().__init__()
            self.wait = wait
            self.part = torch.compile(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), backend=backend)

        def forward(self, x: Tensor) -> Tensor:
            assert self.wait()
            return self.part(x)

    before = getattr(eval_frame, "_stance", None)
    model, x = Waiting(lambda: begun.set() or ended.wait(60)).eval(), draw(2, 4).astype("float32")
    second = threading.Thread(target=abslrp.explain, args=(model, x, 0))

    def begin() -> bool:
        if not begun.is_set():
            second.start()
        return begun.wait(60)

    abslrp.explain(Waiting(begin).eval(), x, 0)
    ended.set()
    second.join()
    assert getattr(eval_frame, "_stance", None) == before
    if before is not None:
        assert not met
        model.part(torch.rand(2, 4))
        assert met


def outliving(work: Callable[[], Any]) -> list[Any]:
    """Return calls and values that are left once work is done, where no one looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        work()
        return [one for one in gc.get_objects() if type(one) in (abslrp.Call, abslrp.tape.Value)]
    finally:
        gc.enable()


@pytest.mark.parametrize("rules", RULE_SETS)
def test_no_tensor_or_call_outlives_the_explanation(rules: str) -> None:
    """Without the help of the cycle collector, which may be late when memory is short."""
    alive: list[Any] = []
    model = small()
    for module in model:
        module.register_forward_hook(lambda m, i, o: alive.append(weakref.ref(o)))
    assert not outliving(lambda: abslrp.explain(model, X, [0, 1], rules=rules))
    assert len(alive) == 6
    assert [ref() for ref in alive] == [None] * 6


class Spectrum(nn.Module):
    """Complex numbers are written out, and what is detached is left out."""

    def forward(self, x: Tensor) -> Tensor:
        z = torch.fft.fft(x.flatten(1))
        power, size = (z * z.conj()).real.sum(1), z.abs().sum(1)
        return torch.stack([power, size * x.detach().amax((1, 2, 3))], 1)


@pytest.mark.parametrize("rules", ["absLRP", "cLRP"])
@pytest.mark.parametrize("conserve", ["operation", "argument"])
def test_no_call_outlives_that_is_left_out(rules: str, conserve: Any) -> None:
    model = Spectrum().eval()
    assert not outliving(lambda: abslrp.explain(model, X, [0, 1], rules=rules, conserve=conserve))


def test_no_call_outlives_a_context_of_ones_own() -> None:
    def work() -> None:
        leaf = X.clone().requires_grad_()
        with abslrp.propagation(inputs=[leaf]) as context:
            logits = small()(leaf)
        start = torch.ones_like(logits)
        (one,) = context.relevance(logits, start, [leaf])
        assert one is not None
        assert torch.allclose(one, torch.autograd.grad(logits, leaf, start)[0])

    assert not outliving(work)


def test_a_context_of_ones_own() -> None:
    leaf = X.clone().requires_grad_()
    model = small()
    with abslrp.propagation(conserve=None, signed=False, inputs=[leaf]):
        logits = model(leaf)
    start = torch.zeros(2, 5)
    start[:, 0] = 1
    (R,) = torch.autograd.grad(logits, leaf, start)
    torch.testing.assert_close(R, abslrp.relevance(model, X, start, conserve=None))


def written(model: nn.Module, leaf: Tensor) -> dict[str, Tensor]:
    return {"input": leaf, "weight": model[0].weight, "statistic": model[1].running_mean}


@pytest.mark.parametrize("name", ["input", "weight", "statistic"])
@pytest.mark.parametrize("named", [False, True])
def test_what_is_written_to_after_a_context_is_an_error(name: str, named: bool) -> None:
    """As by autograd: the relevance would be of other numbers than the logits are."""
    leaf, model = X.clone().requires_grad_(), small()
    with abslrp.propagation(inputs=[leaf] if named else None) as context:
        logits = model(leaf)
    start = torch.ones(2, 5)
    (before,) = torch.autograd.grad(logits, leaf, start, retain_graph=True)
    with torch.no_grad():
        written(model, leaf)[name].add_(1)
    with pytest.raises(RuntimeError, match="propagation: an input, or a constant"):
        torch.autograd.grad(logits, leaf, start, retain_graph=True)
    with pytest.raises(RuntimeError, match="propagation: an input, or a constant"):
        context.relevance(logits, start, [leaf])
    assert before.any()


def test_what_is_written_to_within_a_context_is_no_error() -> None:
    """Calls before have what they took, and what is written to is of no use any more."""
    leaf, model = X.clone().requires_grad_(), small()
    maps = []
    for writes in (False, True):
        with abslrp.propagation() as context:
            offset = torch.full((5,), 2.0)
            logits = model(leaf) + offset
            if writes:
                offset.fill_(torch.nan)
        if writes:
            offset.fill_(-2.0)
        maps += context.relevance(logits, torch.ones(2, 5), [leaf])
    torch.testing.assert_close(*maps)


def test_a_context_within_itself_is_an_error() -> None:
    """It would be left only once; one after another, or one of several, it may be used."""
    model, context, leaf = small(), abslrp.propagation(), X.clone().requires_grad_()
    before = state(model)
    with (
        pytest.raises(RuntimeError, match="propagation: this context is entered already"),
        context,
        context,
    ):
        pass  # pragma: no cover
    assert state(model) == before
    maps = []
    for one in (context, context, abslrp.propagation()):
        with one:
            logits = model(leaf)
        maps.append(torch.autograd.grad(logits, leaf, torch.ones(2, 5))[0])
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2])


@pytest.mark.parametrize(
    "wrong", [{"conserve": "everything"}, {"on_unknown": "ignore"}, {"rules": "no-such-set"}]
)
def test_bad_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        abslrp.explain(small(), X, 0, **wrong)


@pytest.mark.parametrize(
    "function",
    [
        F.dropout,
        F.alpha_dropout,
        torch.dropout,
        lambda x, p, train: torch.dropout(x, p, train=train),
    ],
)
def test_dropout_in_evaluation_is_its_input(function: Any) -> None:
    """It may be overwritten in place afterwards, as anything may."""

    def run(x: Tensor, written_out: bool) -> Tensor:
        h = x * 2.0 - 1.0
        if written_out:
            y = h.relu()
            return y + y
        y = function(h, 0.5, False)
        y.relu_()
        return y + h

    x = torch.rand(2, 3, 4, dtype=torch.float64).flatten(1)
    maps = []
    for written_out in (False, True):
        leaf = x.clone().requires_grad_()
        with abslrp.propagation():
            out = run(leaf, written_out)
        maps.append(torch.autograd.grad(out.sum(), leaf)[0])
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize(
    "function",
    [
        F.dropout,
        lambda x: F.dropout2d(x[..., None])[..., 0],
        lambda x: F.alpha_dropout(x, 0.5, True),
        lambda x: torch.dropout(x, 0.5, True),
        lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], None, 0.1)[
            :, 0
        ],
    ],
)
def test_dropout_that_drops_in_evaluation_mode_is_an_error(function: Any) -> None:
    """Its map would be another one at every call."""
    x = torch.rand(2, 6, requires_grad=True)
    with pytest.raises(ValueError, match=r"^model: .*random"), abslrp.propagation():
        function(x @ torch.rand(6, 6))
    model = nn.Sequential(nn.Dropout(), nn.Linear(6, 3)).eval()
    model[0].train()
    with pytest.raises(ValueError, match="a dropout is in training mode"):
        abslrp.explain(model, x.detach(), 0)


@pytest.mark.parametrize(
    "function",
    [
        F.alpha_dropout,
        F.feature_alpha_dropout,
        lambda x: F.dropout(x, 0.0),
        lambda x: torch.dropout(x, 0.0, True),
    ],
)
def test_dropout_that_drops_nothing_by_default_is_none(function: Any) -> None:
    x = torch.rand(2, 6, requires_grad=True)
    with abslrp.propagation():
        out = function(x @ torch.ones(6, 3))
    out.sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(6.0))


def test_a_sequence_projected_and_then_added_to() -> None:
    """``h = fc(x); h += x`` on a permuted sequence, where torch may return a view from ``fc``."""
    weight = torch.rand(5, 5, dtype=torch.float64) - 0.5

    def run(x: Tensor, inplace: bool) -> Tensor:
        sequence = x.permute(0, 2, 1)
        h = F.linear(sequence, weight, weight[0])
        if inplace:
            h += sequence
            return h
        return h + sequence

    maps = []
    for inplace in (True, False):
        leaf = torch.rand(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        leaf.requires_grad_()
        with abslrp.propagation():
            out = run(leaf, inplace)
        maps.append(torch.autograd.grad(out.abs().sum(), leaf)[0])
    torch.testing.assert_close(*maps)


class Rectifier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()


def rectified(x: Tensor) -> Tensor:
    return x.relu()


@pytest.mark.parametrize(
    "function", [nn.ReLU, nn.ReLU(), Rectifier.apply, rectified, [torch.relu, rectified]]
)
def test_a_rule_that_would_never_be_used_is_refused(function: Any) -> None:
    """Torch tells of operators, and of functions that ask it."""
    mine = RuleSet("mine", RULE_SETS["absLRP"])
    for register in (mine.rule, mine.decomposition):
        with pytest.raises(ValueError, match="functions: torch does not tell of calls of"):
            register(function)
    assert mine.find(torch.relu) is RULE_SETS["absLRP"].find(torch.relu)


@torch.library.custom_op("abslrp_tests::halved", mutates_args=())
def halved(x: Tensor) -> Tensor:
    return x / 2


def test_a_rule_for_what_a_library_defines() -> None:
    mine = RuleSet("mine", RULE_SETS["absLRP"])
    mine.rule(halved)(lambda call, x: lambda relevance: relevance * 3)
    x, R = draw(2, 6), np.abs(draw(2, 6, seed=1))
    model = Single(halved, [(6,)], rectify=False).eval()
    np.testing.assert_allclose(abslrp.relevance(model, x, R, rules=mine, conserve=None), 3 * R)


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (None, "to return an account, or a function of relevance, got None"),
        (5, "to return an account, or a function of relevance, got 5"),
        (lambda R: R, "of each of 2 activations among the arguments, got 1"),
        (lambda R: (R, R, R), "of each of 2 activations among the arguments, got 3"),
        (lambda R: (R[:, :3], R), r"relevance of shape \(1, 6\), got \(1, 3\)"),
        (lambda R: (R[0], R), r"relevance of shape \(1, 6\), got \(6,\)"),
        (lambda R: (R.numpy(), R), r"relevance of shape \(1, 6\), got ndarray"),
    ],
)
def test_what_a_rule_returns_is_checked(made: Any, got: str) -> None:
    mine = RuleSet("mine", RULE_SETS["absLRP"])
    mine.rule(torch.add)(lambda call, a, b, alpha=1: made)
    model = Single(torch.add, [(6,), (1,)], rectify=False).eval()
    with pytest.raises(ValueError, match=f"rule: expected that of .*add.* {got}"):
        abslrp.relevance(model, draw(1, 7), draw(1, 6), rules=mine)


def test_a_rule_may_send_no_relevance_to_a_value() -> None:
    mine = RuleSet("mine", RULE_SETS["absLRP"])
    mine.rule(torch.add)(lambda call, a, b, alpha=1: lambda relevance: (relevance, None))
    mine.rule(torch.tanh)(lambda call, x: lambda relevance: None)
    R = np.abs(draw(2, 6, seed=2))
    model = Single(lambda a, b: a.tanh() + b, [(6,), (6,)], rectify=False).eval()
    with pytest.raises(ValueError, match="its logits do not depend on the inputs"):
        abslrp.relevance(model, draw(2, 12), R, rules=mine)
    model = Single(lambda a, b: a + b.tanh(), [(6,), (6,)], rectify=False).eval()
    found = abslrp.relevance(model, draw(2, 12), R, rules=mine)
    np.testing.assert_allclose(found, np.concatenate([R, 0 * R], 1))
