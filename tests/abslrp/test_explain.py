"""The Quantus explain_func: kinds of input, keywords, and errors that name the argument."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import quantus
import torch
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import draw


def net(classes: int = 4, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)
        ).eval().to(dtype)  # fmt: skip


X = draw(3, 3, 8, 8)
Y = np.array([0, 3, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_arrays_give_arrays(dtype: Any) -> None:
    maps = abslrp.explain(net(), X.astype(dtype), Y)
    assert isinstance(maps, np.ndarray)
    assert maps.dtype == dtype
    assert maps.shape == X.shape
    wanted = abslrp.explain(net(), X.astype(np.float32), Y)
    np.testing.assert_allclose(maps, wanted, atol=1e-4 if dtype != np.float16 else 3e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("at", [None, "0"])
def test_arrays_give_arrays_of_models_of_16_bits(dtype: torch.dtype, at: str | None) -> None:
    model = net().to(dtype)
    maps = abslrp.explain(model, X.astype(np.float32), Y, at=at)
    assert isinstance(maps, np.ndarray)
    assert maps.dtype == np.float32
    wanted = abslrp.explain(model, torch.from_numpy(X).float(), Y, at=at)
    np.testing.assert_array_equal(maps, wanted.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("model_dtype", [torch.float32, torch.float64])
def test_tensors_give_tensors(dtype: torch.dtype, model_dtype: torch.dtype) -> None:
    x = torch.from_numpy(X).to(dtype)
    maps = abslrp.explain(net(dtype=model_dtype), x, torch.from_numpy(Y))
    assert isinstance(maps, Tensor)
    assert (maps.dtype, maps.shape, maps.device) == (x.dtype, x.shape, x.device)
    assert not maps.requires_grad


@pytest.mark.parametrize("targets", [Y, Y.tolist(), torch.from_numpy(Y), Y.astype(np.int32)])
def test_kinds_of_targets(targets: Any) -> None:
    wanted = abslrp.explain(net(), X, Y)
    np.testing.assert_array_equal(abslrp.explain(net(), X, targets), wanted)


@pytest.mark.parametrize("one", [2, np.int64(2), torch.tensor(2)])
def test_one_target_for_all(one: Any) -> None:
    wanted = abslrp.explain(net(), X, [2, 2, 2])
    np.testing.assert_array_equal(abslrp.explain(net(), X, one), wanted)


@pytest.mark.parametrize("batch_size", [None, 1])
def test_predicted_classes(batch_size: int | None) -> None:
    model = net(dtype=torch.float64)
    classes = model(torch.from_numpy(X).double()).argmax(1)
    maps = abslrp.explain(model, X, "predicted", batch_size=batch_size)
    np.testing.assert_allclose(maps, abslrp.explain(model, X, classes), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("contrast", ["streams", "signed", None])
def test_a_class_in_place_of_all_others(contrast: Any, batch_size: int | None) -> None:
    model, x, other = net(dtype=torch.float64), torch.from_numpy(X).double(), [2, 0, 3]
    options: Any = {"contrast": contrast, "against": other, "batch_size": batch_size}
    found = abslrp.explain(model, x, Y, **options)
    hot = torch.eye(4).double()
    if contrast == "streams":
        alone = [abslrp.explain(model, x, one, contrast=None) for one in (Y, other)]
        one, two = (each / each.sum((1, 2, 3), keepdim=True) for each in alone)
        wanted = one - two
    else:
        wanted = abslrp.relevance(model, x, hot[Y] - hot[other])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    assert (found - abslrp.explain(model, x, Y, contrast=contrast)).abs().max() > 1e-3
    several = abslrp.explain(model, x, np.stack([Y, Y], 1), **options)
    torch.testing.assert_close(several, torch.stack([found, found], 1), rtol=1e-9, atol=1e-12)


def test_what_against_refuses() -> None:
    for given, message in ((4, "classes from 0 to 3, got 4"), ([[1], [1], [2]], "one integer")):
        with pytest.raises(ValueError, match=f"against: expected {message}"):
            abslrp.explain(net(), X, Y, against=given)
    with pytest.raises(ValueError, match="contrast, against: a target makes one number"):
        abslrp.explain(net(), X, target=abslrp.targets.logit(1), against=1)


def test_quantus_keywords_are_ignored() -> None:
    wanted = abslrp.explain(net(), X, Y)
    got = abslrp.explain(
        net(), X, Y, method="Saliency", softmax=True, channel_first=True, device="cpu",
        xai_lib="captum", normalise=False, abs=False,
    )  # fmt: skip
    np.testing.assert_array_equal(got, wanted)
    positional = abslrp.explain(model=net(), inputs=X, targets=Y, something_else=1)
    np.testing.assert_array_equal(positional, wanted)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("conserv", "conserve"), ("contrasts", "contrast"), ("batchsize", "batch_size"),
     ("rule", "rules"), ("outputs", "output")],
)  # fmt: skip
def test_a_typo_is_named(typo: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"{typo}: .*{meant}"):
        abslrp.explain(net(), X, Y, **{typo: None})


def test_streams_are_shares() -> None:
    maps = abslrp.explain(net(dtype=torch.float64), X, Y)
    R = abslrp.relevance(net(dtype=torch.float64), X, np.eye(4)[Y])
    shares = R / R.sum((1, 2, 3), keepdims=True)
    assert (maps <= shares + 1e-12).all()
    np.testing.assert_allclose(maps.sum((1, 2, 3)), 0, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_batch_size_does_not_change_maps(size: int) -> None:
    np.testing.assert_allclose(
        abslrp.explain(net(), X, Y, batch_size=size), abslrp.explain(net(), X, Y), atol=1e-6
    )


class Wrapped(nn.Module):
    """Returns what ``wrap`` makes of the logits."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.net(x))


