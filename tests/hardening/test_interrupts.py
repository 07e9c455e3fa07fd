"""Ctrl-C anywhere, and generators that nobody finishes: nothing is left of them."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp
import gae_metric
from abslrp.registry import RULE_SETS, RuleSet
from gae_metric import GAE, Contrastiveness, LocalConsistency, ProbeSet
from gae_metric.companions import ROAD, Focus
from gae_metric.explainers.gradients import EXPLAINERS
from tests.hardening.networks import NAMES, inputs, network
from tests.hardening.state import Unchanged

PACKAGES = tuple(str(Path(p.__file__).parent) + os.sep for p in (abslrp, gae_metric))


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


class Stops(nn.Module):
    """A layer that a user stops at its n-th call; else it does nothing."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after, self.calls = after, 0

    def forward(self, x: Tensor) -> Tensor:
        object.__setattr__(self, "calls", self.calls + 1)
        if self.calls == self.after:
            raise KeyboardInterrupt
        return x


def stopping(name: str, after: int) -> tuple[nn.Module, Stops]:
    stops = Stops(after)
    return nn.Sequential(network(name), stops).eval(), stops


@pytest.mark.parametrize("name", NAMES)
def test_in_the_forward_pass(name):
    (x, y), model = inputs(), network(name)
    wanted = abslrp.explain(model, x, y)
    stopped = stopping(name, 1)[0]
    with Unchanged(stopped), pytest.raises(KeyboardInterrupt):
        abslrp.explain(stopped, x, y)
    assert torch.equal(abslrp.explain(model, x, y), wanted)


