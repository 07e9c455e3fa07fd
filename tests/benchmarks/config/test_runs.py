"""Configurations are checked before any work, and say what was meant."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config import runs as configuration
from benchmarks.config.runs import parse, read, weighted
from benchmarks.methods import METHODS
from gae_metric.errors import InputError

CONFIGS = Path(configuration.__file__).parents[1] / "configs"
SMALL = {"models": "digits:vgg", "methods": "Saliency"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampels": 3}, "run: unknown key 'sampels'; did you mean 'samples'"),
        ({"models": "digits:vggg"}, "did you mean 'vgg'"),
        ({"models": "dgits:vgg"}, "did you mean 'digits'"),
        ({"models": "timm:resnet5"}, "did you mean 'resnet50'"),
        ({"models": "torchvision:squeezenet1_"}, "did you mean 'squeezenet1_"),
        ({"models": "paper:vgg17"}, "did you mean 'vgg16'"),
        ({"models": "lite:3"}, "model (lite)"),
        ({"models": "vgg16"}, "expected SOURCE:NAME"),
        ({"models": [{"name": "digits:vgg", "wieghts": "x"}]}, "models[0]: unknown key 'wieghts'"),
        ({"models": [{"name": "digits:vgg", "weights": "/no/file"}]}, "there is no file"),
        ({"models": [{"name": "digits:vgg", "paper": [14]}]}, "models[0].paper[0]: "),
        ({"models": ["digits:vgg", "digits:vgg"]}, "'digits:vgg' is listed twice"),
        ({"models": []}, "models: "),
        ({"methods": ["Salency"]}, "did you mean 'Saliency'"),
        ({"methods": {"name": "SmoothGrad", "options": {"n_sample": 3}}}, "'n_samples'"),
        ({"methods": ["Saliency", "saliency"]}, "'Saliency' is listed twice"),
        ({"metrics": ["GEA"]}, "did you mean 'GAE'"),
        ({"metrics": ["quantus:Sparsness"]}, "did you mean 'Sparseness'"),
        ({"metrics": {"name": "ROAD_MoRF", "options": {"percentage": 1}}}, "'percentages'"),
        ({"metrics": ["C", "Contrastiveness"]}, "'C' is listed twice"),
        ({"samples": 0}, "samples: "),
        ({"steps": 300}, "steps: "),
        ({"seed": "one"}, "seed: "),
        ({"targets": "label"}, "targets: Input should be 'predicted' or 'labels'"),
        ({"devices": "gpu"}, "expected cpu, mps, cuda or cuda:NUMBER, got 'gpu'"),
        ({"engine": "ray", "devices": ["cpu", "cuda"]}, "those of the cluster"),
        ({"data": "imagenet:$NO_SUCH_FOLDER"}, "variable NO_SUCH_FOLDER is not set"),
        ({"data": "imagnet:/x"}, "data.name: unknown name 'imagnet'; did you mean 'imagenet'"),
        ({"data": "imagenet"}, "data.name: expected imagenet:DIR, got 'imagenet'"),
        ({"data": "digits:/x"}, "data.name: expected digits, got 'digits:/x'"),
        ({"metrics": "quantus:ROAD"}, "metrics[0]: quantus:ROAD cannot be run: "),
        ({"metrics": ["C", "quantus:AUC"]}, "metrics: quantus:AUC needs masks"),
        ({"modules": ["no.such.module"]}, "modules: cannot import 'no.such.module'"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parse({**SMALL, **change})


def test_names_in_any_form():
    run = parse(
        {
            "models": "DIGITS:VGG",
            "methods": ["input*gradient", {"name": "abslrp", "options": {"conserve": "argument"}}],
            "metrics": ["road-morf", "GAE", "LocalConsistency"],
        }
    )
    assert run.models[0].name == "digits:vgg"
    assert [m.name for m in run.methods] == ["InputXGradient", "absLRP"]
    assert run.methods[1].options == {"conserve": "argument"}
    # Local Consistency is one of GAE's scores.
    assert [m.name for m in run.metrics] == ["ROAD_MoRF", "GAE"]


def test_one_method_with_two_labels():
    run = parse(
        {
            **SMALL,
            "methods": ["absLRP", {"name": "absLRP", "label": "x", "options": {"conserve": None}}],
        }
    )
    assert [m.label for m in run.methods] == ["absLRP", "x"]


def test_words_for_several_methods():
    assert [m.name for m in parse({"models": "digits:vgg"}).methods] == list(METHODS)
    run = parse({**SMALL, "methods": "paper-cnn"})
    assert len(run.methods) == 20
    assert all("cnn" in METHODS[m.name].paper for m in run.methods)
    both = parse({**SMALL, "methods": ["paper-cnn", "paper-vit"]}).methods
    assert {m.name for m in both} == {name for name, row in METHODS.items() if row.paper}
    assert len({m.name for m in both}) == len(both)


def test_options_beside_a_word_for_several_methods():
    masks = {"name": "rise", "options": {"n_masks": 7}}
    for methods in (["all", masks], [masks, "all"], ["cnn", masks, "vit"]):
        run = parse({**SMALL, "methods": methods})
        assert sorted(m.name for m in run.methods) == sorted(METHODS)
        assert [m.options for m in run.methods if m.name == "RISE"] == [{"n_masks": 7}]
    assert [m.name for m in parse({**SMALL, "methods": ["all", masks]}).methods] == list(METHODS)
    labelled = parse({**SMALL, "methods": ["all", {**masks, "label": "RISE, 7 masks"}]}).methods
    assert [m.label for m in labelled] == [*METHODS, "RISE, 7 masks"]
    with pytest.raises(InputError, match="'Saliency' is listed twice"):
        parse({**SMALL, "methods": ["Saliency", "Saliency"]})
    with pytest.raises(InputError, match="unknown name 'ries'; did you mean 'RISE'"):
        parse({**SMALL, "methods": ["all", {"name": "ries"}]})


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.usefixtures("fake_methods")
def test_our_configs(path, monkeypatch, tmp_path):
    for name in ("IMAGENET", "VOC"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("GAE_SHARED", str(tmp_path))
    run = read(path)
    assert Path(run.output).name == path.stem


def test_a_flag_that_names_what_the_file_has_keeps_what_it_says(monkeypatch, tmp_path):
    """Or ``--method IntegratedGradients`` would take other steps than the configuration's."""
    monkeypatch.setenv("GAE_SHARED", str(tmp_path))
    file = CONFIGS / "imagenet-here.yaml"
    methods = ["integratedgradients", "absLRP", "SmoothGrad"]
    whole, some = read(file), read(file, models=("lite:1", "shared:SqueezeNet"), methods=methods)
    own = {one.name: one for one in (*whole.models, *whole.methods)}
    assert some.models == (own["lite:1"], own["shared:squeezenet"])
    assert some.methods[:2] == (own["IntegratedGradients"], own["absLRP"])
    assert some.methods[2].options == {}
    assert own["IntegratedGradients"].options
    assert own["lite:1"].paper
    assert read(file, methods="absLRP").methods == (own["absLRP"],)
    for names in ("Integrated Gradients", ["cnn"]):  # the paper's name; a word for several
        assert own["IntegratedGradients"] in read(file, methods=names).methods
    given = {"name": "IntegratedGradients", "options": {"n_steps": 3}}
    assert read(file, methods=[given]).methods[0].options == {"n_steps": 3}


