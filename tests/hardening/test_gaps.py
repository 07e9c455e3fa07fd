"""Ways through the code that no other test takes: terminals, other devices, odd settings."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from gae_metric.commands.terminal import Terminal
from gae_metric.explainers.gradients import saliency
from gae_metric.functional import selection
from gae_metric.probe.writing import _plain
from tests.hardening.networks import inputs, network


def test_progress_on_a_terminal():
    terminal = Terminal()
    stream = io.StringIO()
    terminal.err = Console(file=stream, force_terminal=True, width=100)
    with terminal.progress("[red]a model[/]") as progress:
        progress("[bold]GAE[/]", 1, 3)
        progress("ROAD", 3, 3)
    assert "[red]a model[/]: ROAD" in stream.getvalue()  # names are not taken for markup
    assert "100%" in stream.getvalue()


def test_progress_in_a_log():
    terminal = Terminal()
    stream = io.StringIO()
    terminal.err = Console(file=stream, width=100)
    with terminal.progress("model") as progress:
        for metric in ("GAE", "ROAD"):
            progress(f"absLRP, {metric}", 0, 2)
    assert stream.getvalue().splitlines() == ["model: absLRP, GAE, 0%"]


def test_features_are_selected_alike_on_every_device(monkeypatch):
    """A GPU sorts where a CPU partitions; both give the threshold."""
    rng = np.random.default_rng(0)
    key = torch.as_tensor(rng.integers(-3, 4, (5, 40)).astype(np.float32))
    first = torch.as_tensor(rng.random((5, 40)) < 0.3)
    by_partition = [selection.highest(key, count, first) for count in range(41)]

    class OnAnother(torch.Tensor):
        """Says that it lies elsewhere."""

        @property
        def device(self):
            return torch.device("cuda")

    real = selection._from_top
    seen = []

    def from_top(key, count):
        seen.append(count)
        return real(key.as_subclass(OnAnother), count).as_subclass(torch.Tensor)

    monkeypatch.setattr(selection, "_from_top", from_top)
    monkeypatch.setattr(selection.np, "partition", lambda *args, **kwargs: pytest.fail("on a CPU"))
    for count, wanted in enumerate(by_partition):
        assert torch.equal(selection.highest(key, count, first), wanted)
    assert seen == list(range(1, 40))


def test_settings_as_json_has_them():
    given = {1: np.float32(0.5), "a": (np.int64(3), torch.ones(2)), "b": np.arange(2), "c": max}
    plain = _plain(given)
    assert plain == {"1": 0.5, "a": [3, [1.0, 1.0]], "b": [0, 1], "c": str(max)}
    assert type(plain["1"]) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": "images"}, "inputs: expected an array or a tensor of numbers, got str"),
        ({"inputs": torch.ones(5)}, r"inputs: expected real values of shape \(B, ...\), got"),
        ({"targets": 7}, "targets: expected classes from 0 to 4, .* got 7 at position 0"),
        ({"targets": [0.5] * 5}, "targets: expected integers of shape"),
        ({"model": network("vgg")[:3].eval()}, "model: expected floating-point logits of shape"),
    ],
)
def test_explainers_name_what_is_wrong(changes, message):
    x, y = inputs()
    with pytest.raises(ValueError, match=message):
        saliency(**({"model": network("vgg"), "inputs": x, "targets": y} | changes))


def test_explainers_take_lists_and_integers_as_metrics_do():
    x, y = inputs()
    whole = (x * 10).round()
    wanted = np.asarray(saliency(model=network("vgg"), inputs=whole, targets=y))
    for given in (whole.tolist(), torch.as_tensor(whole).to(torch.int64)):
        found = saliency(model=network("vgg"), inputs=given, targets=y)
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5, atol=1e-7)
