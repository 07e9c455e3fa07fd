"""The page of results: nothing but itself, everything escaped, and the run's own numbers."""

import base64
import doctest
import hashlib
import importlib
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.data.names import open_data
from benchmarks.methods import METHODS
from benchmarks.models import load
from benchmarks.report.build import write_report
from benchmarks.report.explained import MAP_SIDE, map_picture
from benchmarks.runner.collected import collect
from benchmarks.tables.against_paper import build_tables
from tests.benchmarks.report_runs import EVIL, FILE, Page


@pytest.fixture(scope="module")
def page(report_runs):
    return Page(report_runs.html)


@pytest.fixture(scope="module")
def digits(report_runs):
    return collect(report_runs.digits)


def report(*arguments):
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(app, ["report", *map(str, arguments)])


def test_nothing_is_fetched(report_runs, page):
    loads = {"src", "href", "srcset", "data", "action", "poster", "background", "formaction"}
    ids = {found["id"] for _, found in page.elements if "id" in found}
    for tag, found in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "form"), tag
        for key in loads & set(found):
            value = found[key]
            assert value.startswith("data:") or (value[1:] in ids and value[0] == "#"), value[:80]
        assert not [key for key in found if key.startswith("on") or key == "style"]
    (style,), (script,) = page.raw["style"], page.raw["script"]
    assert not re.search(r"url\(|@import|@font-face", style)
    assert not re.search(r"https?:|fetch|XMLHttp|WebSocket|innerHTML|eval\(", script)
    (policy,) = [
        found["content"]
        for tag, found in page.elements
        if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "http://" not in report_runs.html
    assert "https://" not in report_runs.html


def test_what_comes_from_data_is_text(page):
    """Labels of methods, names of files and errors, in the page and in the data of its script."""
    scripts = [found for tag, found in page.elements if tag == "script"]
    assert len([found for found in scripts if "type" not in found]) == 1
    assert len(scripts) == 1 + len(page.data)
    assert all(found.get("src", "").startswith("data:") for t, found in page.elements if t == "img")
    cells = [cell["text"] for table in page.tables for row in table["rows"] for cell in row]
    assert cells.count(EVIL) == 2  # scores, times
    assert f"2 {EVIL}" in cells  # failures
    assert "RuntimeError: out of order" in cells
    (data,) = [one for key, one in page.data.items() if key.startswith("run-1")]
    assert data["methods"] == [EVIL, "Constant"]
    assert all(one["file"].split("/")[1].startswith(FILE) for one in data["samples"])


def test_tables_are_those_of_the_run(page, digits):
    tables = [table for table in page.tables if "scores" in table["class"].split()]
    wanted = build_tables(digits)
    assert len(wanted) >= 4
    for found, table in zip(tables, wanted, strict=False):
        assert found["caption"].startswith(f"{table.model}, 6 images")
        rows = [row for row in found["rows"] if row[0]["part"] == "tbody"]
        assert [row[0]["text"] for row in rows] == list(dict.fromkeys(table.cells["method"]))
        cells = table.cells.set_index(["method", "score"])
        step = 2 if table.number else 1
        for row in rows:
            for score, cell, paper in zip(table.scores, row[1::step], row[step::step], strict=True):
                one = cells.loc[(row[0]["text"], score)]
                assert float(cell["data-value"]) == one["mean"]
                assert f"± {one['standard_error']:.3f}" in cell["text"]
                assert ("*" in cell["text"]) == one["tie"]
                assert ("best" in cell["class"]) == one["best"]
                if table.number and np.isfinite(one["paper"]):
                    assert float(paper["data-value"]) == one["paper"]
                    assert ("*" in paper["text"]) == one["paper_tie"]
        if table.number:
            (foot,) = [row for row in found["rows"] if row[0]["part"] == "tfoot"]
            taus = [float(cell.get("data-value", "nan")) for cell in foot[1:]]
            np.testing.assert_array_equal(taus, table.agreement["tau"])


def test_samples_have_the_scores_of_the_run(page, digits):
    targets = digits.targets.set_index(["model", "sample"])
    scores = digits.scores.set_index(["model", "method", "metric", "sample"])["score"]
    for i, model in enumerate(("digits:vgg", "digits:vit")):
        data = page.data[f"run-0-data-{i}"]
        assert data["model"] == model
        samples = [one["sample"] for one in data["samples"]]
        assert samples == [0, 2, 3, 5]
        for one in data["samples"]:
            row = targets.loc[(model, one["sample"])]
            for key in ("file", "label", "predicted", "target"):
                assert one[key] == row[key]
            assert one["probability"] == pytest.approx(row["probability"], rel=1e-6)
        metrics = [one["name"] for one in data["metrics"]]
        assert metrics[0] == "GAE"
        assert set(metrics) == set(digits.scores["metric"])
        assert {one["name"]: one["better"] for one in data["metrics"]}["ROAD_MoRF@30"] == "lower"
        for metric, of_metric in zip(metrics, data["scores"], strict=True):
            for method, values in zip(data["methods"], of_metric, strict=True):
                expected = scores.loc[[(model, method, metric, s) for s in samples]]
                np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-12)


def test_maps_are_the_methods_own(page):
    data = page.data["run-0-data-0"]
    model = load("digits:vgg").model
    x = open_data("digits").sample(6, seed=0).part([0, 2, 3, 5]).arrays
    y = np.array([one["target"] for one in data["samples"]])
    maps = dict(zip(data["methods"], data["maps"], strict=True))
    assert list(maps) == ["Saliency", "absLRP", "Constant"]
    for method, found in maps.items():
        assert found == [map_picture(one) for one in METHODS[method](model, x, y)]
    assert picture(data["images"][0]).size == (48, 48)
    gray = np.asarray(picture(data["images"][0]).convert("L"), dtype=float)
    assert np.corrcoef(gray.ravel(), x[0].mean(axis=0).ravel())[0, 1] > 0.999


