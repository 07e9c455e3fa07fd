"""The compatibility table: a few models always, what a verdict means, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

import abslrp

pytest.importorskip("zennit", reason="needs the extra 'benchmarks'")
pytest.importorskip("captum", reason="needs the extra 'benchmarks'")
pytest.importorskip("lxt", reason="needs the extra 'benchmarks'")
pytest.importorskip("transformers", reason="needs the extra 'text'")

from benchmarks.compatibility import hugging_face, trial
from benchmarks.compatibility.__main__ import main, written
from benchmarks.compatibility.cases import BATCH, CLASSES, Case, of_timm, of_torchvision
from benchmarks.compatibility.processes import SOURCES, case_of

FAST = (
    "torchvision/classification/squeezenet1_1",
    "torchvision/segmentation/lraspp_mobilenet_v3_large",
    "timm/levit_128s",
    "transformers/image/vit",
    "transformers/text/bert",
    "transformers/causal/llama",
    "transformers/causal/gemma4_text",
)


@pytest.mark.parametrize("key", FAST)
def test_explained(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "OTHERS", {})
    result = trial.trial(lambda: case_of(key))
    assert (result["verdict"], result["reason"]) == ("explained", "")
    assert result["arrives"] > 0
    assert max(result["definition"], result["alone"]) < 1e-5


def tried(forward: Any, **layers: nn.Module) -> dict[str, Any]:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, CLASSES, bias=False)
            nn.init.uniform_(self.head.weight, 0.1, 1)

        def forward(self, x: Tensor) -> Any:
            return forward(self, x)

    return trial.trial(lambda: Case.of(lambda: (Network(), (4,))))


def cast(net: Any, x: Tensor) -> Tensor:
    """Two layers, between which values go through float32 and back, as in a model's own norms."""
    hidden = (x.abs() @ torch.full((4, 4), 0.3, dtype=x.dtype)).float()
    scaled = hidden.to(torch.float32) * torch.rsqrt(
        hidden.pow(2).mean(1, True, dtype=torch.float32)
    )
    return net.head(scaled.type_as(x))


