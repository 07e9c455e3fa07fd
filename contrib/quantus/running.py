"""Run tests against the Quantus of a tree."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent


class BuildError(RuntimeError):
    """The change could not be made, or does not do what it should."""


def pytest(tree: Path, paths: Sequence[str], report: Path, assets: Path | None) -> dict[str, str]:
    """Run tests against the Quantus of a tree, and return each one's outcome by name.

    Raises
    ------
    BuildError
        If pytest could not run them.
    """
    # In a folder of its own, as modules beside this one would hide others.
    path = os.pathsep.join([str(tree.resolve()), str(HERE / "plugin")])
    fixtures = (tree / "tests/conftest.py").read_bytes()
    ours = fixtures == (HERE / "fixtures/conftest.py").read_bytes()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        # How Quantus knows that it is tested; the rest would be taken from our own run.
        "PYTEST": "1",
        # Without waiting for a network that is not there.
        "HF_HUB_OFFLINE": "1",
    }
    if assets is not None:
        environment["QUANTUS_ASSETS"] = str(assets)
    settings = HERE / "fixtures/pytest.ini"
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(settings), "--rootdir", str(tree)]
    # In the order of the files, before and after alike.
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", f"--junitxml={report.resolve()}"]
    # Our fixtures need nothing stood in for; Quantus's do.
    command += [] if ours else ["-p", "standins"]
    done = subprocess.run(
        [*command, *paths], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise BuildError(
            f"pytest in {tree} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    outcomes = {name: outcome for name, (outcome, _) in read(report).items()}
    if done.returncode and "failed" not in outcomes.values():
        raise BuildError(f"pytest in {tree}:\n{done.stdout}{done.stderr}")
    if "failed" in outcomes.values():
        report.with_suffix(".log").write_text(done.stdout + done.stderr, encoding="utf-8")
    return outcomes


def read(report: Path) -> dict[str, tuple[str, str]]:
    """Read the outcome of each test from pytest's report, and the message if it did not pass."""
    outcomes: dict[str, tuple[str, str]] = {}
    words = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        # A test that is expected to fail has no message, but a type.
        found = [(one.tag, one.get("message") or one.get("type") or "") for one in case]
        told = [(words[tag], message) for tag, message in found if tag in words]
        # Listed twice is a test that did whatever it did and whose fixture then failed.
        told += [outcomes[name]] if name in outcomes else []
        failed = [one for one in told if one[0] == "failed"]
        outcomes[name] = [*failed, *told, ("passed", "")][0]
    return outcomes


def test_paths(folder: Path) -> list[str]:
    """Tests of a folder, as paths in a tree."""
    files = sorted(folder.rglob("test_*.py"))
    return [f"tests/{file.relative_to(folder).as_posix()}" for file in files]


def count(what: str, outcomes: Mapping[str, str]) -> str:
    """Say how many tests had which outcome."""
    kinds = ("passed", "failed", "skipped")
    counts = [f"{sum(o == kind for o in outcomes.values())} {kind}" for kind in kinds]
    return f"{what}: {', '.join(counts)}"
