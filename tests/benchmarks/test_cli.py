"""``python -m benchmarks methods``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.methods import METHODS, find, matrix
from benchmarks.models import load
from benchmarks.result_files import RESULTS


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))


def test_the_matrix_is_tried():
    result = run("methods")
    assert result.exit_code == 0, result.output
    for name, row in METHODS.items():
        (line,) = [one for one in result.output.splitlines() if one.split()[:1] == [name]]
        expected = {
            "any": ["yes", "yes", "yes"],
            "cnn": ["yes", "yes", "-"],
            "vit": ["-", "-", "yes"],
        }[row.family]
        assert line.split()[-3:] == (expected if row.installed else ["-"] * 3)
    assert "the model has no attention" in result.output


def test_what_is_tried_is_what_the_registry_says():
    for spec in matrix.DIGITS:
        kind = "vit" if spec.endswith("vit") else "cnn"
        for name in ("GradCAM", "Rollout", "DeepLIFT", "absLRP-values"):
            cell = matrix.tried(find(name), load(spec))
            assert cell.applies == (find(name).family in ("any", kind))
            assert not cell.failed


def test_failures_are_shown(monkeypatch):
    def broken(model, inputs, targets, **kwargs):
        raise RuntimeError("out of order")

    monkeypatch.setitem(METHODS, "Broken", matrix.Method("Broken", "any", "here", "none", broken))
    monkeypatch.setattr(matrix, "METHODS", {"Broken": METHODS["Broken"]})
    result = run("methods", "--model", "digits:vgg")
    assert result.exit_code == 1
    assert "failed, RuntimeError: out of order" in result.output


def test_an_unknown_model():
    result = run("methods", "--model", "digits:vg")
    assert result.exit_code == 2
    assert "did you mean 'vgg'" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --config nope", "config: there is no file 'nope'"),
        ("rehearse --config nope", "config: there is no file 'nope'"),
        *(
            (f"{command} nowhere", "results: there is no run in 'nowhere'")
            for command in ("status", "tables", "evidence", "cost", "figures", "report")
        ),
        ("report {digits} --output page.pdf", "output: expected a file that ends in .html"),
        ("report {digits} --output page.html --samples 0", "samples: expected a positive integer"),
        ("figures {digits} --figure 9", "the nearest is 8 or 10"),
        ("figures {digits} --image both.png:1,2", "image: cannot read 'both.png'"),
    ],
)
def test_what_is_wrong_of_itself_needs_no_torch(tmp_path, arguments, message):
    code = (
        "import sys\nfrom benchmarks.cli import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit as stop: assert stop.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    line = arguments.format(digits=RESULTS / "digits").split()
    path = os.pathsep.join([str(Path.cwd()), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, *line],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert message in " ".join(done.stderr.split())
    assert not [*tmp_path.iterdir()]


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom benchmarks.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "methods" in done.stdout
