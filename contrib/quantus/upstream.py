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
from pathlib import Path
from typing import Annotated

import compare
import generate
import running
import theirs
import typer
from running import BuildError

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
    # The table is what Quantus's own tests read outside tests/.
    table = "tutorials/assets/titanic3.csv"
    for name in ("quantus", "tests", "docs", "README.md", "pyproject.toml", "pytest.ini", table):
        path = source / name
        if path.is_dir():
            shutil.copytree(path, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
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
    ours = [path for name in FIXES for path in running.test_paths(HERE / "fixes" / name / "tests")]
    metrics = running.test_paths(HERE / "tests")
    doctests = ["--doctest-modules", "quantus/functions/gae_func.py"]
    outcomes = running.pytest(after, [*ours, *metrics, *doctests], work / "after.xml", assets)
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    if failed:
        raise BuildError(f"failed with the change (see {work / 'after.log'}): {', '.join(failed)}")
    for name in FIXES:
        generate.copy_tests(HERE / "fixes" / name / "tests", before)
    without = running.pytest(before, ours, work / "before.xml", assets)
    for name in FIXES:
        modules = [
            path.removesuffix(".py").replace("/", ".")
            for path in running.test_paths(HERE / "fixes" / name / "tests")
        ]
        mine = {case: o for case, o in without.items() if case.rpartition("::")[0] in modules}
        if "failed" not in mine.values():
            raise BuildError(f"all tests of the fix {name!r} pass without it: {sorted(mine)}")
    typer.echo(running.count("with the change", outcomes))
    typer.echo(running.count("without it, the tests of the fixes", without))
    return outcomes


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
    """Make the change to Quantus, test it and compare scores before and after."""
    try:
        build(work, source, tests=tests, their_tests=their_tests, evidence=evidence)
    except (BuildError, compare.ComparisonError, generate.GenerationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def build(
    work: Path, source: Path | None, *, tests: bool, evidence: bool, their_tests: bool = False
) -> None:
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
    # Before ours: they get the fixtures that a tree has none of, also below.
    if their_tests:
        typer.echo(theirs.run(work))
    if tests:
        run_tests(work, assets)
    if evidence and assets is not None:
        compare.evidence(before, after, assets, work)


if __name__ == "__main__":
    typer.run(main)
