"""Command lines whose arguments are anything: a message and exit status 2 or 1, no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import gae_metric.commands.evaluate
import gae_metric.probe.probe_set
from benchmarks.cli import app as benchmarks_app
from benchmarks.methods import matrix
from gae_metric import ProbeSet
from gae_metric.commands.cli import app
from gae_metric.errors import InputError
from tests.gae_metric.nets import conv_net, images, top_classes
from tests.hardening.fuzz import fuzzing, nothing_runs

JUNK = [
    *(
        "",
        " ",
        "0",
        "-1",
        "7",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "0x10",
        "1_000",
        "9" * 30,
        "9" * 5000,
    ),
    *("None", "True", "[red]", "[/]", "{}", "%s", "a,b", ",", ",,", "1,2,3", "1,2,3,4", "nan,1,2"),
    *("timm:", ":vgg", "timm:resnet_18", "digits:vgg", "digits:alexnet", "timm:local-dir:/tmp"),
    *("cpu", "meta", "cuda:99", "mps", "xla", "cpu:-1", "cuda:-1", "folders", "/", "/dev/null"),
    *("..", "/proc/no/such", "x" * 300, "GAE", "gae,gae", "captum:Saliency", "captum:os.system"),
    *("mean", "blur", "uniform", "ä", "٣", "http://127.0.0.1:9/x", "-", "--", "~"),
    *("num_classes=0", "num_classes=-1", "num_classes=[]", "a=b", "=", "a=", "1a=2"),
    *("a={[]: 1}", "a=" + "(" * 1000, "a=" + "-" * 2000 + "1", "a=__import__('os').system('x')"),
    *("checkpoint_path=/tmp/x.pth", "pretrained=True", os.fsdecode(b"\xff\xfe")),
]
WORDS = st.sampled_from(JUNK) | st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=6
)


class ReachedError(InputError):
    """The arguments were taken, and the work would begin."""


def reached(*args, **kwargs):
    raise ReachedError("reached")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images, a probe set and maps."""
    root = tmp_path_factory.mktemp("files")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i}.png")
    lines = "".join(f"{i}.png,{i}\n" for i in range(4))
    (root / "labels.csv").write_text(f"file,class_index\n{lines}")
    net, x = conv_net(dtype=torch.float32), images(4, (3, 4, 4), np.float32)
    probe = ProbeSet.build(net, x, top_classes(net, x), steps=2)
    probe.save(root / "probe.npz")
    np.savez(
        root / "maps.npz", maps=np.abs(np.concatenate([x for _, x, _ in probe.explain_items()]))
    )
    (root / "run.yaml").write_text("models: digits:vgg\nmethods: Saliency\nsamples: 4\n")
    (root / "results").mkdir()
    return root


def good(command, files):
    own = {"model": "digits:vgg", "images": files / "images", "labels": files / "labels.csv"}
    return {
        "evaluate": own | {"methods": "Saliency", "metrics": "GAE", "out": files / "out"},
        "probe": own | {"out": files / "set.npz"},
        "score": {"probe": files / "probe.npz", "maps": files / "maps.npz"},
        "demo": {"samples": "4", "networks": "vgg", "out": files / "demo"},
        "run": {"config": files / "run.yaml", "output": files / "results" / "run"},
        "tables": {"output": files / "tables"},
        "methods": {"model": "digits:vgg"},
    }[command]


def overwriting(command):
    """Or else what was written before would be the first thing that is refused."""
    return ["--overwrite"] if command in ("evaluate", "demo") else []


OPTIONS = {
    "evaluate": (
        *("model", "images", "labels", "methods", "metrics", "weights", "samples", "seed"),
        *("batch-size", "device", "out", "size", "mean", "std", "range", "model-arg"),
        *("lipschitz-samples", "steps", "schedule", "mask-value", "n-mosaics", "interpolation"),
        *("protocol", "output", "no-such-option"),
    ),
    "probe": (
        *("model", "images", "labels", "out", "metric", "steps", "schedule", "mask-value"),
        *("n-mosaics", "interpolation", "protocol", "samples", "seed", "batch-size", "device"),
        *("size", "mean", "std", "range", "model-arg", "weights"),
    ),
    "score": ("probe", "maps", "out", "batch-size"),
    "demo": ("samples", "networks", "seed", "out"),
    "run": (
        *("config", "model", "data", "samples", "method", "metric", "seed", "block"),
        *("batch-size", "engine", "devices", "threads", "readers", "output"),
    ),
    "tables": ("output", ""),
    "methods": ("model",),
}


