"""``gae-metric probe`` and ``gae-metric score``, and tools that know no more than the files."""

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gae_metric import GAE, Contrastiveness, ProbeSet, compare
from gae_metric.commands.cli import app
from gae_metric.demo import digits, networks
from gae_metric.explainers.gradients import EXPLAINERS
from gae_metric.inputs.images import load_images
from gae_metric.inputs.models import load_model
from gae_metric.study.logits import predictions

runner = CliRunner()
COUNT = 6

#: Another tool: NumPy, the files and their documentation.
TOOL = textwrap.dedent(
    """
    import json, os, sys
    import numpy as np

    def explain(inputs, targets):
        place = np.arange(inputs[0].size, dtype=np.float32).reshape(inputs.shape[1:])
        return np.stack([
            x * np.cos(place * np.float32(1 + target)) for x, target in zip(inputs, targets)
        ])

    probe, maps = sys.argv[1:]
    if probe.endswith(".npz"):
        with np.load(probe, allow_pickle=False) as arrays:
            np.savez(maps, maps=explain(arrays["inputs"], arrays["targets"]))
    else:
        os.mkdir(maps)
        with open(os.path.join(probe, "manifest.json")) as file:
            shards = json.load(file)["shards"]
        for k, shard in enumerate(shards):
            inputs, targets = (
                np.load(os.path.join(probe, shard["arrays"][name]), allow_pickle=False)
                for name in ("inputs", "targets")
            )
            np.save(os.path.join(maps, "maps-%05d.npy" % k), explain(inputs, targets))
    assert not {"torch", "gae_metric", "quantus"} & set(sys.modules)
    """
)


def tool_explains(model, inputs, targets, **kwargs):
    names = {}
    exec(TOOL.split("probe, maps =")[0], names)
    return names["explain"](inputs, targets)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    x, y = digits.load("test", n=COUNT)
    for i, canvas in enumerate(digits.to_display(x)):
        pixels = (np.moveaxis(canvas, 0, -1) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "labels.csv").write_text(
        "file,class_index\n" + "".join(f"{i}.png,{(c + i % 2) % 10}\n" for i, c in enumerate(y))
    )
    return folder


