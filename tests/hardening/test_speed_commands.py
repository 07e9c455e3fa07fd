"""``python -m benchmarks.speed``: the way that a GPU takes, on a CPU and a small network."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import abslrp
from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed import gae as gae_speed
from benchmarks.speed import measure
from benchmarks.speed.__main__ import app
from tests.hardening.networks import inputs, network


@pytest.fixture
def small(monkeypatch):
    """A small network of random weights in place of the paper's, and no other processes."""
    monkeypatch.setattr(abslrp_speed, "build", lambda name, device: network("vgg").to(device))
    monkeypatch.setattr(abslrp_speed, "data", lambda batch, device: inputs(batch))
    asked = []

    def peak(*arguments):
        asked.append(arguments)
        return 2_000_000

    monkeypatch.setattr(measure, "in_a_fresh_process", peak)
    return asked


def test_the_table_of_explanations(small, tmp_path):
    out = tmp_path / "table.csv"
    command = ["abslrp", "--model", "ResNet50", "--batch", "1", "--batch", "3", "--repeats", "2"]
    result = CliRunner().invoke(
        app, [*command, "--mode", "plain", "--mode", "autocast", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(app, [*command, "--out", str(out)])
    assert again.exit_code == 2
    assert "holds finished results; --replace replaces them" in " ".join(again.output.split())
    table = pd.read_csv(out)
    kinds = ["gradient", "forward", "absLRP", "absLRP, one stream"]
    kinds += [f"{kind}, autocast" for kind in kinds]
    assert table["method"].tolist() == kinds * 2
    assert table["batch"].tolist() == [1] * 8 + [3] * 8
    assert (table["seconds"] > 0).all()
    main = table[~table["method"].str.contains("stream|forward")]
    assert (main["peak MB"] == 2).all()
    assert table.loc[table["method"] == "gradient", "ratio"].tolist() == [1, 1]
    plain = next(call for call in small if "absLRP" in call)
    assert plain[1:] == ("absLRP", "ResNet50", 1, "cpu", "plain")


def test_the_table_of_scores(small, monkeypatch):
    monkeypatch.setattr(gae_speed.torch, "randn", lambda *shape, **options: inputs(shape[0])[0])
    monkeypatch.setattr(gae_speed, "STEPS", 3)
    table = gae_speed.table(["ResNet50"], 4, [2, 5], 1, "cpu", ("plain", "autocast"))
    rows = table[table["what"] == "GAE"]
    assert rows["batch"].tolist() == [2, 2, 5, 5]
    assert rows["mode"].tolist() == ["plain", "autocast"] * 2
    assert (rows["of own work"] > 0.5).all()


def test_what_does_not_fit_has_its_error_in_the_table(small, monkeypatch):
    def scarce(functions, repeats, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(measure, "interleaved", scarce)
    table = abslrp_speed.table([64], 1, "cpu", ["VGG16"])
    assert table["error"].tolist() == ["CUDA out of memory"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["abslrp", "--device", "cuda"], "device: 'cuda' cannot be used"),
        (["gae", "--device", "cuda:0"], "device: 'cuda:0' cannot be used"),
        (["abslrp", "--model", "VGG19"], "model: unknown name 'VGG19'; did you mean 'VGG16'?"),
        (
            ["abslrp", "--mode", "fast"],
            "mode: unknown name 'fast'; did you mean",
        ),
    ],
)
def test_what_is_wrong_is_named(arguments, message):
    if "--device" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_modes():
    model, (x, y) = network("vit"), inputs()
    wanted = abslrp.explain(model, x, y)
    compiled = measure.prepared(model, "compiled")
    assert torch.equal(abslrp.explain(compiled, x, y), wanted)
    assert measure.prepared(model, "autocast") is model
    with measure.context("plain", "cpu"):
        assert model(x).dtype == torch.float32
    seen = measure.within(lambda: model(x).dtype, "autocast", "cpu")()
    assert seen == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("mode", measure.MODES)
@pytest.mark.parametrize("command", ["abslrp", "gae"])
def test_the_commands_on_a_real_network(command, mode):
    """All of it: processes that measure memory, the compiler."""
    line = [command, "--model", "SqueezeNet", "--batch", "1", "--repeats", "1", "--mode", mode]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    explained = "absLRP, recorded" if mode == "recorded" else "gradient"
    assert {"abslrp": explained, "gae": "GAE's own work"}[command] in result.output