class Output:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


def test_logits_within_an_output() -> None:
    wanted = abslrp.explain(net(), X, Y)
    np.testing.assert_array_equal(abslrp.explain(Wrapped(Output).eval(), X, Y), wanted)
    pair = Wrapped(lambda y: (y, 0)).eval()
    got = abslrp.explain(pair, X, Y, output=lambda result: result[0])
    np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ValueError, match="output="):
        abslrp.explain(pair, X, Y)


def dead(y: Tensor) -> Tensor:
    return torch.ones_like(y)


ERRORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "model: .*training mode": (None, {"model": net().train()}),
    "model: expected a torch.nn.Module": (None, {"model": lambda x: x}),
    "inputs: expected floating-point": (None, {"inputs": np.ones((3, 3, 8, 8), dtype=np.int64)}),
    "inputs: expected floating-point values, got torch.bool": (
        None, {"inputs": torch.ones(3, 3, 8, 8, dtype=torch.bool)}
    ),
    "inputs: expected an array": (None, {"inputs": X.tolist()}),
    "inputs: .*at least one sample": (None, {"inputs": X[:0], "targets": Y[:0]}),
    r"inputs: expected a batch axis": (None, {"inputs": X[0, 0, 0]}),
    r"targets: expected classes from 0 to 3, got 4 at position 1": (None, {"targets": [0, 4, 1]}),
    r"targets: expected classes from 0 to 3, got -1": (None, {"targets": [0, -1, 1]}),
    r"targets: expected shape \(3,\), .*, got \(2,\)": (None, {"targets": [0, 1]}),
    r"targets: expected shape .*\(3, K\).*, got \(2, 3\)": (None, {"targets": [[0, 1, 2]] * 2}),
    r"targets: expected shape .*, got \(3, 0\)": (None, {"targets": np.zeros((3, 0), int)}),
    r"targets: expected shape .*, got \(3, 1, 1\)": (None, {"targets": Y.reshape(3, 1, 1)}),
    r"targets: expected classes from 0 to 3, got 7 at position \(2, 1\)": (
        None, {"targets": [[0, 1], [1, 2], [3, 7]]}
    ),
    "targets: expected integers": (None, {"targets": [0.0, 1.0, 1.5]}),
    r"targets: expected integers of shape \(3,\), got None": (None, {"targets": None}),
    "targets: expected integers .*, got str": (None, {"targets": "cat"}),
    "targets: expected integers .*, got list": (None, {"targets": [[0, 1], [2], [3]]}),
    r"model: .* logits of shape \(3, classes\), got torch.float32 \(3, 2, 2\)": (
        lambda y: y.view(3, 2, 2), {}
    ),
    r"model: .* logits of shape \(3, classes\), got .* \(12,\)": (lambda y: y.flatten(), {}),
    "model: .*do not depend": (dead, {}),
    "model: its logits do not depend on the inputs": (lambda y: y.detach(), {}),
    "contrast": (None, {"contrast": "stream"}),
    'model: it has one output.*output="binary"': (lambda y: y[:, :1], {"targets": 0}),
    "conserve": (None, {"conserve": "all"}),
    "reduce: expected 'channels' or None, got 'sum'": (None, {"reduce": "sum"}),
    "relevance_at: expected 'input' or 'patches'": (None, {"relevance_at": "pixels"}),
    "attention: expected 'values', 'queries_keys' or None": (None, {"attention": "qk"}),
    r"model: it has one output": (lambda y: y[:, 0], {}),
    r"model: .* logits of shape \(3, classes\), got torch.float32 \(1, 4\)": (lambda y: y[:1], {}),
    "batch_size: expected a positive integer or None, got 0": (None, {"batch_size": 0}),
    "batch_size: expected a positive integer or None, got 1.5": (None, {"batch_size": 1.5}),
    "batch_size: expected a positive integer or None, got 'all'": (None, {"batch_size": "all"}),
}  # fmt: skip


