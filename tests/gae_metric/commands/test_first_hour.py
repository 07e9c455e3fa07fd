"""What a new user meets: wrong names, missing extras, a second run, a stop, and the page."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import torchvision
import typer
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from gae_metric import Contrastiveness, ProbeSet
from gae_metric._names import METHODS
from gae_metric.commands import evaluate as evaluating
from gae_metric.commands import provenance, quantus_evaluation
from gae_metric.commands import terminal as terminals
from gae_metric.commands.cells import Cells
from gae_metric.commands.cli import app
from gae_metric.commands.named_metrics import Settings
from gae_metric.commands.reading import explained_targets
from gae_metric.commands.requests import PHOTOGRAPHS
from gae_metric.commands.tables import Evaluation, Inputs, caption, messages, table, write_report
from gae_metric.commands.terminal import Terminal, duration, extra_of, report_errors
from gae_metric.comparison.results import Results
from gae_metric.demo import digits, networks
from gae_metric.errors import InputError
from gae_metric.explainers import EXPLAINERS, saliency
from gae_metric.inputs import models
from gae_metric.inputs.files import check_model, model_names
from gae_metric.inputs.images import ImageSet
from gae_metric.inputs.models import load_model


@pytest.fixture
def scans(tmp_path):
    """Six digits as files; one has a name that is markup."""
    folder = tmp_path / "scans"
    folder.mkdir()
    x, _ = digits.load("test", n=6)
    for i, canvas in enumerate(digits.to_display(x)):
        pixels = (np.moveaxis(canvas, 0, -1) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / (f"{i}.png" if i else "<b>0.png"))
    return folder


@pytest.fixture
def evaluate(scans, tmp_path):
    def call(*arguments, status=0, **options):
        given = {
            "model": "digits:vgg",
            "images": scans,
            "out": tmp_path / "out",
            "methods": "Saliency,Random",
            "metrics": "GAE,ROAD",
        } | options
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        result = CliRunner().invoke(app, ["evaluate", "--no-figures", *flags, *arguments])
        assert result.exit_code == status, (result.output, result.exception)
        return result

    return call


def counted(monkeypatch):
    """Count the metrics that are built to score all images."""
    built = []
    for name, build in quantus_evaluation.METRICS.items():
        monkeypatch.setitem(
            quantus_evaluation.METRICS,
            name,
            lambda settings, name=name, build=build: (built.append(name), build(settings))[1],
        )
    return built


def test_a_run_that_was_stopped_goes_on(evaluate, tmp_path, monkeypatch):
    whole = evaluate(out=tmp_path / "whole")
    assert whole.stderr.startswith("digits:vgg: opening it with its own weights\n")
    assert re.search(r"digits:vgg: about \d+ (s|min) of work", whole.stderr)
    built = counted(monkeypatch)
    build = quantus_evaluation.METRICS["ROAD"]

    def stops(settings):
        if built.count("ROAD") == 2:  # for the estimate, and for Saliency
            raise KeyboardInterrupt
        return build(settings)

    monkeypatch.setitem(quantus_evaluation.METRICS, "ROAD", stops)
    stopped = evaluate(status=130)
    assert "the same command goes on from there" in " ".join(stopped.stderr.split())
    assert {file.name for file in (tmp_path / "out" / "cells").iterdir()} == {
        "Saliency.GAE.json",
        "Saliency.ROAD.json",
        "Random.GAE.json",
    }
    monkeypatch.setitem(quantus_evaluation.METRICS, "ROAD", build)
    built.clear()
    result = evaluate()
    assert "3 of 4 scores are there already" in result.stderr
    assert built.count("GAE") == 0
    assert built.count("ROAD") == 2
    for name in ("scores.csv", "components.csv"):
        once, again = (pd.read_csv(tmp_path / one / name) for one in ("whole", "out"))
        pd.testing.assert_frame_equal(once, again)


def test_cells_of_other_images_are_not_taken(evaluate, scans, monkeypatch):
    evaluate()
    built = counted(monkeypatch)
    evaluate()
    assert built == []
    Image.new("RGB", (48, 48), "gray").save(scans / "1.png")
    assert "there already" not in evaluate().stderr
    assert built.count("GAE") == 3


def test_files_of_an_earlier_run_that_this_one_does_not_write_go(evaluate, scans, tmp_path):
    """GAE fails on images of one class: its table is another run's."""
    evaluate()
    out = tmp_path / "out"
    assert (out / "components.csv").exists()
    for name in ("curves.png", "notes.txt", "vgg/bars.png"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"")
    x, y = digits.load("test", n=120)
    for file in scans.iterdir():
        file.unlink()
    for i, canvas in enumerate(digits.to_display(x[y == 7][:5])):
        pixels = (np.moveaxis(canvas, 0, -1) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(scans / f"{i}.png")
    assert "failed: GAE" in evaluate(status=1).stdout
    left = {file.relative_to(out).as_posix() for file in out.rglob("*.*")}
    assert {name for name in left if not name.startswith("cells/")} == {
        *("scores.csv", "summary.csv", "run.json", "report.html", "notes.txt", "vgg/bars.png")
    }


def test_images_that_the_model_predicts_no_class_for_are_left_out(capsys):
    """As of any class, they would change the scores of others."""

    class Divides(torch.nn.Module):
        def forward(self, x):
            return torch.cat([x.mean((2, 3)), x.amax((1, 2, 3))[:, None] / x[:, :1, 0, 0]], 1)

    x = np.random.default_rng(0).random((5, 3, 4, 4), dtype=np.float32)
    x[2, 0, 0, 0] = x[3] = 0
    read = ImageSet(x, tuple("abcde"), skipped={"f": "not an image"})
    kept, targets = explained_targets(Divides(), read, 2, Terminal())
    assert kept.files == ("a", "b", "e")
    assert len(kept.x) == len(targets) == 3
    assert dict(kept.skipped) == {
        **dict.fromkeys("cd", "the model's outputs are not finite"),
        "f": "not an image",
    }
    assert "3 images were left out" in capsys.readouterr().err
    labelled = replace(read, labels=np.zeros(5, dtype=np.int64))
    assert explained_targets(Divides(), labelled, 2, Terminal())[0] is labelled


def test_methods_that_overwrite_their_inputs_do_no_harm(tmp_path):
    net, (x, y) = networks.load("vgg"), digits.load("test", n=6)

    def untidy(model, inputs, targets, **kwargs):
        maps = saliency(model, inputs, targets)
        inputs[...] = 0
        return maps

    before = x.copy()
    told = {"progress": lambda *_: None, "planned": lambda *_: None, "cells": Cells(tmp_path, "")}
    methods = {"one": untidy, "two": saliency}
    inputs = Inputs(net, x, [f"digit {i}" for i in range(6)], y, digits.to_display)
    found = quantus_evaluation.evaluate(inputs, methods, ["ROAD"], Settings(), **told)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(found.scores["one", "ROAD"], found.scores["two", "ROAD"])


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_an_encoding_without_arrows_costs_no_results(scans, tmp_path, encoding):
    command = [
        *(sys.executable, "-m", "gae_metric", "evaluate", "--model=digits:vgg", "--no-figures"),
        *(f"--images={scans}", f"--out={tmp_path / 'out'}", "--methods=Random", "--metrics=ROAD"),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"ROAD ?" in done.stdout
    assert (tmp_path / "out" / "summary.csv").exists()


def test_a_table_that_nobody_reads_costs_no_results(evaluate, tmp_path, monkeypatch):
    def closed(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("gae_metric.commands.tables.show", closed)
    assert "no space left on device" in evaluate(metrics="ROAD", status=1).stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_cells_of_other_versions_or_code_are_not_taken(evaluate, monkeypatch):
    options = {"methods": "Random", "metrics": "ROAD"}
    evaluate(**options)
    assert "1 of 1 scores are there already" in evaluate(**options).stderr
    real = provenance.metadata.version
    for package in ("torch", "quantus", "captum", "gae-metric"):
        other = lambda name, package=package: "99" if name == package else real(name)  # noqa: E731
        with monkeypatch.context() as patch:
            patch.setattr(provenance.metadata, "version", other)
            assert "there already" not in evaluate(**options).stderr
    with monkeypatch.context() as patch:
        patch.setattr("gae_metric.commands.tables.digest_of_code", lambda _: "0")
        assert "there already" not in evaluate(**options).stderr


def test_a_re_run_that_is_stopped_hides_no_results(evaluate, tmp_path, monkeypatch):
    """Neither of a demo of several networks, nor where an option is wrong."""
    out = tmp_path / "demo"
    monkeypatch.setattr(evaluating, "DEFAULT_METHODS", "Saliency,Random")
    monkeypatch.setattr(evaluating, "METRICS", {"ROAD": evaluating.METRICS["ROAD"]})
    command = ["demo", "--samples=4", "--networks=vgg,resnet", f"--out={out}"]
    assert CliRunner().invoke(app, command).exit_code == 0
    before = {p.name: p.read_bytes() for p in out.glob("*.csv")}
    assert len(before["summary.csv"].splitlines()) == 1 + 2 * 2
    shutil.rmtree(out / "resnet")
    real = evaluating.load_model

    def stops(name):
        if name == "digits:resnet":
            raise KeyboardInterrupt
        return real(name)

    with monkeypatch.context() as patch:
        patch.setattr(evaluating, "load_model", stops)
        assert CliRunner().invoke(app, command).exit_code == 130
        assert {p.name: p.read_bytes() for p in out.glob("*.csv")} == before
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (out / "scores.csv").read_bytes() == before["scores.csv"]
    monkeypatch.undo()
    evaluate()
    before = (tmp_path / "out" / "scores.csv").read_bytes()
    for wrong in ({"steps": 1}, {"std": "0,0,0"}, {"output": "none"}, {"device": "cuda:99"}):
        evaluate("--overwrite", **wrong, status=2)
        assert (tmp_path / "out" / "scores.csv").read_bytes() == before
    assert "there already" in evaluate().stderr


def test_a_folder_of_another_run_is_refused(evaluate, scans, tmp_path):
    evaluate()
    before = (tmp_path / "out" / "scores.csv").read_text()
    refused = evaluate(seed=1, status=2)
    assert "holds a run that differs in seed; give another folder, or --overwrite" in refused.stderr
    assert (tmp_path / "out" / "scores.csv").read_text() == before
    assert "no run of gae-metric" in evaluate(out=scans, status=2).stderr
    mine, old = ("mine.txt", "mine/maps.png"), ("maps.png", "vgg/bars.png")
    for name in (*mine, *old):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).touch()
    (tmp_path / "other" / "cells").mkdir(parents=True)
    (tmp_path / "other" / "cells" / "mine.txt").touch()
    (tmp_path / "other" / "scores.csv").touch()
    evaluate("--overwrite", out=tmp_path / "other", methods="Random", metrics="ROAD")
    assert (tmp_path / "other" / "cells" / "mine.txt").exists()
    evaluate("--overwrite", seed=1, methods="Random", metrics="ROAD")
    assert not (tmp_path / "out" / "components.csv").exists()
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 1
    assert all((tmp_path / "out" / name).exists() for name in mine)
    assert not any((tmp_path / "out" / name).exists() for name in old)


class Page(HTMLParser):
    """Cells of the tables, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def test_the_page(evaluate, tmp_path):
    evaluate("--figures", methods="Random,absLRP")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    table = pd.read_csv(tmp_path / "out" / "summary.csv").set_index(["metric", "method"])
    assert page.rows[0] == ["method", "GAE ↑", "ROAD ↓"]
    assert [row[0] for row in page.rows[1:3]] == ["absLRP", "Random"]  # by GAE, not as asked for
    assert page.rows[1][1].startswith(f"{table.loc[('GAE', 'absLRP'), 'mean']:.3f}")
    assert page.rows[3] == ["image", "explained class", "absLRP", "Random"]
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    first = scores[(scores["method"] == "absLRP") & (scores["metric"] == "GAE")].iloc[-1]
    row = next(row for row in page.rows if row[0] == first["file"])
    assert row[1] == f"class {first['target']}"
    assert row[2].startswith(f"{first['score']:.3f}")
    assert "b" not in page.tags  # a file's name is no markup
    assert "<b>0.png" in {row[0] for row in page.rows}
    assert text.count("data:image/png;base64,") == 7
    assert "http" not in re.sub(r"http-equiv", "", text)


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate --model lite:0 --images /nowhere",
        "evaluate --model timm:resnet_18 --images .",
        "evaluate --model digits:vgg --images {scans} --methods absLPR",
        "evaluate --model digits:vgg --images {scans} --methods captum:DepLift",
        "evaluate --model digits:vgg --images {scans} --metrics GEA",
        "evaluate --model digits:vgg --images {scans} --labels /nowhere.csv",
        "evaluate --model digits:vgg --images {scans} --labels {scans}/1.png",
        "evaluate --model digits:vgg --images {scans} --labels folders",
        "evaluate --model digits:vgg --images {folders} --labels folders",
        "probe --model timm:resnet18 --images {folders} --labels folders --out p.npz "
        "--model-arg num_classes=3",
        "evaluate --model digits:vgg --images {scans} --device gpu",
        "evaluate --model digits:vgg --images {scans} --device cuda:",
        "evaluate --model digits:vgg --images {scans} --weights /nowhere.safetensors",
        "evaluate --model digits:vgg --images {scans} --samples 3",
        "evaluate --model digits:vgg --images {scans} --out {scans}",
        "evaluate --model digits:vgg --images {scans} --out {scans}/1.png",
        "evaluate --model digits:vgg --images {scans} --steps 1",
        "evaluate --model digits:vgg --images {scans} --schedule even",
        "evaluate --model digits:vgg --images {scans} --n-mosaics 0",
        "evaluate --model digits:vgg --images {scans} --interpolation cubic",
        "evaluate --model digits:vgg --images {scans} --protocol their",
        "evaluate --model digits:vgg --images {scans} --mean 0.5,0.5",
        "evaluate --model digits:vgg --images {scans} --range 1",
        "evaluate --model digits:vgg --images {scans} --size 0",
        "evaluate --model digits:vgg --images {scans} --size 16385",
        "evaluate --model digits:vgg --images {scans} --mean 1e300",
        "evaluate --model digits:vgg --images {scans} --std 1e-320,1,1",
        "evaluate --model digits:vgg --images {scans} --range 0,1e39",
        "evaluate --model digits:vgg --images {scans} --mask-value 1e39",
        "evaluate --model digits:vgg --images {scans} --protocol repository --n-mosaics 2",
        "probe --model digits:vgg --images {scans} --out p.npz --mask-value dark",
        "probe --model digits:vgg --images {scans} --out {scans}/1.png/p.npz",
        "demo --out {scans}",
        "score --probe /nowhere --maps maps.npz",
        "demo --networks vggg",
    ],
)
def test_what_is_wrong_of_itself_needs_no_torch(scans, tmp_path, arguments):
    for i in range(2):
        (tmp_path / "folders" / str(i)).mkdir(parents=True)
        for j in range(2):
            shutil.copy(scans / "1.png", tmp_path / "folders" / str(i) / f"{j}.png")
    code = (
        "import sys\nfrom gae_metric.commands.cli import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit as stop: status = stop.code\n"
        "assert status == 2, status\nassert not {'torch', 'scipy'} & set(sys.modules)\n"
        "read = '--labels' in sys.argv and '/nowhere.csv' not in sys.argv\n"
        "assert read or 'pandas' not in sys.modules"
    )
    line = arguments.format(scans=scans, folders=tmp_path / "folders").split(" ")
    command = [sys.executable, "-c", code, *line]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("error: ")


def test_names_of_models_are_the_libraries_own():
    assert set(model_names("timm")) == set(timm.list_models())
    assert set(model_names("torchvision")) == set(
        torchvision.models.list_models(module=torchvision.models)
    )
    check_model("timm:vit_tiny_patch16_224_in21k")  # as timm called it before
    check_model("timm:resnet50.a1_in1k")


def test_lists():
    def lines(*arguments):
        return CliRunner().invoke(app, list(arguments)).stdout.splitlines()

    assert [line.split()[0] for line in lines("methods")] == [*METHODS, "captum:NAME"]
    # Names, then what each is, one below the other.
    start = max(map(len, METHODS)) + 2
    assert [line[start:] for line in lines("methods")][:-1] == [
        what for what, *_ in METHODS.values()
    ]
    assert [line.split()[0] for line in lines("metrics")] == list(quantus_evaluation.METRICS)
    assert lines("models", "squeezenet") == [
        "torchvision:squeezenet1_0",
        "torchvision:squeezenet1_1",
    ]
    nothing = CliRunner().invoke(app, ["models", "sqeezenet"])
    assert nothing.exit_code == 2
    assert "pattern: no name has 'sqeezenet' in it" in nothing.stderr


@pytest.mark.parametrize("command", ["evaluate", "probe", "demo", "score"])
def test_help_shows_choices_and_examples(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = CliRunner().invoke(app, [command, "--help"]).stdout
    assert max(map(len, text.splitlines())) <= 80
    if command == "evaluate":
        whole = "".join(text.split())  # lines break behind hyphens, too
        assert all(name in whole for name in METHODS)
        # The default is broken between names.
        default = text.partition("[default: absLRP,")[2].partition("]")[0]
        assert [word.strip(",") for word in default.split()] == [*EXPLAINERS][1:]
        assert "GAE,LC,C,ROAD,LocalLipschitz,Focus;" in whole
    assert text.partition("Examples:")[2].count(f"gae-metric {command}") == 2


def test_options_of_the_metrics_reach_them(evaluate, tmp_path):
    evaluate(out=tmp_path / "a", metrics="LC")
    evaluate(out=tmp_path / "b", metrics="LC", steps=4, mask_value="mean", schedule="uniform")
    one, other = (pd.read_csv(tmp_path / name / "scores.csv")["score"] for name in "ab")
    assert not np.allclose(one, other)
    refused = evaluate(out=tmp_path / "c", steps=1, status=2)
    assert "steps: expected an integer from 2 to 255, got 1" in refused.stderr
    assert "reading images" not in refused.stderr


#: As installed: developers' tools come before the extra that users need.
REQUIREMENTS = ["torch>=2.4", "onnx2torch>=1.5; extra == 'onnx'"]
REQUIREMENTS += [f"{name}; extra == 'dev'" for name in ("ruff", "scikit-image>=0.22", "mypy")]
REQUIREMENTS += ["lite; extra == 'photographs'", "scikit-image>=0.22; extra == 'photographs'"]


def test_a_missing_extra_is_named(evaluate, monkeypatch):
    monkeypatch.setattr("gae_metric.commands.options.find_spec", lambda name: None)
    assert (
        "pip install 'gae-metric[captum]'" in evaluate(methods="captum:DeepLift", status=2).stderr
    )

    def missing(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'skimage'", name="skimage.data")

    monkeypatch.setattr("gae_metric.commands.evaluate.read_inputs", missing)
    monkeypatch.setattr(terminals, "requires", lambda name: REQUIREMENTS)
    said = evaluate(status=1).stderr
    assert "pip install 'gae-metric[photographs]'" in said
    assert "please report it" not in said
    assert extra_of("torch") is None
    assert extra_of("onnx2torch.ops") == "onnx"
    assert extra_of("onnx") is None


def test_a_run_takes_more_methods_and_metrics(evaluate, tmp_path, monkeypatch):
    """What is there is kept; fewer of them, or other settings, are another run."""
    evaluate(methods="Saliency", metrics="GAE")
    built = counted(monkeypatch)
    more = evaluate(methods="Random,Saliency", metrics="ROAD,GAE")
    assert "1 of 4 scores are there already" in more.stderr
    assert built.count("GAE") == 2  # its estimate and scores of Random
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert set(zip(scores["method"], scores["metric"], strict=True)) == {
        (method, metric) for method in ("Random", "Saliency") for metric in ("ROAD", "GAE")
    }
    refused = evaluate(methods="Random", metrics="ROAD,GAE", status=2)
    assert "differs in methods" in refused.stderr
    refused = evaluate(methods="Random,Saliency,GradCAM", metrics="ROAD,GAE", seed=1, status=2)
    assert "differs in seed, methods" in refused.stderr


def test_components_name_files_and_targets(evaluate, tmp_path):
    evaluate(methods="Saliency,Random", metrics="GAE")
    parts, scores = (pd.read_csv(tmp_path / "out" / f"{n}.csv") for n in ("components", "scores"))
    for method in ("Saliency", "Random"):
        own, long = parts[parts["method"] == method], scores[scores["method"] == method]
        assert own["file"].tolist() == long["file"].tolist()
        assert own["target"].tolist() == long["target"].tolist()
        assert own["gae"].tolist() == long["score"].tolist()


def test_a_metric_without_any_score_is_no_column(evaluate, tmp_path):
    result = evaluate(metrics="ROAD,Focus")  # six digits of six classes make no pairs
    assert "Focus ↑" not in result.stdout
    assert "note: Focus: NaN where no other (finite) sample is of the same class" in " ".join(
        result.stdout.split()
    )
    assert "Focus" not in set(pd.read_csv(tmp_path / "out" / "summary.csv")["metric"])


def test_a_log_says_how_long_it_takes(monkeypatch, capsys):
    """From the time of the work itself, once a tenth of it is done."""
    clock = iter([100.0, 110.0, 140.0, 141.0, 171.0, 190.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with Terminal().progress("net") as progress:
        for done in (0, 0.1, 0.7, 2, 3):
            progress("Saliency, GAE", done, 8)
        progress("Random, GAE", 4, 8)
    assert capsys.readouterr().err.splitlines() == [
        "net: Saliency, GAE, 0%",
        "net: Saliency, GAE, 9%",
        "net: Saliency, GAE, 38%, about 2 min left",
        "net: Random, GAE, 50%, about 2 min left",
    ]
    assert duration(7200) == "2.0 h"


def test_demo_on_photographs(tmp_path, monkeypatch):
    pytest.importorskip("skimage", reason="scikit-image (extra 'photographs') is not installed")
    network = replace(
        load_model("digits:vgg"), classes=tuple(["zero", "one", "two", "three", "four"] * 2)
    )
    monkeypatch.setattr(evaluating, "load_model", lambda name: network)
    sources = list(evaluating.photographs.SOURCES)
    assert len(sources) == PHOTOGRAPHS
    command = ["demo", "--photographs", f"--out={tmp_path / 'out'}"]
    for more, names in ([], sources), (["--samples=4", "--overwrite"], sources[:4]):
        result = CliRunner().invoke(app, command + more)
        assert result.exit_code == 0, result.output
        scores = pd.read_csv(tmp_path / "out" / "scores.csv")
        assert set(scores["method"]) == set(evaluating.PHOTOGRAPH_METHODS)
        assert set(scores["file"]) == set(names)
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert next(row for row in page.rows if row[0] == "cat")[1] in network.classes


def test_a_mark_that_the_caption_explains_is_in_both_tables(tmp_path):
    """Of seven scores four differ from those of the best: no test can tell the two apart."""
    best = np.array([0.5, 0.25, 0.75, 0.5, 0.0, 0.0, 0.0])
    results = Results(("Best", "Other"), {"GAE": "higher"}, np.zeros(7, dtype=np.int64))
    results.scores = {("Best", "GAE"): best, ("Other", "GAE"): best / 2}
    inputs = Inputs(
        nn.Identity(),
        np.zeros((7, 3, 1, 1), np.float32),
        [*"abcdefg"],
        results.targets,
        lambda x: x,
    )
    evaluation = Evaluation("net", inputs, results)
    assert "?: no test, as fewer than 6 scores differ" in caption(evaluation)
    write_report(tmp_path / "report.html", [evaluation], {})
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    (shown,) = (row[1] for row in page.rows if row[0] == "Other")
    (_, printed) = table(evaluation).columns[1].cells
    assert shown.split()[0] == printed.split()[0] == "0.143?"


def test_notes_of_every_metric_name_images():
    results = Results(("A",), {"GAE": "higher"}, np.zeros(3, dtype=np.int64))
    results.scores = {("A", "GAE"): np.array([0.5, 0.25, 0.75])}
    results.notes = {
        "GAE: 2 samples are blank: samples 1, 2": ["A, GAE"],
        "Focus: take more samples: 5 samples (0, 2 and 3 more)": ["A, Focus"],
    }
    files = ["a.png", "b.png", "c.png"]
    x = np.zeros((3, 3, 1, 1), np.float32)
    inputs = Inputs(nn.Identity(), x, files, results.targets, lambda x: x)
    assert messages(Evaluation("net", inputs, results)) == [
        "note: GAE: 2 samples are blank: samples b.png, c.png [A, GAE]",
        "note: Focus: take more samples: 5 samples (a.png, c.png and 3 more) [A, Focus]",
    ]


def test_messages_of_the_metrics(tmp_path):
    model, (x, y) = networks.load("vgg"), digits.load("test", n=4)
    with pytest.raises(ValueError, match=r"one sample has a batch axis, too: x\[None\]"):
        Contrastiveness()(model, x[0], y[:1], explain_func=saliency)
    with pytest.raises(ValueError, match=r"no such parameter; did you mean n_mosaics\?"):
        Contrastiveness(n_mosaic=2)
    with pytest.raises(ValueError, match=r"explain_function: .*; did you mean explain_func\?"):
        Contrastiveness()(model, x, y, explain_function=saliency)
    with pytest.warns(RuntimeWarning, match="the inputs are whole numbers up to 255, as pixels"):
        Contrastiveness()(model, (x * 255).astype(np.uint8), y, explain_func=saliency)
    probe = ProbeSet.build(model, x, y, metric="Contrastiveness")
    for names in ("a", "ab"):
        np.savez(tmp_path / "maps.npz", **dict.fromkeys(names, np.abs(x)))
        with pytest.raises(ValueError, match=r"is to be called 'maps', .* such as '0-mosaic-0'"):
            probe.score(tmp_path / "maps.npz")


def test_one_sample_that_is_not_finite_hides_no_pixels():
    x, y = digits.load("test", n=5)
    x *= 255
    x[0, 0, 0, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="the inputs are real numbers up to .*, as pixels"):
        Contrastiveness()(networks.load("vgg"), x, y, explain_func=saliency)


def test_scanned_digits_are_no_whole_pixels():
    model, (x, y) = networks.load("vgg"), digits.load("test", n=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Contrastiveness()(model, x, y, explain_func=saliency)


def test_retries_of_the_hub_are_quiet(caplog):
    refused = pytest.raises(InputError, match="cannot fetch the published weights of 'resnet18'")
    with refused, models._building("resnet18", published=True):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no connection")
    assert not caplog.records
    logging.getLogger("huggingface_hub").warning("heard again")
    assert len(caplog.records) == 1


def test_notes_name_files(evaluate, scans, tmp_path):
    for name in ("0 blank.png", "1 blank.png"):
        Image.new("RGB", (48, 48), "gray").save(scans / name)
    out = evaluate(metrics="GAE").stdout
    (message,) = (
        one
        for one in json.loads((tmp_path / "out" / "run.json").read_text())["messages"]["digits:vgg"]
        if "are blank" in one
    )
    assert "to explain: samples 0 blank.png, 1 blank.png [" in message
    assert "samples 0 blank.png, 1 blank.png" in " ".join(out.split())
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "samples 0 blank.png, 1 blank.png" in page


def test_notes_of_wrong_labels_say_what_to_do_here(evaluate, scans, tmp_path):
    files = sorted(file.name for file in scans.iterdir())
    lines = [f'"{name}",{i % 2}' for i, name in enumerate(files)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,class_index", *lines]))
    out = evaluate(metrics="GAE", labels=tmp_path / "labels.csv").stdout
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for text in (out, page):
        assert "or no --labels (command line)" in " ".join(text.split())


def test_the_table_is_sorted_as_the_page_is(evaluate):
    def order(out):
        return re.findall(r"^ *(Random|absLRP) +\d", out, re.MULTILINE)

    assert order(evaluate(methods="Random,absLRP", metrics="GAE").stdout) == ["absLRP", "Random"]
    more = {"methods": "Random,absLRP", "metrics": "ROAD"}  # of which lower is better
    assert order(evaluate("--overwrite", **more).stdout) == ["absLRP", "Random"]


def test_a_name_of_several_lines_is_said_on_one(evaluate, scans):
    (scans / "a\nerror: no\x1b[2J.png").write_bytes(b"no image")
    said = evaluate(methods="Random", metrics="ROAD").stderr
    assert r"  a\nerror: no\x1b[2J.png: not an image" in said.splitlines()


def test_a_terminal_without_width_shows_errors(monkeypatch, capsys):
    """Some shells have COLUMNS=0: nothing of a message was left."""
    for columns in ("0", "00"):
        monkeypatch.setenv("COLUMNS", columns)
        with pytest.raises(typer.Exit), report_errors(Terminal()):
            raise InputError("images: expected a folder")
        assert capsys.readouterr().err == "error: images: expected a folder\n"
