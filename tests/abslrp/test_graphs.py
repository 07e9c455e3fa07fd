"""GraphExplainer where there is nothing to record; on a GPU: hardening/test_cuda_kernels.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import abslrp


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()


def test_on_a_cpu_it_is_explain(model: torch.nn.Module) -> None:
    explain = abslrp.GraphExplainer(contrast=None)
    x = torch.rand(4, 6)
    for _ in range(3):
        assert torch.equal(explain(model, x, 1), abslrp.explain(model, x, 1, contrast=None))
    maps = explain(model, x.numpy(), [0, 1, 2, 0], method="absLRP")
    np.testing.assert_array_equal(
        maps, abslrp.explain(model, x.numpy(), [0, 1, 2, 0], contrast=None)
    )
    # A call's options go before the explainer's.
    assert torch.equal(explain(model, x, 1, contrast="streams"), abslrp.explain(model, x, 1))
    assert explain.accepts_tensors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0]], 0), "inputs: expected an array or a tensor, got list"),
        ((torch.rand(2, 6), [0]), "targets: expected shape"),
        ((torch.rand(2, 6), [0, 3]), "targets: expected classes from 0 to 2, got 3"),
    ],
)
def test_errors_are_those_of_explain(
    model: torch.nn.Module, arguments: tuple[object, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        abslrp.GraphExplainer()(model, *arguments)  # type: ignore[type-var]


def test_a_target_may_be_a_function(model: torch.nn.Module) -> None:
    x, target = torch.rand(2, 6), abslrp.targets.logit(1)
    found = abslrp.GraphExplainer()(model, x, target=target)
    assert torch.equal(found, abslrp.explain(model, x, target=target))


@pytest.mark.parametrize("option", [{"batch_size": 1}, {"against": np.array([2, 0])}])
def test_what_is_not_recorded(
    model: torch.nn.Module, option: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels would read classes from memory that is gone when they are replayed."""
    x = torch.rand(2, 6)

    class OnGpu(torch.Tensor):
        device = torch.device("cuda")

    def tensors(*_: Any) -> Any:
        return SimpleNamespace(tensors=[x.as_subclass(OnGpu)])

    def replayed(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(abslrp.graphs, "Batch", SimpleNamespace(of=tensors))
    monkeypatch.setattr(abslrp.GraphExplainer, "_replayed", replayed)
    found = abslrp.GraphExplainer()(model, x, [0, 1], **option)
    torch.testing.assert_close(found, abslrp.explain(model, x, [0, 1], **option))
    with pytest.raises(AssertionError):
        abslrp.GraphExplainer()(model, x, [0, 1])


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit: expected a positive integer, got 0"):
        abslrp.GraphExplainer(0)
