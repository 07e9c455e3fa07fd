"""The commands end to end: what they print, write and refuse."""

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import functional as TF
from typer.testing import CliRunner

from gae_metric._names import METHODS
from gae_metric.commands import quantus_evaluation as evaluation
from gae_metric.commands.cli import app
from gae_metric.commands.named_metrics import Settings
from gae_metric.commands.options import CHOICES, check_count
from gae_metric.commands.requests import EvaluateRequest
from gae_metric.errors import InputError
from gae_metric.explainers import EXPLAINERS, gradients
from gae_metric.functional.masking import SCHEDULES
from gae_metric.functional.mosaic import INTERPOLATIONS, mosaics
from gae_metric.study.mosaicking import Protocol

runner = CliRunner()
FIGURES = [
    "bars.png",
    "curves.png",
    "extremes.png",
    "impact.png",
    "maps.png",
    "mosaic.png",
    "scatter.png",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a SqueezeNet for four classes, random but for classes that differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = torchvision.models.squeezenet1_1(num_classes=4)
        torch.nn.init.normal_(model.classifier[1].weight, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Five images, their labels, and a file that is no image."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC)
        image.save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"")
    (folder / "labels.csv").write_text(
        "file,class_index\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(5)) + "broken.png,3\n"
    )
    return folder


def invoke(*arguments, status=0):
    result = runner.invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def evaluate(weights, photographs, tmp_path):
    def call(*arguments, status=0, out=tmp_path / "out", figures=False, overwrite=True, **options):
        given = {
            "model": "torchvision:squeezenet1_1",
            "weights": weights,
            "model-arg": "num_classes=4",
            "images": photographs,
            "labels": photographs / "labels.csv",
            "methods": "Saliency,Random",
            "metrics": "GAE",
            "size": 48,
            "lipschitz-samples": 2,
            "steps": 4,
            "out": out,
        } | {key.replace("_", "-"): value for key, value in options.items()}
        flags = [f"--{key}={value}" for key, value in given.items() if value is not None]
        flags += ["--figures" if figures else "--no-figures"]
        flags += ["--overwrite"] if overwrite else []
        return invoke("evaluate", *flags, *arguments, status=status)

    return call


def scores(folder):
    return pd.read_csv(folder / "scores.csv")


def test_evaluate_writes_a_table_and_a_folder(evaluate, tmp_path):
    metrics = list(evaluation.METRICS)
    result = evaluate(metrics=",".join(metrics), methods="absLRP,gradcam,random", figures=True)
    assert "5 images, mean ± standard error" in result.stdout
    assert "fewer than 6 images cannot tell methods apart" in " ".join(result.stdout.split())
    assert "GradCAM" in result.stdout
    assert "broken.png: not an image" in result.stderr
    assert "of them classified as labelled; the labels are explained" in result.stderr
    folder = tmp_path / "out"
    long = scores(folder)
    assert list(long.columns) == ["model", "method", "metric", "sample", "file", "target", "score"]
    assert len(long) == 3 * len(metrics) * 5
    assert set(long["metric"]) == set(metrics)
    assert long["score"].notna().all()
    assert long["file"].unique().tolist() == [f"{i}.png" for i in range(5)]
    assert long["target"][:5].tolist() == [0, 1, 0, 1, 0]
    summary = pd.read_csv(folder / "summary.csv")
    for row in summary.itertuples():
        cell = long[(long["method"] == row.method) & (long["metric"] == row.metric)]["score"]
        assert row.mean == pytest.approx(cell.mean())
        assert row.standard_error == pytest.approx(cell.sem())
        assert row.samples == 5
        # Sums of five scores, each within a last digit of what was written.
        slack = 16 * np.finfo(float).eps * cell.abs().max()
        ascending = [cell.min(), row.ci_low, row.mean, row.ci_high, cell.max()]
        assert all(low <= high + slack for low, high in pairwise(ascending))
        assert not row.tie  # five samples tell nothing apart
    for metric, rows in summary.groupby("metric"):
        better = {"ROAD": "lower", "LocalLipschitz": "lower"}.get(metric, "higher")
        assert set(rows["better"]) == {better}
        best = rows["mean"].max() if better == "higher" else rows["mean"].min()
        assert (rows["best"] == (rows["mean"] == best)).all()
    parts = pd.read_csv(folder / "components.csv")
    assert len(parts) == 3 * 5
    np.testing.assert_allclose(parts["gae"], parts["local_consistency"] * parts["contrastiveness"])
    for name in FIGURES:
        pixels = np.asarray(Image.open(folder / name).convert("L"))
        assert pixels.std() > 5
    run = json.loads((folder / "run.json").read_text())
    assert run["settings"]["model"] == "torchvision:squeezenet1_1"
    assert run["settings"]["skipped"] == {"broken.png": "not an image"}
    assert run["versions"]["torch"] == torch.__version__.split("+")[0]


def test_choices_are_those_of_the_metrics():
    """The command line has their names, as it checks them before torch is there."""
    assert {
        "schedule": SCHEDULES,
        "interpolation": INTERPOLATIONS,
        "protocol": get_args(Protocol),
    } == CHOICES


@pytest.mark.parametrize("schedule", CHOICES["schedule"])
@pytest.mark.parametrize("interpolation", CHOICES["interpolation"])
@pytest.mark.parametrize(
    ("protocol", "n_mosaics"), [("paper", 1), ("paper", 10**6), ("repository", 1)]
)
def test_metrics_take_whatever_a_request_takes(schedule, interpolation, protocol, n_mosaics):
    """As a run checks its request, and no metric once more, before it opens a model."""
    for value, steps, seed in (
        ("0", 2, 0),
        ("mean", 255, 2**70),
        ("blur", 9, 1),
        ("-3.4e38", 9, 1),
    ):
        request = EvaluateRequest(
            model="digits:vgg", images=Path(), seed=seed, steps=steps, schedule=schedule,
            mask_value=value, n_mosaics=n_mosaics, interpolation=interpolation, protocol=protocol,
            lipschitz_samples=10**6,
        )  # fmt: skip
        options = {"masking": request.masking, "mosaicking": request.mosaicking}
        settings = Settings(seed=seed, lipschitz_samples=request.lipschitz_samples, **options)
        for build in evaluation.METRICS.values():
            build(settings)


def test_where_too_few_images_are_left_the_others_are_named(evaluate, photographs, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(photographs, folder)
    for i in range(2):
        (folder / f"{i}.png").write_bytes(b"")
    said = evaluate(images=folder, status=2).stderr
    assert "1.png: not an image" in said
    assert "at least 4 samples are needed, got 3" in " ".join(said.split())


def test_without_mosaics_no_image_is_too_few():
    with pytest.raises(InputError, match=r"^samples: at least 1 samples are needed, got 0$"):
        check_count(0, 1)


def test_mosaics_of_full_size_images(evaluate, photographs, tmp_path):
    evaluate(methods="Saliency", metrics="C", interpolation="none", figures=True)
    found = scores(tmp_path / "out")["score"]
    x = torch.stack([TF.to_tensor(Image.open(photographs / f"{i}.png")) for i in range(4)])
    assert mosaics(x, [[0, 1, 2, 3]], "none").shape[2:] == (2 * 72, 2 * 96)
    assert found.notna().all()
    evaluate(methods="Saliency", metrics="C")
    assert not np.allclose(scores(tmp_path / "out")["score"], found, rtol=0, atol=1e-3)
    probe = ["probe", "--model=torchvision:squeezenet1_1", f"--images={photographs}"]
    refused = invoke(*probe, f"--out={tmp_path / 'p.npz'}", "--interpolation=none", status=2)
    assert "interpolation: none makes mosaics that are larger" in " ".join(refused.stderr.split())


def test_the_authors_protocol_scores_some_images(evaluate, photographs, tmp_path):
    """One of four: the others have no score, and each keeps its place, also where a run goes on."""
    folder = tmp_path / "out"
    for _ in range(2):
        evaluate(protocol="repository", metrics="GAE,C,ROAD", figures=True, overwrite=False)
        gae, road = (scores(folder).query(f"metric == '{name}'") for name in ("GAE", "ROAD"))
        assert gae["score"].notna().sum() == 2  # an image for each of two methods
        assert len(gae) == len(road) == 10
        assert road["score"].notna().all()
        parts = pd.read_csv(folder / "components.csv")
        kept = parts.dropna(subset="gae")
        assert kept["sample"].tolist() == gae.dropna(subset="score")["sample"].tolist()
        assert len(parts) == 10
        assert (folder / "mosaic.png").exists()


def test_parts_taken_from_gae_are_the_metrics_own(evaluate, tmp_path):
    # One at a time: rounding depends on what else is in a batch.
    options = {"methods": "InputXGradient", "batch_size": 1}
    evaluate(metrics="GAE,LocalConsistency,C", **options)
    together = scores(tmp_path / "out").set_index(["metric", "sample"])["score"]
    evaluate(metrics="Contrastiveness,LocalConsistency", **options)
    alone = scores(tmp_path / "out").set_index(["metric", "sample"])["score"]
    assert len(alone) == 10
    for metric in ("LC", "C"):
        assert alone[metric].abs().max() > 0
        pd.testing.assert_series_equal(together[metric], alone[metric])


def test_scores_do_not_depend_on_batches_or_on_the_run(evaluate, tmp_path):
    # A smooth network: gradients jump where rounding, which depends on the batch, decides on which
    # side of a ReLU's or a pooling's kink an activation is.
    options = {"metrics": "LocalLipschitz,GAE,ROAD", "methods": "Random,InputXGradient"}
    options |= {"model": "digits:vit", "weights": None, "model_arg": None, "size": None}
    evaluate(**options, batch_size=2)
    first = scores(tmp_path / "out")
    np.random.seed(5)  # noqa: NPY002 - which must not matter
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate(**options, batch_size=16)
    second = scores(tmp_path / "out")
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.testing.assert_allclose(first["score"], second["score"], atol=1e-4)
    evaluate(**options, batch_size=16, seed=1)
    third = scores(tmp_path / "out").set_index(["method", "metric"])["score"]
    second = second.set_index(["method", "metric"])["score"]
    assert (third - second)["Random", "LocalLipschitz"].abs().max() > 1e-3


def test_without_labels_predictions_are_explained(evaluate, tmp_path):
    result = evaluate(labels=None, samples=4, seed=2, metrics="LocalConsistency")
    assert "4 images; the model's own predictions are explained" in result.stderr
    long = scores(tmp_path / "out")
    assert long["file"].nunique() == 4


def test_preprocessing_can_be_changed(evaluate, tmp_path):
    evaluate(methods="Saliency")
    own = scores(tmp_path / "out")["score"]
    evaluate("--range=-1,1", methods="Saliency")
    symmetric = scores(tmp_path / "out")["score"]
    evaluate(methods="Saliency", mean="0.5", std="0.5,0.5,0.5")
    assert not np.allclose(own, symmetric)
    np.testing.assert_allclose(scores(tmp_path / "out")["score"], symmetric, atol=1e-6)


def test_one_deviation_is_not_three(evaluate):
    result = evaluate(methods="Saliency", mean="0.5", std="0.5", status=2)
    assert "std: expected positive numbers, one for each channel, got '0.5'" in result.stderr


def test_methods_that_do_not_apply_are_left_out(evaluate, tmp_path):
    result = evaluate(
        model="digits:vit",
        weights=None,
        model_arg=None,
        labels=None,
        methods="GradCAM,Random",
        size=None,
    )
    text = " ".join(result.stdout.split())
    assert "left out: GradCAM: no feature map of the model is pooled" in text
    assert set(scores(tmp_path / "out")["method"]) == {"Random"}


def test_captums_methods_have_their_own_names(evaluate, tmp_path):
    pytest.importorskip("captum", reason="Captum (extra 'captum') is not installed")
    evaluate(methods="captum:saliency,Saliency", figures=True)
    long = scores(tmp_path / "out").set_index("method")["score"]
    np.testing.assert_allclose(long["captum:Saliency"], long["Saliency"], atol=1e-6)
    assert (tmp_path / "out" / "maps.png").exists()


def test_a_metrics_own_error_is_shown_and_the_rest_goes_on(evaluate, tmp_path, monkeypatch):
    def broken(settings):
        return unable

    def unable(**kwargs):
        raise ValueError("mosaics ran out")

    monkeypatch.setitem(evaluation.METRICS, "GAE", broken)
    result = evaluate(metrics="GAE,ROAD", status=1, figures=True)
    text = " ".join(result.stdout.split())
    assert "failed: GAE of Saliency:" in text
    assert "mosaics ran out" in text
    assert "KeyError" not in result.output
    long = scores(tmp_path / "out").set_index("metric")["score"]
    assert long["GAE"].isna().all()
    assert long["ROAD"].notna().all()
    assert (tmp_path / "out" / "bars.png").exists()


def test_a_method_that_fails_is_named_and_the_rest_goes_on(evaluate, tmp_path, monkeypatch):
    def broken(model, inputs, targets, **kwargs):
        raise RuntimeError("out of ideas")

    def breaks_later(model, inputs, targets, **kwargs):
        if len(inputs) > 4:
            raise RuntimeError("too many")
        return inputs

    for name, function in (("Broken", broken), ("Later", breaks_later)):
        monkeypatch.setattr(gradients, name, function, raising=False)
        monkeypatch.setitem(METHODS, name, ("", f"gradients:{name}", {}))
    result = evaluate(methods="Broken,Saliency,Later,Random", status=1)
    assert "failed: Broken: RuntimeError: out of ideas" in result.stdout
    assert "failed: Later: RuntimeError: too many" in result.stdout
    long = scores(tmp_path / "out")
    assert long["method"].unique().tolist() == ["Saliency", "Random"]
    assert long["score"].notna().all()
    result = evaluate(methods="Broken", status=1)
    assert (
        "error: no method could be evaluated: Broken: RuntimeError: out of ideas" in result.stderr
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "torchvision:squeezenet"}, "did you mean 'squeezenet1_"),
        ({"model": "timm:squeezenet"}, "torchvision has it: torchvision:squeezenet1_0, torch"),
        ({"samples": 3}, "a mosaic is made of 4 images"),
        ({"model": "hub:resnet50"}, "model (source): unknown name 'hub'"),
        ({"images": "/nowhere"}, "images: expected a folder, found nothing at '/nowhere'"),
        ({"methods": "absLPR"}, "methods: unknown name 'absLPR'; did you mean 'absLRP'?"),
        ({"methods": "captum:Salency"}, "did you mean 'Saliency'?"),
        ({"methods": ","}, "methods: expected at least one"),
        ({"metrics": "GEA"}, "metrics: unknown name 'GEA'; did you mean 'GAE'?"),
        ({"labels": "/nowhere.csv"}, "labels: cannot read '/nowhere.csv'"),
        ({"weights": "/nowhere.safetensors"}, "weights: cannot read"),
        ({"model-arg": "num_classes"}, "model-arg: expected KEY=VALUE, got 'num_classes'"),
        ({"model-arg": "num_classes=5"}, "weights: squeezenet.safetensors does not fit SqueezeNet"),
        ({"size": 8}, "another size is given with --size"),
        ({"size": -1}, "size: expected a positive"),
        ({"mean": "0.5,x"}, "mean: expected numbers separated by commas, got '0.5,x'"),
        ({"std": "0"}, "std: expected positive"),
        ({"range": "1"}, "range: expected two ascending"),
        ({"samples": 0}, "samples: expected a positive integer, got"),
        ({"batch-size": 0}, "batch-size: expected a positive integer, got"),
        ({"seed": -1}, "seed: expected a non-negative integer, got"),
        ({"device": "gpu"}, "device: expected auto, cpu, cuda, cuda:N, mps or another of torch's"),
        ({"device": "cuda:99"}, "device: 'cuda:99' cannot be used"),
        ({"out": "/proc/none/here"}, "out: cannot write to '/proc/none/here'"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_bad_options_are_named(evaluate, options, message):
    result = evaluate(**options, status=2)
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_bad_files_are_named(evaluate, photographs, tmp_path):
    pickle = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(1)}, pickle)
    assert "is a pickle" in evaluate(weights=pickle, status=2).stderr
    labels = tmp_path / "labels.csv"
    labels.write_text("file,class_index\n0.png,4\n")
    assert "the model has 4 classes" in evaluate(labels=labels, status=2).stderr
    below_a_file = photographs / "labels.csv" / "out"
    assert "out: cannot write to" in evaluate(out=below_a_file, status=2).stderr