def picture(content):
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_map_is_small_and_says_where_zero_is():
    values = np.zeros((3, 300, 200))
    values[:, :150] = np.linspace(0.5, 1, 200)
    values[1, 200:] = -1
    pixels = np.asarray(picture(map_picture(values)).convert("RGB")).astype(int)
    assert pixels.shape == (MAP_SIDE, MAP_SIDE * 2 // 3, 3)
    red, white, blue = pixels[10, -1], pixels[65, 5], pixels[-1, 5]
    assert red[0] > red[2] + 60
    assert (white > 240).all()
    assert blue[2] > blue[0] + 40
    assert map_picture(np.full((1, 4, 4), np.nan)) is None
    assert (np.asarray(picture(map_picture(np.zeros((4, 4))))) > 240).all()
    noise = np.random.default_rng(0).standard_normal((3, 224, 224))
    assert len(map_picture(noise)) < 12_000


def test_the_rest_of_the_run_is_told(page, digits):
    text = " ".join(page.texts)
    assert "6 images of digits · 2 models · 4 methods · predicted classes explained" in text
    assert "4 of the 6 images, spread evenly over the run" in text
    (failed,) = [
        table for table in page.tables if "failures" in table["class"] and "vit" not in str(table)
    ][:1]
    words = [[cell["text"] for cell in row] for row in failed["rows"][1:]]
    reason = "the model has no attention over tokens"
    assert words == [["does not apply", "digits:vgg", "Rollout", "all", reason, "6"]]
    pairs = {
        row[0]["text"]: row[1]["text"]
        for table in page.tables
        if table["class"] == "pairs"
        for row in table["rows"]
    }
    assert pairs["seed"] == "0"
    assert pairs["torch"] == digits.facts[0]["versions"]["torch"]
    assert pairs["git revision"].startswith(str(digits.facts[0]["revision"] or "unknown")[:12])
    (times,) = [t for t in page.tables if t["caption"] == "digits:vgg, seconds of wall time"][:1]
    seconds = digits.seconds.query("model == 'digits:vgg' and method == 'absLRP'")
    (row,) = [row for row in times["rows"] if row[0]["text"] == "absLRP"]
    assert float(row[1]["data-value"]) == seconds.query("metric == 'GAE'")["seconds"].sum()
    assert float(row[-1]["data-value"]) == pytest.approx(seconds["seconds"].sum())


def test_figures_are_there(page):
    captions = " ".join(page.texts)
    for words in ("bootstrap intervals", "Local Consistency against", "quartiles", "highest and"):
        assert words in captions
    sources = [found for tag, found in page.elements if tag == "img"]
    assert len(sources) >= 8
    for found in sources:
        size = picture(found["src"].partition(",")[2]).size
        assert size == (int(found["width"]), int(found["height"]))
        assert found["alt"]


def test_the_same_results_give_the_same_page(report_runs, fake_methods, tmp_path):
    """Byte for byte, and whatever else is in the page."""
    path = tmp_path / "page.html"
    write_report([report_runs.evil], path, samples=4)
    again = path.read_text(encoding="utf-8")
    (section,) = re.findall('(<section id="run-0" class="run">.*)\n</main>', again, re.DOTALL)
    assert section.replace("run-0", "run-1") in report_runs.html


def test_the_command(report_runs, tmp_path):
    path = tmp_path / "new" / "page.html"
    result = report(report_runs.evil, "--output", path, "--no-maps", "--samples", 2)
    assert result.exit_code == 0, result.output
    assert f"wrote {path} (" in result.output
    html = path.read_text(encoding="utf-8")
    assert "Made without images and maps" in html
    (data,) = Page(html).data.values()
    assert data["images"] is None
    assert len(data["samples"]) == 2
    assert np.isfinite(data["scores"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "0"], "samples: expected a positive integer, got 0"),
        (["--output", "page.txt"], "output: expected a file that ends in .html, got 'page.txt'"),
        (["--output", "/proc/no/page.html"], "output: cannot write to '/proc/no'"),
        (["nowhere", "--output", "{}/page.html"], "results: there is no run in 'nowhere'"),
    ],
)
def test_wrong_arguments(report_runs, tmp_path, arguments, message):
    given = [one.format(tmp_path) for one in arguments]
    result = report(*([] if given[0] == "nowhere" else [report_runs.evil]), *given)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_no_results(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.commands.of_results.RESULTS", tmp_path)
    result = report("--output", tmp_path / "page.html")
    assert result.exit_code == 2
    assert "results: there are none in benchmarks/results" in result.output


def test_data_that_are_gone(report_runs, tmp_path, fake_methods):
    moved = tmp_path / "evil"
    shutil.copytree(report_runs.evil, moved)
    plan = moved / "plan.json"
    plan.write_text(plan.read_text().replace("imagefolder:", "imagefolder:/nowhere"))
    (moved / "SHA256SUMS").unlink()
    result = report(moved, "--output", tmp_path / "page.html")
    assert result.exit_code == 2, result.output
    assert "--no-maps makes the page without" in result.output
    assert report(moved, "--output", tmp_path / "page.html", "--no-maps").exit_code == 0


@pytest.mark.parametrize("name", ["build", "explained"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"benchmarks.report.{name}"))
    assert result.failed == 0
    assert result.attempted > 0
