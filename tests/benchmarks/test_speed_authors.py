"""``python -m benchmarks.speed``: the authors' code beside ours, from a stand-in for a checkout."""

from __future__ import annotations

import sys

import pytest
import timm
import torch
from typer.testing import CliRunner

from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed import gae as gae_speed
from benchmarks.speed import measure
from benchmarks.speed.__main__ import app
from tests.hardening.networks import inputs, network

RULES = "class Rule:\n    def apply(self, model): model.bent = True\n"
RULES += "".join(f"{name}AbsLRPRule = Rule\n" for name in ("VGG", "ResNet", "VisionTransformer"))
METHODS = """
class AbsLRPRelevancyMethod:
    def __init__(self, model, device):
        assert model.bent
    def relevancy(self, x, y):
        return x
"""
METRIC = """
class GlobalEvaluationMetric:
    def __init__(self, device):
        pass
    def run(self, relevancy_methods, model, dataset, batch_size):
        assert len(dataset) == batch_size == 4 and not hasattr(model, "bent")
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    files = {
        "abslrp/rules/models.py": RULES,
        "abslrp/relevancy_methods.py": METHODS,
        "gae/gae.py": METRIC,
    }
    for name, text in files.items():
        path = tmp_path / "abslrp_gae" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "abslrp_gae"]:
        del sys.modules[name]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(abslrp_speed, "build", lambda name, device: network("vgg").to(device))
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: network("vgg"))
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: inputs(shape[0])[0])
    monkeypatch.setattr(measure, "in_a_fresh_process", lambda *arguments: "2000000")


def test_gae_beside_that_of_the_authors(small, checkout):
    table = gae_speed.table(
        ["ResNet50", "SqueezeNet"], 4, [4], 1, "cpu", False, checkout=checkout
    ).set_index("what")
    theirs = table[table.index.str.startswith("timm's")]
    assert theirs["model"].eq("ResNet50").all()
    assert list(theirs.index) == [
        f"timm's: {what}"
        for what in ("gradient", "absLRP", "absLRP (authors)", "GAE", "GAE (authors)")
    ]
    assert (theirs["seconds per sample"] > 0).all()
    assert theirs.loc["timm's: gradient", "gradients"] == pytest.approx(1)
    assert "seconds per positive" not in table


def test_the_commands(small, checkout):
    for line in (
        ["gae", "--no-others", "--model", "ViT-B/16", "--repeats", "1", "--authors", str(checkout)],
        ["authors", str(checkout), "--model", "VGG16", "--repeats", "1"],
    ):
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        assert "absLRP (authors)" in result.output


def test_what_is_wrong_is_named(small, checkout, tmp_path):
    (checkout / "abslrp_gae" / "gae" / "gae.py").write_text("import no_such_package\n")
    for line, message in (
        (["gae", "--authors", str(tmp_path / "none")], "expected a checkout with a package"),
        (["authors", str(checkout / "abslrp_gae")], "expected a checkout with a package"),
        (["gae", "--authors", str(checkout)], "No module named 'no_such_package'"),
        (["authors", str(checkout), "--model", "SqueezeNet"], "expected one of VGG16, ResNet50"),
    ):
        result = CliRunner(env={"COLUMNS": "300"}).invoke(app, line)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split()), result.output
