"""The whole command of the sanity checks, reduced, its document, and what it refuses."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks.sanity import results
from benchmarks.sanity.__main__ import main
from benchmarks.sanity.case import Settings, default_networks, open_case
from benchmarks.sanity.document import markdown
from gae_metric.errors import InputError
from tests.benchmarks.sanity import QUICK


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Results and document of the whole command, on one network with little of everything."""
    folder = tmp_path_factory.mktemp("sanity")
    app = typer.Typer(add_completion=False)
    app.command()(main)
    threads = torch.get_num_threads()
    arguments = ["--network", "digits:resnet", "--samples", "4", "--steps", "2", "--stages", "1"]
    arguments += ["--mosaic-seeds", "2", "--perturbations", "1", "--out", str(folder / "results")]
    arguments += ["--lipschitz-samples", "1"]
    arguments += ["--document", str(folder / "docs" / "sanity.md")]
    arguments += ["--method", "absLRP", "--method", "InputXGradient", "--threads", str(threads)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    return folder, app


def test_command_writes_results_document_and_figure(written):
    folder, _ = written
    assert (folder / "docs" / "figures" / "sanity.png").stat().st_size > 10_000
    assert "| all layers randomised |" in (folder / "docs" / "sanity.md").read_text("utf-8")
    text = (folder / "results" / "tables.md").read_text(encoding="utf-8")
    for phrase in (
        "digits:resnet",
        "| Random |",
        "LocalLipschitz",
        "quantus 0",
    ):
        assert phrase in text
    (found,) = results.read(folder / "results")
    assert set(found.tables) == set(results.CHECKS)
    assert found.facts["settings"]["samples"] == 4
    assert found.facts["settings"]["methods"] == ["absLRP", "InputXGradient"]
    for line in text.splitlines():
        if line.startswith("| digits:resnet"):
            assert "nan" not in line


def test_finished_results_are_replaced_only_where_that_is_asked(written, tmp_path, monkeypatch):
    folder, app = written
    computed = []
    monkeypatch.setattr(results, "run", lambda network, *others: computed.append(network))
    # The network that is not finished is not begun either.
    again = ["--network", "digits:vgg", "--network", "digits:resnet", "--samples", "5"]
    again += ["--out", str(folder / "results"), "--document", str(tmp_path / "sanity.md")]
    outcome = CliRunner().invoke(app, again)
    assert outcome.exit_code == 2
    assert "holds finished results; --replace replaces them" in " ".join(outcome.output.split())
    assert computed == []
    assert not (tmp_path / "sanity.md").exists()
    assert CliRunner().invoke(app, [*again, "--replace"]).exit_code == 0
    assert computed == ["digits:vgg", "digits:resnet"]


def test_the_document_of_other_results_is_beside_them(written):
    folder, app = written
    outcome = CliRunner().invoke(app, ["--report-only", "--out", str(folder / "results")])
    assert outcome.exit_code == 0, outcome.output
    assert (folder / "results" / "sanity.md").is_file()
    shutil.rmtree(folder / "results" / "figures")
    (folder / "results" / "sanity.md").unlink()


def test_document_is_written_again_from_results(written):
    folder, app = written
    document = folder / "again" / "sanity.md"
    again = ["--report-only", "--out", str(folder / "results"), "--document", str(document)]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert document.read_text() == (folder / "docs" / "sanity.md").read_text()


def test_the_document_in_docs_is_that_of_the_results_in_the_repository():
    root = Path(__file__).resolve().parents[2]
    folder = root / "benchmarks" / "results" / "sanity"
    if not folder.is_dir():
        pytest.skip("needs a checkout")
    found = results.read(folder)
    assert {one.facts["network"] for one in found} >= {"digits:vgg", "digits:resnet", "digits:vit"}
    written = (root / "docs" / "sanity.md").read_text(encoding="utf-8")
    assert markdown(found, "figures/sanity.png").strip() == written.strip()
    tables = (folder / "tables.md").read_text(encoding="utf-8")
    assert markdown(found, "", "tables.md").strip() == tables.strip()


def test_bad_results_are_seen(written):
    """What is as it should not be stands in the document's tables."""
    folder, _ = written
    (found,) = results.read(folder / "results")
    baselines = found.tables["baselines"]
    baselines.loc[baselines["method"] == "Random", "GAE"] = 0.2
    worse = found.tables["degradation"]
    shifts = (worse["method"] == "absLRP") & (worse["kind"] == "shift")
    worse.loc[shifts, "GAE"] = np.linspace(0.3, 0.6, shifts.sum())
    worse.loc[shifts, "verdict"] = "rises at 5 of 5 steps, significantly at 5"
    text = markdown([found], "", "tables.md")
    (random,) = [line for line in text.splitlines() if line.startswith("| digits:resnet | Random")]
    assert "0.200 ± " in random
    (shift,) = [
        line for line in text.splitlines() if line.startswith("| digits:resnet | absLRP | shift")
    ]
    assert "rises at 5 of 5 steps, significantly at 5" in shift


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ("digits:alexnet", {}, "alexnet"),
        ("timm:resnet18", {}, "expected one of digits:vgg"),
        ("digits:vgg", {"samples": 10_000}, "samples: expected at most 450"),
        ("digits:vgg", {"samples": 3}, "samples: expected at least 4, got 3"),
        ("digits:vgg", {"methods": ()}, "methods: expected at least one"),
    ],
)
def test_errors(network, changes, message):
    with pytest.raises(InputError, match=message):
        open_case(network, replace(QUICK, **changes))


def test_no_results(tmp_path):
    with pytest.raises(InputError, match="there are none"):
        results.read(tmp_path)


def test_networks_without_the_shared_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GAE_SHARED", str(tmp_path / "absent"))
    assert default_networks() == ["digits:vgg", "digits:resnet", "digits:vit"]
    with pytest.raises(InputError, match="there is no folder"):
        open_case("shared:squeezenet", QUICK)


def test_photographs():
    names = default_networks()
    if "shared:squeezenet" not in names:
        pytest.skip("the shared folder of weights and photographs is not here")
    case = open_case("shared:squeezenet", Settings(samples=4))
    assert case.x.shape == (4, 3, 224, 224)
    assert case.accuracy >= 0.5
    assert case.classes == 1000
