"""The compatibility table: a few models always, all of them in the marked run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import abslrp
from benchmarks.compatibility import one_model as measure
from benchmarks.compatibility.candidates import CLASSES, ENTRIES, FAST, Entry
from benchmarks.compatibility.table import markdown

EXTRAS = {"transformers": "text", "onnx2torch": "onnx"}
SLOW = [key for key in ENTRIES if key not in FAST]


def check(key: str) -> None:
    entry = ENTRIES[key]
    if entry.library in EXTRAS:
        pytest.importorskip(entry.library, reason=f"needs the extra {EXTRAS[entry.library]!r}")
    result = measure.measure(entry, repeats=1)
    assert result.error is None
    assert result.arriving is not None
    assert result.deviation is not None
    assert result.arriving > 0
    # Float32 rounding of networks as deep as 500 operations; a rule that does not conserve is
    # off by far more.
    assert result.deviation < 1e-3


@pytest.mark.parametrize("key", FAST)
def test_fast(key: str) -> None:
    check(key)


@pytest.mark.slow
@pytest.mark.parametrize("key", SLOW)
def test_all(key: str) -> None:
    check(key)


class Leaky(nn.Module):
    """Part of the relevance goes to a constant, by a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 1), 2.0))
        self.head = nn.Linear(2, CLASSES, bias=False)
        nn.init.uniform_(self.head.weight, 0.1, 1)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([x.abs().sum(1, keepdim=True), self.token.expand(len(x), 1)], 1)
        logits: Tensor = self.head(both)
        return logits


class Negative(nn.Module):
    """No input adds to the logits."""

    def forward(self, x: Tensor) -> Tensor:
        return -x.abs() @ torch.ones(x.shape[1], CLASSES)


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.logcumsumexp(x, 1)


def entry(build: Any) -> Entry:
    return Entry("torch", "test", build, (4,))


def test_leaks_are_found() -> None:
    model, x = entry(Leaky).make(2)
    token, value = 2.0, x.abs().sum(1)
    weight = model.head.weight[[0, 1], :]
    wanted = token * weight[:, 1] / (token * weight[:, 1] + value * weight[:, 0])
    result = measure.measure(entry(Leaky), repeats=1)
    assert result.error is None
    assert result.leaking == pytest.approx(float(wanted.mean()), abs=1e-6)
    assert result.arriving == pytest.approx(1 - float(wanted.mean()), abs=1e-6)
    model, x = entry(Negative).make(2)
    assert abslrp.audit(model, x[:1], 0).lost == 1


def test_relevance_lost_otherwise_is_a_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    relevance = abslrp.relevance
    monkeypatch.setattr(abslrp, "relevance", lambda *args: 0.9 * relevance(*args))
    result = measure.measure(entry(lambda: nn.Linear(4, CLASSES)), repeats=1)
    assert result.deviation == pytest.approx(0.1, abs=1e-6)


def test_a_model_that_is_not_explained_has_its_error_in_the_table() -> None:
    result = measure.measure(entry(Failing), repeats=1)
    assert result.error is not None
    assert result.error.startswith("UnknownOperationError: torch.logcumsumexp")
    text = markdown(
        {FAST[0]: result, FAST[1]: measure.Result(None, 2.0, 1.0, -1e-12, 3e-7)}, "make"
    )
    assert "1 of 2 models" in text
    rows = text.rstrip().splitlines()[-2:]
    assert "no: UnknownOperationError" in rows[0]
    assert rows[1].endswith("| yes | 2.0 | 1.000 | 0.000 | 3e-07 |")


def test_the_command(tmp_path: Any) -> None:
    import typer

    from benchmarks.compatibility.__main__ import main

    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "docs" / "table.md"
    key = "torch:1-D convolutions"
    done = CliRunner().invoke(app, ["--model", key, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "| torch | 1-D convolutions | 2×512 | yes |" in out.read_text()
    assert CliRunner().invoke(app, ["--model", "timm:nonsense"]).exit_code != 0


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, x = ENTRIES[FAST[1]].make(1)
    two, y = ENTRIES[FAST[1]].make(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, y)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