def test_a_model_on_the_wrong_kind_of_input_is_noted(evaluate, tmp_path):
    labels = tmp_path / "labels.csv"
    predicted = scores_of_predictions(evaluate, tmp_path)
    wrong = [(c + 1) % 4 for c in predicted]
    labels.write_text("file,class_index\n" + "".join(f"{i}.png,{c}\n" for i, c in enumerate(wrong)))
    result = evaluate(labels=labels, methods="Random", metrics="LocalConsistency")
    assert "5 images, 0 of them classified as labelled" in result.stderr
    assert "do the class indices and the preprocessing" in result.stderr


def scores_of_predictions(evaluate, tmp_path):
    evaluate(labels=None, methods="Random", metrics="LocalConsistency")
    return scores(tmp_path / "out")["target"].tolist()


def test_one_output_is_told_and_explained_as_two_classes(evaluate, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(
            torchvision.models.resnet18(num_classes=1).state_dict(), tmp_path / "one.safetensors"
        )
    model = {
        "model": "torchvision:resnet18",
        "weights": tmp_path / "one.safetensors",
        "model_arg": "num_classes=1",
        "methods": "absLRP",
        "metrics": "LocalConsistency",
        "labels": None,
    }
    result = evaluate(**model, status=2)
    assert "it has one output" in result.stderr
    assert 'output="binary"' in " ".join(result.stderr.split())
    evaluate(**model, output="binary")
    assert np.isfinite(scores(tmp_path / "out")["score"]).all()
    assert set(scores(tmp_path / "out")["target"]) <= {0, 1}


def test_version_and_help():
    assert invoke("--version").stdout.startswith("gae-metric 1.")
    text = invoke("--help").stdout
    assert "demo" in text
    assert "evaluate" in text
    assert invoke("evaluate", "--help").stdout.count("--") > 15
    assert invoke("evaluate", status=2)


def test_help_needs_no_torch():
    import subprocess

    code = (
        "import sys; from gae_metric.commands.cli import app\n"
        "try: app(['--help'], prog_name='gae-metric')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def check_demo(folder, networks, samples):
    long = scores(folder)
    assert set(long["model"]) == set(networks)
    for network in networks:
        rows = long[long["model"] == network]
        methods = set(rows["method"])
        without = {"GradCAM"} if network == "vit" else set()
        assert methods == set(EXPLAINERS) - without
        assert len(rows) == len(methods) * len(evaluation.METRICS) * samples
        means = rows.groupby(["metric", "method"])["score"].mean()
        assert means.notna().all()
        assert means["GAE", "Random"] < 0.02
        assert means["GAE", "absLRP"] > 0.02
        for name in FIGURES:
            assert np.asarray(Image.open(folder / network / name).convert("L")).std() > 5


def test_demo(tmp_path, monkeypatch):
    folder, name = tmp_path / "demo", "IntegratedGradients"
    monkeypatch.setitem(METHODS, name, (*METHODS[name][:2], {"n_steps": 3}))
    result = invoke("demo", f"--out={folder}", "--samples=12", "--networks=vgg")
    assert "of 12 held-out digits classified correctly" in result.stderr
    assert "vgg: 12 images" in result.stdout
    check_demo(folder, ["vgg"], 12)


@pytest.mark.slow
def test_demo_of_all_networks(tmp_path):
    folder = tmp_path / "demo"
    invoke("demo", f"--out={folder}", "--samples=16")
    check_demo(folder, ["vgg", "resnet", "vit"], 16)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--networks=vggg", "networks: unknown name 'vggg'; did you mean 'vgg'?"),
        ("--networks=,", "networks: expected at least one"),
        ("--samples=3", "samples: expected 4 (a mosaic's) to 450, got 3"),
        ("--samples=451", "got 451"),
        ("--seed=-1", "seed: expected a non-negative integer, got -1"),
        ("--out=/proc/none", "out: cannot write to '/proc/none'"),
        ("--photographs --samples=8", "samples: expected 4 (a mosaic's) to 7, got 8"),
        ("--photographs --networks=vgg", "leave --networks out"),
    ],
)
def test_bad_options_of_the_demo_are_named(tmp_path, option, message):
    result = invoke("demo", f"--out={tmp_path}", *option.split(), status=2)
    assert message in result.stderr


@pytest.mark.parametrize("place", [".", "gae-evaluate", "demo/vgg"])
def test_figures_of_a_run_among_the_images_are_no_images(photographs, tmp_path, place):
    folder = tmp_path / "images"
    shutil.copytree(photographs, folder)
    own = [*(f"{i}.png" for i in range(5)), "broken.png"]
    (folder / place).mkdir(parents=True, exist_ok=True)
    for name in ("maps.png", "bars.png", "photograph.png"):
        shutil.copy(folder / "0.png", folder / place / name)
    made = (Path(place) / name for name in ("maps.png", "bars.png", "photograph.png"))
    maps, bars, photograph = (path.as_posix() for path in made)
    request = EvaluateRequest(
        model="digits:vgg", images=folder, recursive=True, out=tmp_path / "out"
    )
    # Without a run beside them, they may be anybody's.
    assert request.check() == sorted([*own, maps, bars, photograph])
    run = folder / place.partition("/")[0] / "run.json"
    run.write_text("{}")
    assert request.check() == sorted([*own, photograph])