def invoke(*arguments, status=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def live(kind, network, folder, explain_func, y=None, **options):
    loaded = load_model(f"digits:{network}")
    x = load_images(folder, loaded.preprocessing).x
    y = predictions(loaded.model, x).argmax(1) if y is None else y
    metric = kind(**options, disable_warnings=True)
    metric(loaded.model, x, y, explain_func=explain_func, batch_size=16)
    return metric.components[list(metric.columns)]


def read(path):
    """Read scores without a rounding, whatever pandas' own parser does."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = {name: [float(v or "nan") for v in table[name]] for name in table if name != "file"}
    table = table.assign(**numbers).astype({"sample": int, "target": int})
    return table.set_index("sample")


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_process_that_knows_only_the_files(scans, tmp_path, kind):
    probe = tmp_path / ("probe.npz" if kind == "npz" else "probe")
    maps = tmp_path / ("maps.npz" if kind == "npz" else "maps")
    (tmp_path / "tool.py").write_text(TOOL)
    result = invoke("probe", "--model=digits:vgg", f"--images={scans}", f"--out={probe}")
    assert "the model's own predictions are explained" in result.stderr
    assert f"{COUNT * 20} items of {COUNT} images are in" in result.stdout
    run("-I", tmp_path / "tool.py", probe, maps)
    out = tmp_path / "new" / "scores.csv"
    command = ["score", f"--probe={probe}", f"--maps={maps}", f"--out={out}"]
    result = run("-m", "gae_metric", *command) if kind == "npz" else invoke(*command)
    assert "Scores are in" in result.stdout
    scores = read(out)
    expected = live(GAE, "vgg", scans, tool_explains)
    assert expected["local_consistency"].max() > 0
    assert scores["file"].tolist() == [f"{i}.png" for i in range(COUNT)]
    pd.testing.assert_frame_equal(scores[list(expected)], expected, check_exact=True)


@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_options_reach_the_metric(scans, tmp_path, network):
    labels = pd.read_csv(scans / "labels.csv")["class_index"].to_numpy()
    options = {"steps": 3, "schedule": "uniform", "n_mosaics": 2, "mask_value": 0.5, "seed": 3}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    flags += [f"--labels={scans / 'labels.csv'}"]
    path = tmp_path / "probe"
    result = invoke(
        "probe", f"--model=digits:{network}", f"--images={scans}", f"--out={path}", *flags
    )
    assert "the labels are explained" in result.stderr
    probe = ProbeSet.load(path)
    assert len(probe) == COUNT * 7
    maps = {
        name: tool_explains(None, x[None], t[None])[0]
        for ids, xs, ts in probe.explain_items()
        for name, x, t in zip(ids, xs, ts, strict=True)
    }
    np.savez(tmp_path / "maps.npz", **maps)
    arguments = ["score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}"]
    invoke(*arguments, f"--out={tmp_path / 'scores.csv'}")
    scores = read(tmp_path / "scores.csv")
    expected = live(GAE, network, scans, tool_explains, labels, **options)
    assert scores["target"].tolist() == labels.tolist()
    pd.testing.assert_frame_equal(scores[list(expected)], expected, check_exact=True)
    settings = json.loads((path / "manifest.json").read_text())["settings"]
    assert settings["model"] == f"digits:{network}"
    assert {name: settings[name] for name in options} == options


def test_other_metrics_and_protocols(scans, tmp_path):
    flags = ["--metric=contrastiveness", "--protocol=repository", "--samples=5", "--batch-size=2"]
    path = tmp_path / "p.npz"
    invoke("probe", "--model=digits:vgg", f"--images={scans}", f"--out={path}", *flags)
    probe = ProbeSet.load(path)
    assert (probe.metric, len(probe)) == ("Contrastiveness", 1)
    np.savez(tmp_path / "maps.npz", maps=np.ones((1, 48, 48)))
    result = invoke("score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}")
    assert "Contrastiveness: 1 samples" in result.stdout
    assert Contrastiveness.columns[-1] in result.stdout


@pytest.fixture(scope="module")
def small(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    path = folder / "probe.npz"
    invoke("probe", "--model=digits:vgg", f"--images={scans}", f"--out={path}", "--steps=2")
    return path, {name: np.ones((48, 48)) for name in ProbeSet.load(path).ids}


def test_score_names_what_does_not_fit(small, tmp_path):
    path, maps = small
    maps = dict(maps, extra=np.ones((48, 48)))
    maps["1-mosaic-0"] = np.ones((48, 47))
    del maps["3-lerf-1"]
    np.savez(tmp_path / "maps.npz", **maps)
    out = tmp_path / "scores.csv"
    result = invoke(
        "score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}", f"--out={out}", status=2
    )
    for part in (
        "24 items; 1 missing: 3-lerf-1;",
        "1 of no item: extra;",
        "1 of shape (48, 47) instead of (48, 48): 1-mosaic-0",
    ):
        assert part in result.stderr
    assert "Traceback" not in result.output
    assert not out.exists()


def test_score_notes_maps_that_are_not_finite(small, tmp_path):
    path, maps = small
    maps = dict(maps)
    maps["2-original"] = np.full((48, 48), np.nan)
    np.savez(tmp_path / "maps.npz", **maps)
    out = tmp_path / "scores.csv"
    result = invoke("score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}", f"--out={out}")
    assert "note: maps: 1 have values that are not finite" in result.stderr
    assert "NaN: 2-original" in " ".join(result.stderr.split())
    assert "not finite: samples 2.png" in " ".join(result.stderr.split())
    assert read(out)["gae"].isna().tolist() == [i == 2 for i in range(COUNT)]


def test_notes_name_files(scans, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(scans, folder)
    Image.new("RGB", (48, 48)).save(folder / "blank.png")
    result = invoke(
        "probe", "--model=digits:vgg", f"--images={folder}", f"--out={tmp_path / 'p'}", "--steps=2"
    )
    note = " ".join(result.stderr.split())
    assert "1 of 7 samples are blank" in note
    assert "nothing in them to explain: samples blank.png" in note


def test_tables_of_two_tools_are_compared(small, tmp_path):
    """By their files, also where the places of samples are other ones, as of another draw."""
    path, maps = small
    tables = {}
    for name, seed in (("A", 0), ("B", 1)):
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / f"{name}.npz", maps=rng.random((len(maps), 48, 48)))
        out = tmp_path / f"{name}.csv"
        invoke("score", f"--probe={path}", f"--maps={tmp_path / name}.npz", f"--out={out}")
        tables[name] = pd.read_csv(out)
    alone = {
        name: t.set_index("file").drop(columns=["sample", "target"]) for name, t in tables.items()
    }
    expected = compare(alone)
    assert set(expected["metric"]) == {*GAE.columns}
    pd.testing.assert_frame_equal(compare(tables), expected)
    other = tables["B"].iloc[::-1].assign(sample=range(COUNT))
    pd.testing.assert_frame_equal(compare(tables | {"B": other}), expected)
    unnamed = {name: table.drop(columns="file") for name, table in tables.items()}
    pd.testing.assert_frame_equal(compare(unnamed), expected)
    # Names that several samples have do not tell them apart, but their places do.
    equal = {name: table.assign(file="x.png") for name, table in tables.items()}
    pd.testing.assert_frame_equal(compare(equal), expected)
    with pytest.raises(ValueError, match=r"several of sample x\.png"):
        compare({name: table.drop(columns="sample") for name, table in equal.items()})


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--metric=GEA", "metric: unknown name 'GEA'; did you mean 'GAE'"),
        ("--steps=1", "steps: expected an integer from 2 to 255, got 1"),
        ("--schedule=other", "schedule: unknown name 'other'; Known: reranked, uniform"),
        ("--mask-value=black", "mask-value: expected a number, mean or blur, got 'black'"),
        ("--mask-value=nan", "mask-value: expected a number, mean or blur, got 'nan'"),
        ("--n-mosaics=0", "n-mosaics: expected a positive integer, got"),
        ("--interpolation=cubic", "interpolation: unknown name 'cubic'; did you mean 'bicubic'?"),
        ("--protocol=their", "protocol: unknown name 'their'; Known: paper, repository"),
        ("--samples=3", "at least 4 samples"),
        ("--samples=0", "samples: expected a positive integer, got"),
        ("--seed=-1", "seed: expected a non-negative integer, got"),
        ("--batch-size=0", "batch-size: expected a positive integer, got"),
        ("--device=gpu", "device: expected auto, cpu, cuda, cuda:N"),
        ("--model=digits:vggg", "did you mean 'vgg'"),
        ("--images=/nowhere", "images: expected a folder"),
        ("--weights=/nowhere.safetensors", "weights: cannot read"),
        ("--labels=/nowhere.csv", "labels: cannot read"),
        ("--out=/proc/none/p.npz", "out: cannot write to '/proc/none'"),
        ("--out=/proc/none", "out: cannot write to '/proc/none'"),
    ],
)
def test_bad_options_are_named(scans, tmp_path, flag, message):
    given = {"model": "digits:vgg", "images": scans, "out": tmp_path / "p.npz"}
    flags = [
        f"--{name}={value}" for name, value in given.items() if not flag.startswith(f"--{name}=")
    ]
    result = invoke("probe", *flags, flag, status=2)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_places_that_are_in_use(scans, small, tmp_path):
    result = invoke("probe", "--model=digits:vgg", f"--images={scans}", f"--out={scans}", status=2)
    assert "out: expected an .npz file or a new or empty folder" in result.stderr
    path, _ = small
    result = invoke("score", f"--probe={scans}", f"--maps={path}", status=2)
    assert "has no file manifest.json" in result.stderr
    result = invoke("score", f"--probe={path}", "--maps=/nowhere", status=2)
    assert "maps: expected a folder or an .npz file, found nothing at '/nowhere'" in result.stderr
    text = tmp_path / "text.npz"
    text.write_text("text")
    result = invoke("score", f"--probe={text}", f"--maps={path}", status=2)
    assert "cannot be read" in result.stderr


@pytest.mark.parametrize("out", ["set.npz", "set"])
def test_a_probe_set_is_replaced_only_if_asked(scans, tmp_path, out):
    path = tmp_path / out
    given = ["probe", "--model=digits:vgg", f"--images={scans}", f"--out={path}", "--steps=2"]
    invoke(*given)
    before = ProbeSet.load(path)
    result = invoke(*given, "--samples=4", status=2)
    assert f"out: '{path}' is there already; give another name, or --overwrite" in result.stderr
    assert len(ProbeSet.load(path)) == len(before) == 4 * COUNT
    if path.is_dir():
        (path / "maps-00000.npy").touch()  # a tool's
        result = invoke(*given, "--overwrite", status=2)
        assert "which has something in it" in result.stderr
        (path / "maps-00000.npy").unlink()
    invoke(*given, "--samples=4", "--overwrite")
    assert len(ProbeSet.load(path)) == 16


def test_arrays_that_are_no_probe_set_are_never_replaced(scans, tmp_path):
    mine = tmp_path / "features-00000.npy"
    mine.write_text("mine")
    given = ["probe", "--model=digits:vgg", f"--images={scans}", f"--out={tmp_path}", "--steps=2"]
    result = invoke(*given, "--overwrite", status=2)
    assert "which has something in it" in result.stderr
    assert mine.read_text() == "mine"


def test_scores_are_replaced_only_if_asked(small, tmp_path):
    path, maps = small
    np.savez(tmp_path / "maps.npz", **maps)
    out = tmp_path / "scores.csv"
    out.write_text("mine")
    given = ["score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}", f"--out={out}"]
    result = invoke(*given, status=2)
    assert f"out: '{out}' is there already; give another name, or --overwrite" in result.stderr
    assert out.read_text() == "mine"
    invoke(*given, "--overwrite")
    assert len(read(out)) == COUNT


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_maps_that_are_older_than_the_probe_set_are_told_of(small, tmp_path, form):
    """Items of the earlier set, of other images or another model, have the same names."""
    path, maps = small
    given = tmp_path / f"maps.{form}"
    if form == "npz":
        np.savez(given, **maps)
    else:
        given.mkdir()
        for name, values in maps.items():
            np.save(given / f"{name}.npy", values)
    older = "note: maps: older than the probe set"
    made = path.stat().st_mtime
    for later, told in ((5, False), (-5, True)):
        os.utime(given, (made + later, made + later))
        result = invoke("score", f"--probe={path}", f"--maps={given}")
        assert (older in " ".join(result.stderr.split())) == told


def test_scores_that_were_there_outlive_a_crash(small, tmp_path, monkeypatch):
    path, maps = small
    np.savez(tmp_path / "maps.npz", **maps)
    out = tmp_path / "scores.csv"
    out.write_text("mine")
    link = tmp_path / "link.csv"
    link.symlink_to(out)
    given = ["score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}", "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: full())
        result = invoke(*given, f"--out={link}", status=1)
    assert "No space left on device" in result.stderr
    assert out.read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "link.csv",
        "maps.npz",
        "scores.csv",
    ]
    invoke(*given, f"--out={link}")
    assert link.is_symlink()
    assert len(read(out)) == COUNT
    result = invoke(*given, "--out=/dev/null", status=2)
    assert "out: expected a CSV file to write, got device '/dev/null'" in result.stderr


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_place_for_no_scores_is_named_before_the_work(small, tmp_path):
    path, maps = small
    np.savez(tmp_path / "maps.npz", **dict(list(maps.items())[1:]))
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "scores.csv"
    given = ["score", f"--probe={path}", f"--maps={tmp_path / 'maps.npz'}", f"--out={out}"]
    assert "out: cannot write to" in invoke(*given, status=2).stderr


def test_maps_of_pytorch_grad_cam(tmp_path):
    """A third party's maps: exactly the live scores, and near those of our own GradCAM."""
    grad_cam = pytest.importorskip(
        "pytorch_grad_cam", reason="pytorch-grad-cam (package 'grad-cam') is not installed"
    )
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = networks.load("vgg")
    x, _ = digits.load("test", n=COUNT)
    y = predictions(model, x).argmax(1)
    layer = model.pre_logits  # whose output is pooled

    def explain(model, inputs, targets, **kwargs):
        """Explain one at a time, as rounding depends on the batch."""
        with grad_cam.GradCAM(model=model, target_layers=[layer]) as cam:
            return np.concatenate(
                [
                    cam(torch.tensor(x[None], requires_grad=True), [ClassifierOutputTarget(int(t))])
                    for x, t in zip(inputs, targets, strict=True)
                ]
            )

    ProbeSet.build(model, x, y).save(tmp_path / "probe.npz")
    probe = ProbeSet.load(tmp_path / "probe.npz")
    stream = ((ids, explain(model, xs, ts)) for ids, xs, ts in probe.explain_items(16))
    scores = probe.score(stream, disable_warnings=True)
    metric = GAE(disable_warnings=True)
    metric(model, x, y, explain_func=explain)
    pd.testing.assert_frame_equal(scores, metric.components[list(metric.columns)], check_exact=True)
    assert scores["gae"].mean() > 0.1
    ours = GAE(disable_warnings=True)
    ours(model, x, y, explain_func=EXPLAINERS["GradCAM"])
    # Not the same to the last digit: theirs takes a map's minimum away.
    for part in ("lc_faithfulness", "contrastiveness"):
        np.testing.assert_allclose(scores[part], ours.components[part], rtol=0, atol=0.02)
