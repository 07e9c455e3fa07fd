"""Memory that callers use again: outputs, maps and rows count as they were when they were given."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import quantus
import torch
from torch import Tensor, nn

from gae_metric import GAE, LocalConsistency, LocalFaithfulness
from gae_metric.companions import ABPC, AOPC, ROAD, Focus
from gae_metric.explainers import gradcam, saliency

METRICS = {
    "GAE": lambda: GAE(steps=3),
    "ROAD": lambda: ROAD(percentages=[10, 40]),
    "Focus": Focus,
    "AOPC": lambda: AOPC(regions=6, size=4),
}


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    return nn.Sequential(*layers).double().eval()


X = np.random.default_rng(0).normal(size=(8, 3, 12, 12))
Y = np.array([0, 1, 2, 3, 0, 1, 2, 3])


def magnitudes(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> Any:
    return np.abs(inputs) * (1 + np.reshape(targets, (-1, 1, 1, 1)))


class Held(nn.Module):
    """All outputs lie in one memory, as those of a recorded graph of kernels do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()
        self.register_buffer("held", torch.empty(512, 4).double(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        held: Any = self.held
        result: Tensor = held[: len(x)].detach().copy_(self.net(x))
        return result


@pytest.mark.parametrize("name", METRICS)
def test_outputs_in_one_memory(name: str) -> None:
    found, expected = (
        METRICS[name]()(model, X, Y, explain_func=magnitudes, batch_size=3)
        for model in (Held().eval(), net())
    )
    assert found == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("name", METRICS)
def test_maps_in_one_memory(name: str, size: int) -> None:
    """quantus.evaluate passes what explain_func returned first, and it is called again."""
    held = np.empty((64, *X.shape[1:]))

    def mine(model: Any, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        held[: len(inputs)] = magnitudes(model, inputs, targets)
        return held[: len(inputs)]

    with contextlib.redirect_stdout(io.StringIO()):
        results: Any = quantus.evaluate(
            {name: METRICS[name]()}, {"own": magnitudes, "held": mine}, net(), X, Y,
            explain_func_kwargs={}, call_kwargs={"a": {"batch_size": size}},
        )  # fmt: skip
    own, other = results["own"][name], results["held"][name]
    assert own == other
    assert len(set(next(iter(own.values())) if isinstance(own, dict) else own)) > 1


class Reader:
    """Reads each row into one array."""

    def __init__(self, values: Any, whole: bool = False) -> None:
        self.values, self.held = values, np.empty_like(values[0])
        if whole:  # slices, as an array
            self.shape, self.dtype, self.held = values.shape, values.dtype, np.empty_like(values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: Any) -> Any:
        held = self.held[: len(self.values[i])] if isinstance(i, slice) else self.held
        held[...] = self.values[i]
        return held


@pytest.mark.parametrize("whole", [False, True])
def test_readers_with_one_memory(whole: bool) -> None:
    given = Reader(magnitudes(None, X, Y), whole)
    found = LocalFaithfulness()(net(), Reader(X, whole), Y, a_batch=given)
    assert found == LocalFaithfulness()(net(), X, Y, a_batch=magnitudes(None, X, Y))


def test_lists_of_samples_with_their_classes() -> None:
    pairs = [*zip(X, Y, strict=True)]
    expected = GAE(steps=3)(net(), X, Y, explain_func=magnitudes)
    assert GAE(steps=3)(net(), pairs, explain_func=magnitudes) == expected
    tensors = [[torch.as_tensor(x), int(y)] for x, y in pairs]
    assert GAE(steps=3)(net(), tensors, explain_func=magnitudes) == expected


def test_the_error_of_a_reader_is_its_own() -> None:
    class Broken:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> Any:
            if i < 0:
                raise IndexError(i)
            return X[i] + None  # type: ignore[operator]

    with pytest.raises(TypeError, match="unsupported operand"):
        GAE()(net(), Broken(), Y[:4], explain_func=magnitudes)


def test_rows_of_samples_among_the_options() -> None:
    """A mosaic, or a sample that is masked, has no row there."""
    with pytest.raises(ValueError, match=r"explain_func_kwargs: .* got 'baselines' with a row for"):
        LocalConsistency()(
            net(), X, Y, explain_func=magnitudes, explain_func_kwargs={"baselines": X}
        )
    one = LocalConsistency()(
        net(), X, Y, explain_func=magnitudes, explain_func_kwargs={"baselines": X[:1]}
    )
    assert one == LocalConsistency()(net(), X, Y, explain_func=magnitudes)


@pytest.mark.parametrize("metric", [AOPC(regions=6, size=4), ABPC(regions=6, size=4)])
def test_noise_does_not_depend_on_the_models_type(metric: Any) -> None:
    """Images that half precision rounds have the noise that they have in float32."""
    given, rounded = X.astype("f4"), X.astype("f2").astype("f4")
    half, single = (
        metric(model, given, Y, a_batch=np.abs(given)) for model in (net().half(), net().float())
    )
    # Two draws are some tenths apart; half precision has three digits.
    assert np.abs(np.subtract(half, single)).max() < 0.01
    other = metric(net().half(), rounded, Y, a_batch=np.abs(given))
    assert np.abs(np.subtract(half, other)).max() > 0.02


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: __import__("functools").partial(magnitudes, net()), "model given by a partial"),
        (net, r"explain_func: expected a function .* got one with \(input"),
    ],
)
def test_functions_that_have_a_model(function: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GAE()(net(), X, Y, explain_func=function())


def test_a_model_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = net()
    with pytest.raises(ValueError, match="model: its parameters were made in inference mode"):
        GAE()(model, X, Y, explain_func=magnitudes)


def test_gray_images_without_channels_and_pixels_are_told() -> None:
    square = nn.Sequential(nn.Flatten(), nn.Linear(144, 4)).double().eval()
    with pytest.warns(RuntimeWarning, match=r"inputs \(12, 12\) are taken for time series of 12"):
        LocalConsistency()(square, X[:, 0], Y, explain_func=lambda inputs, **_: np.abs(inputs))
    with pytest.warns(RuntimeWarning, match="the inputs are real numbers up to"):
        GAE(steps=3)(net(), np.abs(X) * 40.5, Y, explain_func=magnitudes)
    deep = np.random.default_rng(0).integers(0, 2**16, X.shape, dtype=np.uint16)
    with pytest.warns(RuntimeWarning, match="whole numbers up to 6.*; divide by 65535, then"):
        GAE(steps=3)(net(), deep, Y, explain_func=magnitudes)


@pytest.mark.parametrize("kind", ["float", "one-hot", "column", "several", "objects"])
def test_classes_that_metrics_take_are_taken_by_explainers(kind: str) -> None:
    """quantus.evaluate passes them on as they are."""
    hot = np.eye(4, dtype=int)
    y: Any = {
        "float": Y.astype(float),
        "one-hot": hot[Y],
        "column": Y[:, None],
        "several": hot[Y] | hot[(Y + 1) % 4],
        "objects": Y.astype(object),
    }[kind]
    for function in (saliency, gradcam):
        expected = GAE(steps=3)(net(), X, y, explain_func=function)
        with contextlib.redirect_stdout(io.StringIO()):
            results: Any = quantus.evaluate(
                {"GAE": GAE(steps=3)}, {"own": function}, net(), X, y, explain_func_kwargs={}
            )
        assert results["own"]["GAE"] == expected
