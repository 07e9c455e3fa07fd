"""Run the tests on the oldest and the newest supported versions, in environments of their own.

``make compat``, or ``python scripts/compat.py [--part benchmarks] [--only 3.10:oldest] [--tests
PATH ...]``. Needs nothing but Python and pip, and a package index.

The oldest versions are the lower bounds of ``pyproject.toml`` (``torch>=2.4`` becomes
``torch==2.4.*``), also of optional packages, on the oldest Python; the newest are what pip
chooses, on each Python that is found (as ``python3.X`` on the path, or by pyenv or uv). The
benchmarks are tried apart from the package (``--part``), as they need more. An environment takes
several gigabytes and is removed once its tests have run, unless ``--keep``. What was run, on which
versions, and what was not, is printed and written to ``compat.md`` (``compat-benchmarks.md``) below
``--folder``; the status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TOOLS = ("pytest", "pytest-xdist", "hypothesis")


@dataclass(frozen=True)
class Part:
    """What is tried together: extras, the tests that need them, and what the report names."""

    extras: tuple[str, ...]
    tests: tuple[str, ...]
    shown: tuple[str, ...]


PARTS = {
    "package": Part(
        ("captum", "zennit", "text", "onnx", "photographs"),
        ("tests/abslrp", "tests/gae_metric"),
        (
            *("torch", "torchvision", "timm", "quantus", "numpy", "scipy", "pandas", "matplotlib"),
            *("captum", "zennit", "transformers", "onnx2torch"),
        ),
    ),
    "benchmarks": Part(
        ("benchmarks", "ray"),
        # The probe's preparation is the package's, and needs Grad-CAM, which the benchmarks list.
        ("tests/benchmarks", "tests/gae_metric/commands/test_probe.py"),
        (
            *("torch", "torchvision", "timm", "quantus", "numpy", "pandas", "typer"),
            *("grad-cam", "jinja2", "lxt", "pyarrow", "pydantic", "pyyaml", "ray"),
        ),
    ),
}


@dataclass
class Trial:
    """One environment: a Python, and the oldest or newest versions."""

    python: str
    versions: str
    result: str = ""
    installed: dict[str, str] = field(default_factory=dict)
    failed: bool = False

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return f"{self.python}:{self.versions}"


def pinned(requirement: str) -> str:
    """Return the oldest version of a requirement.

    >>> pinned("torch>=2.4"), pinned("timm>=1.0.20"), pinned("onnx")
    ('torch==2.4.*', 'timm==1.0.20.*', 'onnx')
    """
    return re.sub(r">=\s*([0-9.]+)", r"==\1.*", requirement)


def requirements(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Read the dependencies and the extras of a ``pyproject.toml``.

    Python 3.10 has no reader of TOML; ours lists texts, one or several a line.
    """

    def texts(block: str) -> list[str]:
        # Brackets of extras, as in "a[b]", are within the texts.
        return re.findall(r'"([^"]+)"', block)

    listed = r"\[((?:[^\]\"]|\"[^\"]*\")*)\]"
    project = re.search(rf"(?m)^dependencies = {listed}", text)
    section = re.search(r"(?ms)^\[project\.optional-dependencies\]\n(.*?)(?=^\[)", text)
    if project is None or section is None:
        raise ValueError("pyproject.toml: no dependencies found")
    extras = {
        found[1]: texts(found[2]) for found in re.finditer(rf"(?m)^(\w+) = {listed}", section[1])
    }
    return texts(project[1]), extras


def wanted(text: str, part: Part, versions: str) -> list[str]:
    """List what to install for a part, in the oldest versions or without bounds on them."""
    needed, extras = requirements(text)
    listed, waiting = list(needed), list(part.extras)
    while waiting:
        for one in extras[waiting.pop(0)]:
            # An extra may name others: "gae-metric[captum,zennit]".
            if own := re.fullmatch(r"gae-metric\[(.*)\]", one):
                waiting += own[1].split(",")
            else:
                listed.append(one)
    unique = list(dict.fromkeys(listed))
    return [pinned(one) for one in unique] if versions == "oldest" else unique