def test_casts_to_float32_do_not_round(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(trial, "OTHERS", {})
    result = tried(lambda net, x: (seen.append(x.dtype), cast(net, x))[1])
    assert result["verdict"] == "explained"
    assert max(result["definition"], result["alone"], result["conservation"]) < 1e-12
    assert seen[-1] == torch.float64
    assert trial.InFloat64 not in map(type, torch.overrides._get_current_function_mode_stack())


def test_what_is_there_for_float32_alone_is_tried_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def forward(net: Any, x: Tensor) -> Any:
        if x.dtype == torch.float64:
            raise RuntimeError("expected Float32")
        seen.append(net.head.weight.dtype)
        return net.head(x.abs())

    monkeypatch.setattr(trial, "OTHERS", {})
    assert tried(forward)["verdict"] == "explained"
    assert set(seen) == {torch.float32}


def test_leaks_are_found() -> None:
    result = tried(lambda net, x: net.head(torch.cat([x.abs()[:, :2], x.new_ones(len(x), 2)], 1)))
    assert result["verdict"] == "explained"
    assert 0.1 < result["lost"] < 0.9
    assert result["arrives"] + result["lost"] == pytest.approx(1)


def test_a_function_without_a_rule_is_a_refusal_with_its_reason() -> None:
    result = tried(lambda net, x: net.head(torch.logcumsumexp(x, 1)))
    assert result["verdict"] == "refused"
    assert result["reason"].startswith("UnknownOperationError: torch.logcumsumexp")


def test_what_cannot_be_explained_is_no_failure() -> None:
    assert tried(lambda net, x: net.head(x[:, :3]))["verdict"] == "not built"
    assert tried(lambda net, x: net.head(x.sign()))["verdict"] == "no gradient"
    assert tried(lambda net, x: net.head(x.detach()))["verdict"] == "no gradient"


@pytest.mark.parametrize("reason", ["conservation", "definition", "alone"])
def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    relevance, explain = abslrp.relevance, abslrp.explain

    def wrong_sum(*args: Any, **kwargs: Any) -> Tensor:
        rules = not kwargs.get("accelerate", True) and reason == "conservation"
        return relevance(*args, **kwargs) * (1 if rules or reason == "alone" else 0.9)

    def wrong_alone(model: Any, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return explain(model, inputs, *args, **kwargs) * (2 if len(inputs) == 1 else 1)

    if reason == "definition":
        monkeypatch.setattr(
            abslrp, "relevance",
            lambda *a, accelerate=True, **k: relevance(*a, **k).flip(1 if accelerate else 0),
        )  # fmt: skip
    elif reason == "conservation":
        monkeypatch.setattr(abslrp, "relevance", wrong_sum)
    else:
        monkeypatch.setattr(abslrp, "explain", wrong_alone)
    result = tried(lambda net, x: net.head(x.abs()))
    assert result["verdict"] == "wrong"
    assert reason in result["reason"].split(", ")


def test_what_is_left_on_the_model_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = abslrp.explain

    def leaving(model: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        model.register_forward_hook(lambda *given: None)
        return explain(model, *args, **kwargs)

    monkeypatch.setattr(abslrp, "explain", leaving)
    result = tried(lambda net, x: net.head(x.abs()))
    assert result["verdict"] == "wrong"
    assert result["reason"].startswith("left on the model")


def test_the_other_libraries_are_asked() -> None:
    result = trial.trial(lambda: case_of("torchvision/classification/vgg11"))
    assert float(result["zennit"]) == pytest.approx(1, abs=0.01)
    assert float(result["captum"]) == pytest.approx(1, abs=0.01)
    assert result["lxt"].startswith("ValueError")


def test_the_lists() -> None:
    assert len(of_timm()) > 150
    assert {"classification/vgg16", "detection/ssd300_vgg16"} <= set(of_torchvision())
    assert {"image/vit", "audio/wav2vec2", "causal/gpt2"} <= set(hugging_face.of_transformers())
    assert set(SOURCES) == {"torchvision", "timm", "transformers"}


def test_the_page_counts_and_names_what_fails() -> None:
    rows = pd.DataFrame(
        [
            {"model": "timm/a", "verdict": "explained", "arrives": 1.0, "time": 2.0,
             "zennit": "0.95", "captum": "TypeError: no", "lxt": "7.1"},
            {"model": "timm/b", "verdict": "refused", "reason": "ValueError: a|b"},
            {"model": "transformers/image/c", "verdict": "not built"},
        ]
    )  # fmt: skip
    text = written(rows, 7)
    assert "Of 2 models that have a gradient 1 are explained (50.0 %)" in text
    assert "| timm | 2 | 1 | 1 | 0 | 1 | 1 | 1 | 0 | 0 | 1 | 0 |" in text
    assert "| timm/b | refused | ValueError: a\\|b |" in text
    assert "Another 1 do not build" in text
    assert "3 of the 7 models of the list" in text


def test_the_command_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "timm", (lambda: ["a", "b"], SOURCES["timm"][1]))
    for name in ("torchvision", "transformers"):
        monkeypatch.setitem(SOURCES, name, (list, SOURCES[name][1]))
    asked: list[str] = []
    others = dict.fromkeys(trial.OTHERS, "1.000")

    def one(key: str) -> dict[str, Any]:
        asked.append(key)
        return {"verdict": "explained", "reason": "", "time": 1.0, "arrives": 1.0, **others}

    monkeypatch.setattr("benchmarks.compatibility.__main__.tried", one)
    app = typer.Typer()
    app.command()(main)
    files = ["--results", str(tmp_path / "r.csv"), "--page", str(tmp_path / "p.md")]
    for arguments in (["timm/b"], ["--all"], ["timm/a"]):
        done = CliRunner().invoke(app, [*arguments, *files])
        assert done.exit_code == 0, done.output
    assert asked == ["timm/b", "timm/a", "timm/a"]
    assert "| timm | 2 | 2 | 0 | 0 | 2 |" in (tmp_path / "p.md").read_text()
    assert CliRunner().invoke(app, ["nonsense/a", *files]).exit_code != 0


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, two = (case_of("timm/mobilenetv3_small_050") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.inputs, two.inputs)
    assert len(one.inputs) == BATCH
    parameters = zip(one.model.parameters(), two.model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in parameters)