def invoke(application, command, options, flags=()):
    """Run a command in this process, and return its status and what it said."""
    line = [command, *flags]
    line += [value if name == "" else f"--{name}={value}" for name, value in options.items()]
    with nothing_runs():
        result = CliRunner().invoke(application, [str(one) for one in line])
    error = result.exception
    assert error is None or isinstance(error, SystemExit), (line, error)
    assert result.exit_code in (0, 1, 2), (line, result.output)
    assert "Traceback" not in result.output, line
    assert "unexpected" not in result.stderr.replace("unexpected extra argument", ""), (
        line,
        result.stderr,
    )
    if result.exit_code:
        assert result.output.strip(), line
    return result


def drawn(data, command, files):
    options = dict(good(command, files))
    for _ in range(data.draw(st.integers(1, 2))):
        options[data.draw(st.sampled_from(OPTIONS[command]))] = data.draw(WORDS)
    return options


@pytest.fixture(scope="module")
def no_work():
    """Stop where the long work would begin."""
    patch = pytest.MonkeyPatch()
    patch.setattr(gae_metric.commands.evaluate, "evaluate", reached)
    patch.setattr(gae_metric.probe.probe_set, "evaluated", reached)
    patch.setattr("benchmarks.runner.run.execute", reached)
    yield
    patch.undo()


@fuzzing
@given(data=st.data())
@pytest.mark.parametrize("command", ["evaluate", "probe", "score", "demo"])
def test_gae_metric(files, no_work, tmp_path_factory, monkeypatch, command, data):
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    invoke(app, command, drawn(data, command, files), overwriting(command))


@fuzzing
@given(data=st.data())
@pytest.mark.parametrize("command", ["run", "tables", "methods"])
def test_benchmarks(files, no_work, tmp_path_factory, monkeypatch, command, data):
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    monkeypatch.setattr(matrix, "tried", lambda method, loaded: matrix.Cell(True))
    flags = {"run": [], "tables": [files / "results"], "methods": []}[command]
    invoke(benchmarks_app, command, drawn(data, command, files), flags)


@pytest.mark.parametrize("command", ["evaluate", "probe", "demo"])
def test_the_good_arguments_get_to_the_work(files, no_work, command):
    """Or else the tests above would see nothing but the first check."""
    result = invoke(app, command, good(command, files), overwriting(command))
    assert "reached" in result.stderr


def test_the_good_arguments_of_the_others(files):
    assert invoke(app, "score", good("score", files)).exit_code == 0
    assert invoke(benchmarks_app, "run", good("run", files), ["--check"]).exit_code == 0
    assert invoke(benchmarks_app, "methods", good("methods", files)).exit_code == 0


@pytest.mark.parametrize(
    ("command", "option", "value", "message"),
    [
        ("evaluate", "device", "meta", "device: expected auto, cpu, cuda, cuda:N"),
        ("evaluate", "size", "9" * 9, "size: expected an integer from 1 to 16384"),
        ("evaluate", "range", "0,inf", "range: expected two ascending numbers"),
        ("evaluate", "model-arg", "checkpoint_path=/tmp/x.pth", "an option that names a file"),
        ("evaluate", "model-arg", "a", "model-arg: expected KEY=VALUE"),
        (
            "evaluate",
            "mask-value",
            "1e39",
            "mask-value: expected a number, mean or blur, got '1e39'",
        ),
        ("evaluate", "output", "9" * 5000, "output: the model returned a Tensor, which has no"),
        ("evaluate", "model", "torchvision:get_model", "model: torchvision has no 'get_model'"),
        ("evaluate", "methods", "captum:DeepLiftShap", "captum:DeepLiftShap is not offered"),
        ("evaluate", "images", "x" * 300, "images: expected a folder, found nothing at"),
        ("score", "probe", "x" * 300, "probe: expected a folder or an .npz file, found nothing"),
        ("probe", "mask-value", "dark", "mask-value: expected a number, mean or blur"),
        ("score", "maps", "/proc/no/such", "maps: expected a folder or an .npz file"),
        ("demo", "networks", "vgg,vgg16", "did you mean 'vgg'"),
    ],
)
def test_what_is_wrong_is_named(files, command, option, value, message):
    options = good(command, files) | {option: value}
    result = invoke(app, command, options, overwriting(command))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_an_option_of_the_model_twice(files):
    flags = ["--model-arg=num_classes=3", "--model-arg=num_classes=4"]
    result = invoke(app, "evaluate", good("evaluate", files), [*overwriting("evaluate"), *flags])
    assert result.exit_code == 2
    assert "got 'num_classes=4', the second of that key" in result.stderr