def test_flags_beside_a_file_whose_entries_are_no_list(tmp_path):
    (tmp_path / "odd.yaml").write_text("models: 5")
    with pytest.raises(InputError, match="methods"):
        read(tmp_path / "odd.yaml", models=["timm:resnet18"], methods=["none"])


VARIANTS = (
    ("absLRP", "absLRP-signed"),
    ("LRP-epsilon", "LRP-epsilon-0.1"),
    ("cLRP", "LRP-alpha1beta0-contrastive"),
    ("RAP", "RAP-eq5"),
    ("TIBAV", "TIBAV-epsilon"),
)


def test_the_papers_claims_are_tested_with_its_methods_and_networks(monkeypatch, tmp_path):
    """Those of tables 1, 3 and 5, but for the two that take as long as all others."""
    monkeypatch.setenv("IMAGENET", str(tmp_path))
    tables = [read(CONFIGS / f"table{number}.yaml") for number in (1, 3, 5)]
    run = read(CONFIGS / "imagenet-paper.yaml")
    methods = {method.name for table in tables for method in table.methods}
    assert {one.name for one in run.methods} == methods - {"IntegratedGradients", "SmoothGrad"}
    assert [one.name for one in run.models] == [one.models[0].name for one in tables]
    assert (run.data, run.steps) == (tables[0].data, tables[0].steps)


