"""Make the change to Quantus, and test it: ``make upstream``.

Quantus's source distribution is downloaded and unpacked twice under ``build/upstream``: ``before``
stays as it is, ``after`` becomes a git repository with one commit for each fix and one for the
metrics, which are also written out as ``patches``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import compare
import generate
import typer

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
VERSION = "0.6.0"
#: In the order in which they are applied.
FIXES = ("road", "assert_attributions", "evaluate", "normalise_by_max", "batched_metric")
METRICS_MESSAGE = """\
Add Local Consistency, Contrastiveness and GAE

Global Attribution Evaluation (Vukadin et al., 2024, doi 10.1145/3649458) and its two parts, for
PyTorch models: quantus.LocalConsistency, quantus.Contrastiveness and quantus.GAE. Mosaics can be
built beforehand, by quantus.functions.gae_func.contrastive_mosaic_creation.
"""


class BuildError(RuntimeError):
    """The change could not be made, or does not do what it should."""


def download(folder: Path) -> Path:
    """Return Quantus's source distribution, from the registry unless it is there already.

    Raises
    ------
    BuildError
        If the registry cannot be reached.
    """
    archive = folder / f"quantus-{VERSION}.tar.gz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--quiet",
        ]
        command += [
            "--no-deps",
            "--no-binary",
            "quantus",
            "--dest",
            str(folder),
            f"quantus=={VERSION}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not archive.exists():
            raise BuildError(
                f"the source distribution of quantus {VERSION} could not be downloaded. Is the "
                f"package registry reachable? Otherwise put the file at {archive}, or name a "
                f"checkout of Quantus with --source. pip said:\n{done.stderr.strip()}"
            )
    return archive


def unpack(archive: Path, tree: Path) -> None:
    """Unpack a source distribution into a new folder."""
    shutil.rmtree(tree, ignore_errors=True)
    parts = tree.with_name(f"{tree.name}.unpacking")
    shutil.rmtree(parts, ignore_errors=True)
    with tarfile.open(archive) as opened:
        opened.extractall(parts, filter="data")
    (inside,) = parts.iterdir()
    inside.rename(tree)
    parts.rmdir()


def copy_source(source: Path, tree: Path) -> None:
    """Copy a checkout of Quantus, or a folder with the installed package, into a new folder."""
    if not (source / "quantus/__init__.py").exists():
        raise BuildError(f"--source: expected a folder that holds quantus/, got {source}")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in ("quantus", "tests", "docs", "README.md", "pyproject.toml", "pytest.ini"):
        path = source / name
        if path.is_dir():
            shutil.copytree(path, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copyfile(path, tree / name)


def git(tree: Path, *arguments: str) -> str:
    """Run git in a tree, whatever the user's settings and the repository around it."""
    identity = ["-c", "user.name=gae-metric", "-c", "user.email=upstream@localhost"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CEILING_DIRECTORIES": str(tree.resolve().parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def apply(tree: Path) -> list[str]:
    """Make the whole change in a tree, one commit for each part of it.

    Returns
    -------
    list of str
        Lists of Quantus's that the tree lacks.
    """
    git(tree, "init", "--quiet")
    (tree / ".git/info/exclude").write_text("__pycache__/\n*.pyc\n", encoding="utf-8")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", f"Quantus {VERSION}")
    for name in FIXES:
        folder = HERE / "fixes" / name
        git(tree, "apply", "--index", str(folder / "change.patch"))
        generate.copy_tests(folder / "tests", tree)
        git(tree, "add", "--all")
        git(tree, "commit", "--quiet", "--file", str(folder / "message.txt"))
    missing = generate.generate(tree)
    generate.copy_tests(HERE / "tests", tree)
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", METRICS_MESSAGE)
    return missing


def write_patches(tree: Path, folder: Path) -> list[Path]:
    """Write the commits out for a pull request."""
    shutil.rmtree(folder, ignore_errors=True)
    git(
        tree,
        "format-patch",
        "--quiet",
        "--root",
        "HEAD",
        "--output-directory",
        str(folder.resolve()),
    )
    patches = sorted(folder.glob("*.patch"))
    # The first one is Quantus itself.
    patches[0].unlink()
    return patches[1:]


def pytest(tree: Path, paths: Sequence[str], report: Path, assets: Path | None) -> dict[str, str]:
    """Run tests against the Quantus of a tree, and return each one's outcome by name."""
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "OMP_NUM_THREADS": "1"}
    # PYTEST is how Quantus knows that it is tested; the rest would be taken from our own run.
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_")} | {
        "PYTEST": "1"
    }
    if assets is not None:
        environment["QUANTUS_ASSETS"] = str(assets)
    settings = HERE / "fixtures/pytest.ini"
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(settings), "--rootdir", str(tree)]
    command += ["-p", "no:cacheprovider", f"--junitxml={report.resolve()}", *paths]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise BuildError(
            f"pytest in {tree} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = next(iter(kinds), "passed")
    for kind, failed in (("failure", "failed"), ("error", "failed")):
        outcomes = {name: failed if o == kind else o for name, o in outcomes.items()}
    if done.returncode and "failed" not in outcomes.values():
        raise BuildError(f"pytest in {tree}:\n{done.stdout}{done.stderr}")
    if "failed" in outcomes.values():
        report.with_suffix(".log").write_text(done.stdout + done.stderr, encoding="utf-8")
    return outcomes


def test_paths(folder: Path) -> list[str]:
    """Tests of one of our folders, as paths in a tree."""
    files = sorted(folder.rglob("test_*.py"))
    return [f"tests/{file.relative_to(folder).as_posix()}" for file in files]


def run_tests(work: Path, assets: Path | None) -> dict[str, str]:
    """Run all our tests with the change, and those of each fix without it.

    Raises
    ------
    BuildError
        If a test fails with the change, or all tests of a fix pass without it.
    """
    before, after = work / "before", work / "after"
    for tree in (before, after):
        generate.copy_tests(HERE / "fixtures", tree)
    ours = [path for name in FIXES for path in test_paths(HERE / "fixes" / name / "tests")]
    metrics = test_paths(HERE / "tests")
    doctests = ["--doctest-modules", "quantus/functions/gae_func.py"]
    outcomes = pytest(after, [*ours, *metrics, *doctests], work / "after.xml", assets)
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    if failed:
        raise BuildError(f"failed with the change (see {work / 'after.log'}): {', '.join(failed)}")
    for name in FIXES:
        generate.copy_tests(HERE / "fixes" / name / "tests", before)
    without = pytest(before, ours, work / "before.xml", assets)
    for name in FIXES:
        modules = [
            path.removesuffix(".py").replace("/", ".")
            for path in test_paths(HERE / "fixes" / name / "tests")
        ]
        mine = {case: o for case, o in without.items() if case.rpartition("::")[0] in modules}
        if "failed" not in mine.values():
            raise BuildError(f"all tests of the fix {name!r} pass without it: {sorted(mine)}")
    typer.echo(_count("with the change", outcomes))
    typer.echo(_count("without it, the tests of the fixes", without))
    return outcomes


def _count(what: str, outcomes: dict[str, str]) -> str:
    kinds = ("passed", "failed", "skipped")
    counts = [f"{sum(o == kind for o in outcomes.values())} {kind}" for kind in kinds]
    return f"{what}: {', '.join(counts)}"


def find_assets() -> Path | None:
    """Return the folder with Quantus's test assets, if it is there."""
    shared = Path(os.environ.get("GAE_SHARED", REPOSITORY.parent / "shared"))
    folder = Path(os.environ.get("QUANTUS_ASSETS", shared / "quantus_assets"))
    return folder if folder.is_dir() else None


def main(
    work: Annotated[Path, typer.Option(help="Folder to build in.")] = REPOSITORY / "build/upstream",
    source: Annotated[
        Path | None, typer.Option(help="A checkout of Quantus, in place of the download.")
    ] = None,
    tests: Annotated[bool, typer.Option(help="Run the tests.")] = True,
    evidence: Annotated[
        bool, typer.Option(help="Compare scores, and write the figures of the pull request.")
    ] = True,
) -> None:
    """Make the change to Quantus, test it and compare scores before and after."""
    try:
        build(work, source, tests=tests, evidence=evidence)
    except (BuildError, compare.ComparisonError, generate.GenerationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def build(work: Path, source: Path | None, *, tests: bool, evidence: bool) -> None:
    """Do what the command does."""
    work.mkdir(parents=True, exist_ok=True)
    before, after = work / "before", work / "after"
    for tree in (before, after):
        if source is None:
            unpack(download(work), tree)
        else:
            copy_source(source, tree)
    for name in apply(after):
        typer.echo(f"not in this tree, so without an entry: {name}")
    for patch in write_patches(after, work / "patches"):
        typer.echo(f"wrote {patch}")
    assets = find_assets()
    if assets is None:
        typer.echo(
            "Quantus's test assets are not there (QUANTUS_ASSETS): tests with them are skipped"
        )
    if tests:
        run_tests(work, assets)
    if evidence and assets is not None:
        compare.evidence(before, after, assets, work)


if __name__ == "__main__":
    typer.run(main)