def test_a_model_that_is_no_classifier(files):
    options = good("evaluate", files) | {"model": "timm:lcnet_035"}
    save_file({}, files / "no.safetensors")
    options |= {"model-arg": "features_only=True", "weights": files / "no.safetensors"}
    result = invoke(app, "evaluate", options, overwriting("evaluate"))
    assert result.exit_code == 2
    assert "weights: no.safetensors does not fit" in result.stderr


def test_a_folder_in_place_of_a_table_of_scores(files, tmp_path):
    options = {"probe": files / "probe.npz", "maps": files / "maps.npz", "out": tmp_path}
    result = invoke(app, "score", options, ["--overwrite"])
    assert result.exit_code == 2
    assert "out: expected a CSV file to write, got folder" in " ".join(result.stderr.split())
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("out", ["maps.npz", "probe.npz", "folder/manifest.json", "folder/a.npy"])
def test_scores_are_not_written_over_what_they_are_of(files, tmp_path, out):
    for name in ("probe.npz", "maps.npz"):
        shutil.copy(files / name, tmp_path / name)
    with zipfile.ZipFile(files / "probe.npz") as packed:
        packed.extractall(tmp_path / "folder")
    probe = tmp_path / ("folder" if "folder" in out else "probe.npz")
    options = {"probe": probe, "maps": tmp_path / "maps.npz", "out": tmp_path / out}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    result = invoke(app, "score", options)
    assert result.exit_code == 2
    assert "out: expected a CSV file to write" in " ".join(result.stderr.split())
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    options["out"] = tmp_path / "folder" / "scores.csv"
    assert invoke(app, "score", options).exit_code == 0


def test_an_error_that_nobody_expected(files, monkeypatch):
    """One line that says what and where; the traceback is there for those who ask for it."""

    def broken(*args, **kwargs):
        raise ZeroDivisionError("division by zero [bold]")

    monkeypatch.setattr(gae_metric.commands.evaluate, "evaluate", broken)
    monkeypatch.delenv("GAE_TRACEBACK", raising=False)
    options = [f"--{name}={value}" for name, value in good("evaluate", files).items()]
    result = CliRunner().invoke(app, ["evaluate", "--overwrite", *options])
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError: division by zero [bold]" in result.stderr
    assert "test_command_lines.py, line" in result.stderr
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("GAE_TRACEBACK", "1")
    result = CliRunner().invoke(app, ["evaluate", "--overwrite", *options])
    assert isinstance(result.exception, ZeroDivisionError)


def test_memory_that_is_not_there(files, monkeypatch):
    def broken(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(gae_metric.commands.evaluate, "evaluate", broken)
    result = invoke(app, "evaluate", good("evaluate", files))
    assert result.exit_code == 1
    assert "out of memory" in result.stderr


@pytest.mark.parametrize("module", ["gae_metric", "benchmarks"])
def test_in_a_process_of_its_own(module, tmp_path):
    """Statuses and streams as the shell sees them, with bytes that are no text."""
    arguments = {
        "gae_metric": ["score", b"--probe=\xff\xfe", b"--maps=\xff"],
        "benchmarks": ["tables", b"\xff\xfe"],
    }[module]
    root = os.path.dirname(os.path.dirname(gae_metric.__file__))
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error:" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device is full")
@pytest.mark.parametrize("command", ["methods", "metrics", "models"])
def test_a_standard_output_that_takes_nothing(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gae_metric", command],
            env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(gae_metric.__file__))},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