def interpreter(version: str) -> str | None:
    """Return a Python of a version, if there is one that starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}")]
    if os.access(pyenv, os.R_OK | os.X_OK):  # or it may be another user's
        candidates += [str(p / "bin" / "python") for p in sorted(pyenv.glob(f"{version}.*"))]
    if uv := shutil.which("uv"):
        found = subprocess.run(
            [uv, "python", "find", "--offline", version],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        candidates.append(found.stdout.strip() or None)
    for path in filter(None, candidates):
        told = subprocess.run(
            [path, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.returncode == 0 and told.stdout.strip() == version:
            return path
    return None


def trials(only: Sequence[str]) -> list[Trial]:
    """List what is to be tried: the oldest on the oldest Python, the newest on all."""
    every = [Trial(PYTHONS[0], "oldest"), *(Trial(python, "newest") for python in PYTHONS)]
    chosen = [trial for trial in every if not only or trial.name in only]
    unknown = set(only) - {trial.name for trial in every}
    if unknown:
        names = ", ".join(trial.name for trial in every)
        raise SystemExit(f"only: expected some of {names}, got {', '.join(sorted(unknown))}")
    return chosen


def install(python: Path, trial: Trial, part: Part) -> None:
    """Install this checkout and the tools of its tests into an environment."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    packages = wanted(text, part, trial.versions)
    subprocess.run([*pip, *packages, *TOOLS], check=True, cwd=ROOT)
    subprocess.run([*pip, "--no-deps", "--editable", "."], check=True, cwd=ROOT)


def versions_of(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the versions that were installed."""
    code = f"from importlib.metadata import version as v; print([v(n) for n in {tuple(names)!r}])"
    told = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return dict(zip(names, re.findall(r"'([^']+)'", told.stdout), strict=True))


def test(python: Path, tests: Sequence[str], workers: int) -> tuple[str, bool]:
    """Run the tests; return pytest's last line, and whether something failed."""
    command = [str(python), "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    command += ["-n", str(workers)] if workers > 1 else []
    done = subprocess.run(
        [*command, *tests],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(done.stdout[-4000:], flush=True)
    lines = done.stdout.strip().splitlines()
    return (lines[-1].strip("= ") if lines else "no output"), done.returncode != 0


def run(trial: Trial, options: argparse.Namespace) -> None:
    """Make an environment, run the tests in it, and remove it."""
    base = interpreter(trial.python)
    if base is None:
        trial.result = "not run: no such Python here"
        return
    part = PARTS[options.part]
    suffix = "" if options.part == "package" else f"-{options.part}"
    folder = options.folder / f"{trial.python}-{trial.versions}{suffix}"
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            print(f"{trial.name}: installing", flush=True)
            subprocess.run([base, "-m", "venv", str(folder)], check=True)
            install(python, trial, part)
        trial.installed = versions_of(python, part.shown)
        print(f"{trial.name}: testing", flush=True)
        trial.result, trial.failed = test(python, options.tests or part.tests, options.workers)
    except subprocess.CalledProcessError as error:
        trial.result, trial.failed = f"failed: {' '.join(map(str, error.cmd[:6]))} ...", True
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def report(done: Sequence[Trial], tests: Sequence[str], shown: Sequence[str]) -> str:
    """Return the results as a Markdown table."""
    head = ["Python", "versions", *shown, "result"]
    rows = [
        [t.python, t.versions, *(t.installed.get(name, "") for name in shown), t.result]
        for t in done
    ]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"Tests: `{' '.join(tests)}`, without those marked slow.\n\n{table}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all, and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="such as 3.10:oldest 3.13:newest")
    parser.add_argument("--part", choices=list(PARTS), default="package", help="what is tried")
    parser.add_argument("--tests", nargs="*", help="in place of those of the part")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep environments, and use those kept")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "compat")
    options = parser.parse_args(arguments)
    part = PARTS[options.part]
    name = "compat.md" if options.part == "package" else f"compat-{options.part}.md"
    done = trials(options.only)
    options.folder.mkdir(parents=True, exist_ok=True)
    for trial in done:
        run(trial, options)
        text = report(done, options.tests or part.tests, part.shown)
        (options.folder / name).write_text(text, encoding="utf-8")
    print(text)
    return int(any(trial.failed for trial in done))


if __name__ == "__main__":
    sys.exit(main())