def test_each_table_has_its_config(monkeypatch, tmp_path):
    """Rows and columns of the paper's table are those of its config, beside other definitions."""
    from benchmarks.paper import paper_table
    from benchmarks.tables.against_paper import ROW_NAMES, columns_of_run

    for name in ("IMAGENET", "VOC"):
        monkeypatch.setenv(name, str(tmp_path))
    for number in range(1, 14):
        run = read(CONFIGS / f"table{number}.yaml")
        table = paper_table(number)
        methods = [METHODS[m.name] for m in run.methods]
        rows = {ROW_NAMES.get(m.name, m.paper_name) for m in methods if m.paper}
        assert rows == {ROW_NAMES.get(name, name) for name in table["method"]}
        # Every row of a name that has several definitions, and absLRP from both of its starts.
        others = {m.name for m in methods if not m.paper}
        assert others == {b for a, b in VARIANTS if a in {m.name for m in methods}}
        assert set(table["score"]) <= set(columns_of_run(run))
        assert {f"paper:{name}" for name in table["model"]} == {m.name for m in run.models}
        assert all(number in m.paper for m in run.models)
        assert run.samples == 256


def test_the_kind_of_data_in_any_case():
    assert parse({**SMALL, "data": "VOC:/x", "metrics": "quantus:AUC"}).data.name == "voc:/x"
    assert parse({**SMALL, "data": "Digits"}).data.name == "digits"


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("models: [")
    with pytest.raises(InputError, match="is not YAML"):
        read(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(InputError, match="holds no keys"):
        read(tmp_path / "empty.yaml")


def test_the_command_checks_first(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "output": str(tmp_path / "out"), "metrics": ["GEA"]}))
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["run", "--config", str(file)])
    assert result.exit_code == 2
    assert "did you mean 'GAE'" in result.output
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(app, ["run", "--config", str(file), "--metric", "C", "--check"])
    assert result.exit_code == 0, result.output
    assert "images with labels" in result.output
    assert "input gradients an image and model" in result.output
    # A folder, labels or weights that are not there are found before a run begins.
    for data in ("imagenet:", "voc:", "imagefolder:"):
        missing = ["--data", f"{data}{tmp_path / 'none'}", "--metric", "C", "--check"]
        result = CliRunner().invoke(app, ["run", "--config", str(file), *missing])
        assert result.exit_code == 2, result.output
        assert "data: " in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--devices=cuda:99", "device: 'cuda:99' cannot be used"),
        ("--address=node:6379", "address: it is of a Ray cluster, which --engine ray makes use of"),
        ("--output=", "output: String should have at least 1 character"),
    ],
)
def test_what_a_run_would_not_do_is_found_by_a_check(tmp_path, monkeypatch, option, message):
    """The check found nothing wrong; an address without Ray was no more than ignored."""
    monkeypatch.chdir(tmp_path)
    given = ["run", "--model", "digits:vgg", "--samples", "4", "--method", "Random", option]
    for more in (["--check"], []):
        result = CliRunner(env={"COLUMNS": "300"}).invoke(app, [*given, *more])
        assert result.exit_code == 2, result.output
        assert message in result.output


def test_the_command_names_the_nearest_config_and_kind_of_data():
    runner = CliRunner(env={"COLUMNS": "300"})
    result = runner.invoke(app, ["run", "--config", "tabel1", "--check"])
    assert result.exit_code == 2
    assert "config: there is no file 'tabel1'" in result.output
    assert "did you mean 'table1'" in result.output
    given = ["run", "--model", "digits:vgg", "--data", "imagnet:/x", "--check"]
    result = runner.invoke(app, given)
    assert result.exit_code == 2
    assert "data.name: unknown name 'imagnet'; did you mean 'imagenet'" in result.output
    result = runner.invoke(app, ["run", "--config", "digits", "--check"])
    assert result.exit_code == 0, result.output


def test_local_weights(tmp_path):
    file = tmp_path / "a=b.safetensors"
    file.touch()
    one, two = (parse({**SMALL, "models": names}) for names in ("digits:vgg", ["lite:0", "lite:1"]))
    assert weighted(one, [f"digits:VGG={file}"]).models[0].weights == str(file)
    assert [m.weights for m in weighted(two, [f"lite:1={file}"]).models] == [None, str(file)]
    plain = tmp_path / "plain"
    plain.touch()
    assert weighted(one, [str(plain)]).models[0].weights == str(plain)
    for run, text, message in (
        (two, str(plain), "expected MODEL=FILE"),
        (two, f"lite:2={plain}", "weights: unknown name 'lite:2'; did you mean"),
        (one, "/nowhere", "weights: cannot read '/nowhere'"),
    ):
        with pytest.raises(InputError, match=message):
            weighted(run, [text])