@pytest.mark.parametrize("where", ["rule", "backward", "output", "start"])
@pytest.mark.parametrize("conserve", ["operation", "argument", None])
def test_in_the_parts_of_an_explanation(where, conserve):
    (x, y), model = inputs(), network("vit")
    wanted = abslrp.explain(model, x, y, conserve=conserve)
    rules = RuleSet("stopping", RULE_SETS["absLRP"])

    def stop(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    @rules.rule(torch.nn.functional.layer_norm)
    def layer_norm(call: Any, *args: Any, **kwargs: Any) -> Any:
        if where == "rule":
            raise KeyboardInterrupt
        return stop

    options: dict[str, Any] = {"conserve": conserve}
    if where in ("rule", "backward"):
        options["rules"] = rules
    if where == "output":
        options["output"] = stop

    def run() -> None:
        if where == "start":
            leaf = x.clone().requires_grad_()
            with abslrp.propagation(inputs=[leaf]):
                model(leaf)
                raise KeyboardInterrupt
        abslrp.explain(model, x, y, **options)

    with Unchanged(model), pytest.raises(KeyboardInterrupt):
        run()
    assert torch.equal(abslrp.explain(model, x, y, conserve=conserve), wanted)


@pytest.mark.parametrize("method", EXPLAINERS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_in_every_explainer(method, kind):
    (x, y), model = inputs(), network("vgg")
    error = kind()

    class Raises(nn.Module):
        """A model that is stopped at its first evaluation."""

        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: Tensor) -> Tensor:
            self.net(x)
            raise error

    stopped = Raises().eval()
    if method == "Random":  # never evaluates the model
        return
    with Unchanged(stopped), pytest.raises(kind):
        EXPLAINERS[method](stopped, x, y)


METRICS: dict[str, Callable[[], Any]] = {
    "GAE": lambda: GAE(steps=3, disable_warnings=True),
    "LocalConsistency": lambda: LocalConsistency(steps=3, disable_warnings=True),
    "Contrastiveness": lambda: Contrastiveness(disable_warnings=True),
    "ROAD": lambda: ROAD(percentages=[50], disable_warnings=True),
    "Focus": lambda: Focus(disable_warnings=True),
}


@pytest.mark.parametrize("metric", METRICS)
def test_in_every_evaluation_of_a_metric(metric):
    """At the first evaluation of the model, the second, ...; then the scores are as before."""
    x, y = (value.numpy() for value in inputs(6))

    def run(model: nn.Module) -> list[float]:
        gae_metric.clear_cache()
        scores: list[float] = METRICS[metric]()(
            model, x, y, explain_func=abslrp.explain, batch_size=2
        )
        return scores

    model, stops = stopping("vgg", 0)
    wanted = run(model)
    total = stops.calls
    assert total >= 2
    for after in range(1, total + 1, max(1, total // 8)):
        object.__setattr__(stops, "calls", 0)
        object.__setattr__(stops, "after", after)
        with Unchanged(model), pytest.raises(KeyboardInterrupt):
            run(model)
    object.__setattr__(stops, "after", 0)
    np.testing.assert_array_equal(run(model), wanted)


def test_a_metric_stopped_halfway_goes_on_with_what_it_had():
    """Trajectories that were finished are in the cache, and they are right."""
    x, y = (value.numpy() for value in inputs(6))
    model, stops = stopping("vgg", 0)

    def run() -> list[float]:
        metric = GAE(steps=3, disable_warnings=True)
        scores: list[float] = metric(model, x, y, explain_func=abslrp.explain, batch_size=2)
        return scores

    wanted, total = run(), stops.calls
    for after in (2, total // 2, total - 1):
        gae_metric.clear_cache()
        object.__setattr__(stops, "calls", 0)
        object.__setattr__(stops, "after", after)
        with pytest.raises(KeyboardInterrupt):
            run()
        object.__setattr__(stops, "after", 0)
        np.testing.assert_array_equal(run(), wanted)


class InterruptAtLine:
    """Raises KeyboardInterrupt at the n-th line of our packages that is executed.

    Python itself lets no interrupt be caught between the end of a context's ``__enter__`` and its
    body, nor within its ``__exit__``; those lines are left out, as they are of ``torch.no_grad``.
    """

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def numbers(self, count: int) -> range:
        """Spread over the lines that were counted, but for the last few.

        Runs differ by some lines, with the memory that happens to be used again.
        """
        return range(1, self.count - self.count // 50, self.count // count)

    def __enter__(self) -> InterruptAtLine:
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.settrace(self.before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        ours = frame.f_code.co_filename.startswith(PACKAGES)
        return (
            self._line if ours and frame.f_code.co_name not in ("__enter__", "__exit__") else None
        )

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.number:
                raise KeyboardInterrupt
        return self._line


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"contrast": "signed"}, {"conserve": "argument"}])
def test_at_any_line_of_an_explanation(name, options):
    (x, y), model = inputs(2), network(name)
    wanted = abslrp.explain(model, x, y, **options)
    with InterruptAtLine(0) as lines:
        abslrp.explain(model, x, y, **options)
    assert lines.count > 500
    for number in lines.numbers(23):
        with Unchanged(model), pytest.raises(KeyboardInterrupt), InterruptAtLine(number):
            abslrp.explain(model, x, y, **options)
    assert torch.equal(abslrp.explain(model, x, y, **options), wanted)


@pytest.mark.parametrize("metric", METRICS)
def test_at_any_line_of_a_metric(metric):
    x, y = (value.numpy() for value in inputs(4))
    model = network("vgg")

    def run() -> list[float]:
        gae_metric.clear_cache()
        scores: list[float] = METRICS[metric]()(
            model, x, y, explain_func=EXPLAINERS["Saliency"], batch_size=3
        )
        return scores

    wanted = run()
    with InterruptAtLine(0) as lines:
        run()
    for number in lines.numbers(19):
        with Unchanged(model), pytest.raises(KeyboardInterrupt), InterruptAtLine(number):
            run()
    np.testing.assert_array_equal(run(), wanted)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarms")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals reach the main thread only",
)
def test_a_real_signal_at_any_time():
    (x, y), model = inputs(), network("vit")
    wanted = abslrp.explain(model, x, y)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    stopped = 0
    try:
        for delay in np.linspace(0.0005, 0.03, 12):
            with Unchanged(model):
                try:
                    signal.setitimer(signal.ITIMER_REAL, float(delay))
                    for _ in range(20):
                        abslrp.explain(model, x, y)
                except KeyboardInterrupt:
                    stopped += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert stopped > 6
    assert torch.equal(abslrp.explain(model, x, y), wanted)


# Generators.


def probe_set(model: nn.Module) -> ProbeSet:
    x, y = (value.numpy() for value in inputs(5))
    return ProbeSet.build(model, x, y, steps=3)


@pytest.mark.parametrize("how", ["closed", "forgotten", "in a cycle", "kept"])
def test_items_that_nobody_asks_for_any_more(how):
    model = network("vgg")
    probe = probe_set(model)
    wanted = [x for _, x, _ in probe.explain_items(4)]
    with Unchanged(model):
        items = probe.explain_items(4)
        next(items)
        next(items)
        if how == "closed":
            items.close()
        elif how == "in a cycle":
            cycle: list[Any] = [items]
            cycle.append(cycle)
            del items, cycle
            gc.collect()
        elif how == "forgotten":
            del items
    again = [x for _, x, _ in probe.explain_items(4)]
    assert all(np.array_equal(a, b) for a, b in zip(wanted, again, strict=True))


def test_between_items_nothing_is_in_force():
    """The caller explains between two chunks, with gradients."""
    model = network("vgg")
    probe = probe_set(model)
    with Unchanged(model):
        for _, x, targets in probe.explain_items(4):
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            leaf = torch.as_tensor(x).requires_grad_()
            loss = model(leaf).gather(1, torch.as_tensor(targets)[:, None]).sum()
            assert torch.autograd.grad(loss, leaf)[0].abs().max() > 0
            break


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError, GeneratorExit])
def test_a_stream_of_maps_that_breaks_off(error):
    model = network("vgg")
    probe = probe_set(model)
    closed = []

    def maps() -> Iterator[Any]:
        try:
            for number, (ids, x, _) in enumerate(probe.explain_items(4)):
                if number == 3:
                    raise error
                yield ids, np.abs(x)
        finally:
            closed.append(True)

    with Unchanged(model), pytest.raises(error):
        probe.score(maps())
    assert closed
    whole = ((ids, np.abs(x)) for ids, x, _ in probe.explain_items(4))
    assert np.isfinite(probe.score(whole, disable_warnings=True)["gae"]).all()


def test_a_stream_of_wrong_maps_is_let_go():
    model = network("vgg")
    probe = probe_set(model)
    closed = []

    def maps() -> Iterator[Any]:
        try:
            for ids, x, _ in probe.explain_items(4):
                yield ids, x[:, :, :3]
        finally:
            closed.append(True)

    with Unchanged(model), pytest.raises(ValueError, match="maps: expected shape"):
        probe.score(maps())
    gc.collect()
    assert closed


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_generator_of_the_users_with_our_context(how):
    """As with ``torch.no_grad``, the context is in force until the generator is closed."""
    (x, _), model = inputs(), network("vgg")

    def layers() -> Iterator[Tensor]:
        leaf = x.clone().requires_grad_()
        with abslrp.propagation(inputs=[leaf]):
            value = leaf
            for layer in model:
                value = layer(value)
                yield value

    with Unchanged(model):
        generator = layers()
        next(generator)
        next(generator)
        if how == "closed":
            generator.close()
        else:
            del generator
            gc.collect()
    leaf = x.clone().requires_grad_()
    assert torch.autograd.grad(model(leaf).sum(), leaf)[0].abs().max() > 0
