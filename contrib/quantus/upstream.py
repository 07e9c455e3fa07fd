"""Make the changes to Quantus, and test them: ``make upstream``.

Quantus's source distribution is downloaded and unpacked under ``build/upstream``: ``base`` stays as
it is, each topic becomes a branch of its own with a tree of its own beside it, and ``all`` merges
them. Under ``patches`` lie each topic's commit and the text of its pull request.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import compare
import running
import theirs
import topics
import typer
from running import BuildError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
VERSION = "0.6.0"


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
        options = ["--disable-pip-version-check", "--quiet", "--no-deps", "--no-binary", "quantus"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
        done = subprocess.run(
            [*command, f"quantus=={VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode or not archive.exists():
            raise BuildError(
                f"the source distribution of quantus {VERSION} could not be downloaded. Is the "
                f"package registry reachable? Otherwise put the file at {archive}, or name a "
                f"checkout of Quantus with --source. pip said:\n{done.stderr.strip()}"
            )
    return archive


def unpack(archive: Path, tree: Path) -> None:
    """Unpack a source distribution into a new folder."""
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
    tree.mkdir(parents=True)
    # The table is what Quantus's own tests read outside tests/.
    table = "tutorials/assets/titanic3.csv"
    for name in ("quantus", "tests", "docs", "README.md", "pyproject.toml", "pytest.ini", table):
        path = source / name
        if path.is_dir():
            shutil.copytree(path, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tree / name)


def run_tests(work: Path, assets: Path | None) -> dict[str, str]:
    """Run each topic's tests on its branch, those of fixes also without it, and all together.

    Returns
    -------
    dict of str to str
        By topic, what was found, in a sentence.

    Raises
    ------
    BuildError
        If a test fails with the change, or all tests of a fix pass without it.
    """
    base, merged = work / "base", work / "all"
    for tree in (base, merged, *(work / topic for topic in topics.TOPICS)):
        # A source distribution has no fixtures.
        if not (tree / "tests/conftest.py").exists():
            shutil.copytree(HERE / "fixtures", tree / "tests", dirs_exist_ok=True)
    tests = {name: running.test_paths(topics.FOLDER / name / "new/tests") for name in topics.TOPICS}
    every = [path for paths in tests.values() for path in paths]
    together = passing(merged, every, work / "all.xml", assets)
    alone = {
        name: passing(work / name, paths, work / f"{name}.xml", assets)
        for name, paths in tests.items()
    }
    if sorted(together) != sorted(case for cases in alone.values() for case in cases):
        raise BuildError("the tests of the merged branches are not those of the branches")
    for name in topics.FIXES:
        shutil.copytree(topics.FOLDER / name / "new/tests", base / "tests", dirs_exist_ok=True)
    fixes = [path for name in topics.FIXES for path in tests[name]]
    without = running.pytest(base, fixes, work / "base.xml", assets)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy"))
    where = f"Python {platform.python_version()}, {packages}"
    found = {
        "metrics": f"The {len(alone['metrics'])} tests of the metrics pass, on their branch alone "
        f"and merged with the five fixes ({where})."
    }
    for name in topics.FIXES:
        failed = [case for case in alone[name] if without[case] == "failed"]
        if not failed:
            raise BuildError(f"all tests of the fix {name!r} pass without it")
        names = "`, `".join(case.partition("::")[2] for case in failed)
        found[name] = (
            f"Of the {len(alone[name])} tests, {len(failed)} fail without the change "
            f"(`{names}`); all pass with it, on this branch alone and merged with the others "
            f"({where})."
        )
    return found


def passing(tree: Path, paths: list[str], report: Path, assets: Path | None) -> list[str]:
    """Run tests that must not fail, and return their names."""
    outcomes = running.pytest(tree, paths, report, assets)
    if failed := [name for name, outcome in outcomes.items() if outcome == "failed"]:
        raise BuildError(
            f"failed in {tree} (see {report.with_suffix('.log')}): {', '.join(failed)}"
        )
    typer.echo(running.count(tree.name, outcomes))
    return list(outcomes)


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
    author: Annotated[
        str | None,
        typer.Option(help='Author of the commits, "Name <address>"; by default as git knows you.'),
    ] = None,
    tests: Annotated[bool, typer.Option(help="Run the tests.")] = True,
    their_tests: Annotated[
        bool,
        typer.Option(
            "--their-tests", help="Run Quantus's own too, before and after: needs --source."
        ),
    ] = False,
    evidence: Annotated[
        bool, typer.Option(help="Compare scores, and write the figures of the pull request.")
    ] = True,
) -> None:
    """Make the changes to Quantus, test them and compare scores before and after."""
    try:
        build(work, source, author, tests=tests, their_tests=their_tests, evidence=evidence)
    except (BuildError, compare.ComparisonError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def build(
    work: Path,
    source: Path | None,
    author: str | None,
    *,
    tests: bool,
    evidence: bool,
    their_tests: bool = False,
) -> None:
    """Do what the command does."""
    author = topics.find_author(author)
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "base", ignore_errors=True)
    if source is None:
        unpack(download(work), work / "base")
    else:
        copy_source(source, work / "base")
    topics.branch(work, author)
    assets = find_assets()
    if assets is None:
        typer.echo(
            "Quantus's test assets are not there (QUANTUS_ASSETS): tests with them are skipped"
        )
    # Before ours: they get the fixtures that a tree has none of, also below.
    if their_tests:
        typer.echo(theirs.run(work))
    found = run_tests(work, assets) if tests else {}
    if evidence and assets is not None:
        compare.evidence(work, assets, found.get("metrics"))
    for topic in topics.TOPICS:
        text = compare.PULL_REQUEST.read_text(encoding="utf-8")
        if topic in topics.FIXES:
            text = topics.describe(topic, found.get(topic, "The tests were not run."))
        (work / "patches" / topic / "PULL_REQUEST.md").write_text(text, encoding="utf-8")
        typer.echo(f"wrote {work / 'patches' / topic}")


if __name__ == "__main__":
    typer.run(main)
