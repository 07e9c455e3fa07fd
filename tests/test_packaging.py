"""The wheel holds what it needs, works in an environment of its own, and the README is true."""

import ast
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, env=None):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Where the build's own tools are installed, it needs no network.
    here = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "build", "--wheel", *here, "--outdir", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_code_weights_and_types_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for package in ("abslrp", "gae_metric"):
        assert f"{package}/py.typed" in names
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert sources <= set(names)
    weights = [name for name in names if name.endswith(".safetensors")]
    assert len(weights) == 3
    assert all(name.startswith("gae_metric/demo/") for name in weights)
    assert {name.split("/")[0] for name in names} == {
        "abslrp",
        "gae_metric",
        next(name.split("/")[0] for name in names if ".dist-info" in name),
    }
    assert not [name for name in names if name.endswith((".pth", ".pkl", ".pyc", ".jpg", ".npz"))]
    assert wheel.stat().st_size < 10e6


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_alone(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    if not python.exists():
        python = environment / "Scripts" / "python.exe"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # Its dependencies are those of this environment. Files of a path that is added like this are
    # found, but not the .pth files in it, hence not the checkout.
    purelib = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    ).strip()
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = run(
        python, "-c", "import gae_metric; print(gae_metric.__file__)", cwd=tmp_path, env=env
    )
    assert where.startswith(str(environment))
    command = environment / "bin" / "gae-metric"
    run(command, "demo", "--samples", "4", "--networks", "resnet", cwd=tmp_path, env=env)
    assert (tmp_path / "gae-demo" / "resnet" / "maps.png").exists()
    assert len((tmp_path / "gae-demo" / "scores.csv").read_text().splitlines()) == 1 + 6 * 6 * 4


def test_the_readmes_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    scope = {}
    exec(compile(example, "README.md", "exec"), scope)
    means = {name: np.mean(scores["GAE"]) for name, scores in scope["scores"].items()}
    assert means["absLRP"] > means["GradCAM"] > means["Saliency"] >= 0
    # What is printed below the example is what it prints, to the digits that are shown.
    (printed,) = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shown, said = (text.split() for text in (printed, capsys.readouterr().out))
    assert len(shown) == len(said)
    for one, other in zip(shown, said, strict=True):
        if "." in one:
            assert float(one) == pytest.approx(float(other), abs=0.0021)
        else:
            assert one == other


def test_the_readmes_commands_and_paths_exist():
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert commands == {"demo", "test"}
    assert commands <= targets
    paths = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert "docs/fidelity.md" in paths
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.skipif(
    not (ROOT / ".ci").is_dir(), reason="what integration runs is not in the source distribution"
)
def test_continuous_integration_runs_make_test_and_that_of_another_processor():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = script.read_text().splitlines()
    assert "make test" in commands
    assert [one for one in commands if one.startswith("make test-processors PROCESSORS=default-1")]


#: What is called otherwise in the registry than where it is imported.
DISTRIBUTIONS = {
    "PIL": "pillow", "pytorch_grad_cam": "grad_cam", "skimage": "scikit_image",
    "sklearn": "scikit_learn", "yaml": "pyyaml",
}  # fmt: skip
#: Of which extras, beside the dependencies, folders may import. The demo reads "photographs".
EXTRAS = {
    ("abslrp", "gae_metric"): ("captum", "zennit", "text", "photographs"),
    ("benchmarks",): ("benchmarks", "captum", "zennit", "text", "onnx", "ray"),
    ("benchmarks/notebooks", "tests", "scripts", "contrib"): ("dev", "benchmarks", "ray", "captum",
                                                             "zennit", "text", "onnx"),
}  # fmt: skip


@pytest.mark.parametrize("folders", EXTRAS)
def test_every_import_is_declared(folders):
    """Of the dependencies or of an extra, by name, and not as what one of them brings."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [project["optional-dependencies"][extra] for extra in EXTRAS[folders]]
    declared = {
        re.split(r"[<>=\[; ]", one)[0].replace("-", "_")
        for one in itertools.chain(project["dependencies"], *extras)
    }
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    if folders == ("benchmarks",):
        files = [path for path in files if "notebooks" not in path.parts]
    own = {"abslrp", "gae_metric", "benchmarks", "tests", *(path.stem for path in files)}
    imported = {
        module.partition(".")[0]
        for path in files
        for module in modules_of(ast.parse(path.read_text(encoding="utf-8")))
        if path.name != "metaquantus_scores.py"  # it has an environment of its own
    }
    names = {DISTRIBUTIONS.get(name, name) for name in imported - own - sys.stdlib_module_names}
    assert not names - declared
    assert {"torch", "numpy"} <= names  # or else nothing was read


def modules_of(tree):
    """What a file imports, at its top or where it is used, also by name."""
    by_name = ("import_module", "importorskip", "files")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in by_name and isinstance(node.args[0].value, str):
                yield node.args[0].value