@pytest.mark.parametrize("message", ERRORS)
def test_errors_name_the_argument(message: str) -> None:
    wrap, given = ERRORS[message]
    call: dict[str, Any] = {"model": Wrapped(wrap).eval() if wrap else net(), "inputs": X,
                            "targets": Y, **given}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        abslrp.explain(call.pop("model"), call.pop("inputs"), call.pop("targets"), **call)


def pooled() -> nn.Module:
    """Runs on (C, H, W) as well, and returns (N,)."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(-2), MeanOfLast(), nn.Linear(4, 4)).eval()


class MeanOfLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(-1)


@pytest.mark.parametrize("build", [net, pooled])
@pytest.mark.parametrize("targets", [0, [0], [0, 1, 2], np.array([0])])
def test_an_input_without_a_batch_axis(build: Any, targets: Any) -> None:
    message = (
        r"inputs: expected a batch axis, got shape \(3, 8, 8\); x\[None\] has one, "
        r"\(1, 3, 8, 8\)"
    )
    with pytest.raises(ValueError, match=message):
        abslrp.explain(build(), X[0], targets)
    with pytest.raises(ValueError, match=message):
        abslrp.relevance(build(), X[0], np.eye(4)[:1])


def test_other_errors_of_the_model_come_out_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        abslrp.explain(net(), X[:, :2], Y)


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (3,), (1, 1, 3, 4)])
def test_a_start_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="start: expected the shape of the logits"):
        abslrp.relevance(net(), X, np.zeros(shape))


def test_nan_stays_with_its_sample() -> None:
    x = X.copy()
    x[1] = np.nan
    maps = abslrp.explain(net(), x, Y)
    wanted = abslrp.explain(net(), X, Y)
    np.testing.assert_allclose(maps[[0, 2]], wanted[[0, 2]], atol=1e-6)
    assert not np.isfinite(maps[1]).all()


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    abslrp.explain(net(), X, Y)
    assert torch.equal(torch.get_rng_state(), before)


def test_quantus_evaluate_accepts_it() -> None:
    model, x = net(), X.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = quantus.evaluate(
            metrics={
                "Sparseness": quantus.Sparseness(disable_warnings=True, display_progressbar=False)
            },
            xai_methods={"absLRP": abslrp.explain},
            model=model,
            x_batch=x,
            y_batch=Y,
            agg_func=np.asarray,
            explain_func_kwargs={},
            call_kwargs={"": {"batch_size": 2}},
        )
    scores = np.ravel(results["absLRP"]["Sparseness"])
    assert scores.shape == (3,)
    assert np.isfinite(scores.astype(float)).all()
